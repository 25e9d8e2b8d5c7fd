//! Messages from protobuf's JSON mapping, as Go's protojson reads them, which etcd's gateway uses: what it takes,
//! what it lets pass, and what it says of the rest.
//!
//! A message is put together in protobuf's own encoding, by a table that is made of the definitions, and decoded
//! from there. What is read here is a value that `scan` has found to be JSON.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost::{Message, Name};
use std::borrow::Cow;

/// Messages in each other, as protobuf's decoder allows.
const DEPTH_MAX: usize = 100;

/// A field of a message.
struct Field {
    number: u32,
    /// Its name in the definitions.
    name: &'static str,
    /// Its name in JSON; the other one is read too.
    json: &'static str,
    kind: Kind,
    is_list: bool,
    /// The full name of the group of which only one may be set.
    one_of: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Int64,
    Uint32,
    Uint64,
    String,
    Bytes,
    Enum(&'static [(&'static str, i32)]),
    Message(&'static str),
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int64 => "int64",
            Kind::Uint32 => "uint32",
            Kind::Uint64 => "uint64",
            Kind::String => "string",
            Kind::Bytes => "bytes",
            Kind::Enum(_) => "enum",
            Kind::Message(_) => "message",
        }
    }
}

/// By name.
const MESSAGES: &[(&str, &[Field])] = include!(concat!(env!("OUT_DIR"), "/messages.rs"));

/// The fields of a message.
///
/// # Panics
/// If there is no such message.
fn fields(name: &str) -> &'static [Field] {
    let at = MESSAGES.binary_search_by_key(&name, |(name, _)| name);
    MESSAGES[at.unwrap_or_else(|_| panic!("{name}: no message of the definitions"))].1
}

/// Reads a JSON value as a message.
///
/// # Errors
/// What protojson says of it.
pub(super) fn message<T: Message + Name + Default>(text: &[u8]) -> Result<T, String> {
    let mut reader = Reader { text, at: 0 };
    let mut encoded = Vec::new();
    reader.message(fields(&T::full_name()), &mut encoded, 0)?;
    T::decode(&*encoded).map_err(|error| format!("proto: {error}"))
}

enum What<'a> {
    Open,
    OpenList,
    Close,
    CloseList,
    Text(Cow<'a, str>),
    Number,
    Bool(bool),
    Null,
}

struct Token<'a> {
    what: What<'a>,
    /// Where it begins.
    start: usize,
    raw: &'a [u8],
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn message(&mut self, fields: &[Field], to: &mut Vec<u8>, depth: usize) -> Result<(), String> {
        if depth >= DEPTH_MAX {
            return Err("proto: exceeded max recursion depth".to_string());
        }
        let open = self.token()?;
        if !matches!(open.what, What::Open) {
            return Err(self.unexpected(&open));
        }
        let (mut seen, mut set) = (Vec::new(), Vec::new());
        loop {
            let token = self.token()?;
            let What::Text(name) = &token.what else { return Ok(()) };
            let by_json = fields.iter().find(|field| field.json == name);
            let Some(field) = by_json.or_else(|| fields.iter().find(|field| field.name == name)) else {
                self.skip()?;
                continue;
            };
            if seen.contains(&field.number) {
                return Err(self.wrong(&token, &format!("duplicate field {}", shown(token.raw))));
            }
            seen.push(field.number);
            if self.peek() == Some(b'n') {
                // What is null is as if it were not there.
                self.token()?;
                continue;
            }
            if field.is_list {
                self.list(field, to, depth)?;
                continue;
            }
            if let Some(one_of) = field.one_of {
                if set.contains(&one_of) {
                    let name = shown(token.raw);
                    let why = format!("error parsing {name}, oneof {one_of} is already set");
                    return Err(self.wrong(&token, &why));
                }
                set.push(one_of);
            }
            self.single(field, to, depth)?;
        }
    }

    fn list(&mut self, field: &Field, to: &mut Vec<u8>, depth: usize) -> Result<(), String> {
        let open = self.token()?;
        if !matches!(open.what, What::OpenList) {
            return Err(self.unexpected(&open));
        }
        while self.peek() != Some(b']') {
            self.single(field, to, depth)?;
        }
        self.token().map(drop)
    }

    fn single(&mut self, field: &Field, to: &mut Vec<u8>, depth: usize) -> Result<(), String> {
        if let Kind::Message(name) = field.kind {
            let mut inner = Vec::new();
            self.message(fields(name), &mut inner, depth + 1)?;
            put_bytes(to, field.number, &inner);
            return Ok(());
        }
        let token = self.token()?;
        match value(field.kind, &token) {
            Some(Value::Number(number)) => put_number(to, field.number, number),
            Some(Value::Bytes(bytes)) => put_bytes(to, field.number, &bytes),
            Some(Value::Nothing) => {}
            None => {
                let (kind, name, raw) = (field.kind.name(), field.json, shown(token.raw));
                return Err(self.wrong(&token, &format!("invalid value for {kind} field {name}: {raw}")));
            }
        }
        Ok(())
    }

    /// Passes over a value.
    fn skip(&mut self) -> Result<(), String> {
        let mut depth = 0_usize;
        loop {
            match self.token()?.what {
                What::Open | What::OpenList => depth += 1,
                What::Close | What::CloseList => depth -= 1,
                What::Text(_) | What::Number | What::Bool(_) | What::Null => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// How the next token begins. Between tokens nothing else tells anything, for the value is known to be JSON.
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(|byte| b" \t\r\n,:".contains(byte)) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn token(&mut self) -> Result<Token<'a>, String> {
        let first = self.peek();
        let start = self.at;
        let (what, length) = match first {
            Some(b'{') => (What::Open, 1),
            Some(b'[') => (What::OpenList, 1),
            Some(b'}') => (What::Close, 1),
            Some(b']') => (What::CloseList, 1),
            Some(b'"') => (What::Text(self.string()?), self.at - start),
            Some(b't') => (What::Bool(true), 4),
            Some(b'f') => (What::Bool(false), 5),
            Some(b'n') => (What::Null, 4),
            Some(_) => {
                let number = self.text[start..]
                    .iter()
                    .take_while(|&byte| byte.is_ascii_digit() || b"+-.eE".contains(byte));
                (What::Number, number.count())
            }
            None => return Err("proto: unexpected EOF".to_string()),
        };
        self.at = start + length;
        Ok(Token { what, start, raw: &self.text[start..self.at] })
    }

    /// A string, from its first quotation mark to behind its last.
    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        let start = self.at;
        let text = self.text;
        let bad = |why: &str| place(text, start, "syntax error ", why);
        let piece = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| bad("invalid UTF-8 in string"));
        let mut read = String::new();
        let mut from = start + 1;
        loop {
            let length = text[from..].iter().position(|byte| b"\"\\".contains(byte));
            let end = from + length.ok_or("proto: unexpected EOF")?;
            let plain = piece(&text[from..end])?;
            if text[end] == b'"' {
                self.at = end + 1;
                return Ok(if read.is_empty() { plain.into() } else { (read + plain).into() });
            }
            read.push_str(plain);
            let escape = text.get(end + 1).copied().ok_or("proto: unexpected EOF")?;
            from = end + 2;
            read.push(match escape {
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => {
                    let unit = hex(text.get(from..from + 4)).ok_or("proto: unexpected EOF")?;
                    from += 4;
                    if (0xd800..0xe000).contains(&unit) {
                        let next = text.get(from..from + 6).ok_or("proto: unexpected EOF")?;
                        let low = next.strip_prefix(br"\u").and_then(|low| hex(Some(low)));
                        let pair = low.map(|low| char::decode_utf16([unit, low]).next());
                        let Some(Some(Ok(character))) = pair else {
                            return Err(bad(&format!("invalid escape code {} in string", quoted(next))));
                        };
                        from += 6;
                        character
                    } else {
                        char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER)
                    }
                }
                // A quotation mark, or either stroke.
                other => char::from(other),
            });
        }
    }

    fn unexpected(&self, token: &Token<'_>) -> String {
        place(self.text, token.start, "syntax error ", &format!("unexpected token {}", shown(token.raw)))
    }

    fn wrong(&self, token: &Token<'_>, why: &str) -> String {
        place(self.text, token.start, "", why)
    }
}

/// What is wrong, and in which line and at which of its characters.
fn place(text: &[u8], at: usize, kind: &str, why: &str) -> String {
    let before = &text[..at];
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let begin = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let column = String::from_utf8_lossy(&before[begin..]).chars().count() + 1;
    format!("proto: {kind}(line {line}:{column}): {why}")
}

fn shown(raw: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(raw)
}

/// As Go quotes what may be no text.
fn quoted(bytes: &[u8]) -> String {
    let mut text = "\"".to_string();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => text.extend(['\\', character]),
                '\t' => text.push_str(r"\t"),
                '\n' => text.push_str(r"\n"),
                '\r' => text.push_str(r"\r"),
                _ if character.is_control() => text.push_str(&format!(r"\x{:02x}", u32::from(character))),
                _ => text.push(character),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!(r"\x{byte:02x}")));
    }
    text + "\""
}

fn hex(digits: Option<&[u8]>) -> Option<u16> {
    u16::from_str_radix(std::str::from_utf8(digits?).ok()?, 16).ok()
}

/// What a field holds, in protobuf's own encoding.
enum Value<'a> {
    Number(u64),
    Bytes(Cow<'a, [u8]>),
    /// Nothing is written: it has its default.
    Nothing,
}

/// A token as a field's value; `None` if it is none.
fn value<'a>(kind: Kind, token: &'a Token<'_>) -> Option<Value<'a>> {
    let text = if let What::Text(text) = &token.what { Some(&**text) } else { None };
    let number = match kind {
        Kind::Bool => {
            let What::Bool(value) = token.what else { return None };
            u64::from(value)
        }
        Kind::Int64 => i64::try_from(integer(token)?).ok()?.cast_unsigned(),
        Kind::Uint32 => u32::try_from(integer(token)?).ok()?.into(),
        Kind::Uint64 => u64::try_from(integer(token)?).ok()?,
        Kind::String => return Some(Value::Bytes(text?.as_bytes().into())),
        Kind::Bytes => return Some(Value::Bytes(base64(text?)?.into())),
        Kind::Enum(values) => {
            let number = match text {
                Some(text) => values.iter().find(|(name, _)| *name == text).map(|(_, number)| *number),
                None => Some(i32::try_from(integer(token)?).ok()?),
            };
            // A name that nobody knows is passed over, like a field that nobody knows.
            let Some(number) = number else { return Some(Value::Nothing) };
            i64::from(number).cast_unsigned()
        }
        Kind::Message(_) => return None,
    };
    Some(Value::Number(number))
}

/// The standard alphabet or that of URLs, not both in one text; with all padding or none; line breaks count for
/// nothing but the length, by which padding is expected or not. Bits that are left over may be anything.
fn base64(text: &str) -> Option<Vec<u8>> {
    let alphabet = if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let padding = if text.len().is_multiple_of(4) {
        DecodePaddingMode::RequireCanonical
    } else {
        DecodePaddingMode::RequireNone
    };
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(padding).with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(alphabet, config);
    if text.contains(['\r', '\n']) {
        engine.decode(text.replace(['\r', '\n'], "")).ok()
    } else {
        engine.decode(text).ok()
    }
}

/// A whole number, however it is written, also as a text. What follows it in a text after a character that ends a
/// number counts for nothing.
fn integer(token: &Token<'_>) -> Option<i128> {
    match &token.what {
        What::Number => whole(std::str::from_utf8(token.raw).ok()?),
        What::Text(text) => {
            if text.trim() != text {
                return None;
            }
            let goes_on = |c: char| c.is_ascii_alphanumeric() || "-+._".contains(c);
            let number = &text[..text.find(|c| !goes_on(c)).unwrap_or(text.len())];
            let range = super::scan::first(number.as_bytes()).ok()??;
            let is_number = number.starts_with(|c: char| c == '-' || c.is_ascii_digit());
            (is_number && range == (0..number.len())).then(|| whole(number)).flatten()
        }
        What::Open | What::OpenList | What::Close | What::CloseList | What::Bool(_) | What::Null => None,
    }
}

/// The value of a JSON number, if it has no fraction and at most twenty digits.
fn whole(number: &str) -> Option<i128> {
    const DIGITS_MAX: usize = 20;
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or((1, mantissa), |rest| (-1, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if whole.is_empty() && fraction.is_empty() {
        return Some(0);
    }
    let exponent: i32 = exponent.parse().ok()?;
    let shift = usize::try_from(exponent.unsigned_abs()).ok()?;
    let digits = if exponent >= 0 {
        if fraction.len() > shift || whole.len().saturating_add(shift) > DIGITS_MAX {
            return None;
        }
        format!("{whole}{fraction}{}", "0".repeat(shift - fraction.len()))
    } else {
        let (digits, rest) = whole.split_at(whole.len().checked_sub(shift)?);
        if !fraction.is_empty() || rest.bytes().any(|digit| digit != b'0') || digits.len() > DIGITS_MAX {
            return None;
        }
        digits.to_string()
    };
    if digits.is_empty() {
        return Some(0);
    }
    digits.parse::<i128>().ok().map(|value| sign * value)
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn put_number(to: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(to, u64::from(field) << 3);
    put_varint(to, value);
}

fn put_bytes(to: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(to, u64::from(field) << 3 | 2);
    put_varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}
