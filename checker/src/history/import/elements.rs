//! The elements of a file of EDN or JSON, one at a time, as JSON values.
//!
//! A file is a sequence of elements, or one list or vector of them; either way an element is dropped before
//! the next is read, so the size of a file does not matter. What EDN has and JSON has not becomes the nearest
//! that JSON has: keywords, symbols and characters are strings (`:read` is `"read"`), sets and lists are
//! arrays, the keys of maps are strings, tags are dropped, and what is discarded with `#_` is. Numbers that
//! no 64-bit integer holds are floating-point numbers.
//! Source: <https://github.com/edn-format/edn>; RFC 8259.

use std::fmt;
use std::io::{self, Read};

use serde_json::{Map, Number, Value};

use super::scan::Scan;

/// Values that are nested deeper than this are refused: they would overflow the stack.
const DEPTH_MAX: usize = 64;
/// Elements of more bytes than this are refused: they would fill the memory.
const ELEMENT_BYTES_MAX: u64 = 64 << 20;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// Clojure's, as Jepsen's `history.edn`.
    Edn,
    /// JSON: one array, or one value after another.
    Json,
}

/// Why a file cannot be read on.
#[derive(Debug)]
pub enum Broken {
    /// The input itself.
    Io(io::Error),
    /// It ends within an element.
    Torn,
    /// What stands there is not what may stand there.
    Syntax(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Io(error) => error.fmt(f),
            Broken::Torn => f.write_str("the file ends in the middle of an element"),
            Broken::Syntax(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Io(error)
    }
}

/// Reads the elements of a file.
#[derive(Debug)]
pub struct Elements<R> {
    scan: Scan<R>,
    notation: Notation,
    place: Place,
    /// Where the current element may go on to, in bytes of the file.
    bytes_max: u64,
    text: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing was read.
    Start,
    /// Elements follow each other.
    Sequence,
    /// Within the one list, which ends with this.
    Within(u8),
    /// After that list.
    After,
}

impl<R: Read> Elements<R> {
    /// The elements of an input.
    pub fn new(input: R, notation: Notation) -> Elements<R> {
        Elements { scan: Scan::new(input), notation, place: Place::Start, bytes_max: 0, text: Vec::new() }
    }

    /// The line that is being read, from 1.
    pub fn line(&self) -> u64 {
        self.scan.line()
    }

    /// The next element with its first line; `None` at the end.
    ///
    /// # Errors
    /// [`Broken`]: [`Elements::line`] says where. Nothing can be read after that.
    pub fn next_element(&mut self) -> Result<Option<(u64, Value)>, Broken> {
        loop {
            self.bytes_max = self.scan.passed() + ELEMENT_BYTES_MAX;
            self.skip_space()?;
            let line = self.scan.line();
            let byte = match (self.scan.peek()?, self.place) {
                (None, Place::Within(_)) => return Err(Broken::Torn),
                (None, _) => return Ok(None),
                (Some(byte), _) => byte,
            };
            match self.place {
                Place::Start => {
                    self.place = match byte {
                        b'[' => Place::Within(b']'),
                        b'(' if self.notation == Notation::Edn => Place::Within(b')'),
                        _ => Place::Sequence,
                    };
                    if self.place != Place::Sequence {
                        self.scan.next()?;
                    }
                    continue;
                }
                Place::Within(end) if byte == end => {
                    self.scan.next()?;
                    self.place = Place::After;
                    continue;
                }
                Place::After => {
                    return Err(syntax(format!("{} stands after the end of the list", shown(byte))));
                }
                Place::Sequence | Place::Within(_) => {}
            }
            if let Some(value) = self.value(0)? {
                return Ok(Some((line, value)));
            }
        }
    }

    /// Skips what separates values: space, commas, comments.
    fn skip_space(&mut self) -> Result<(), Broken> {
        while let Some(byte) = self.scan.peek()? {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b',' => {
                    self.scan.next()?;
                }
                b';' if self.notation == Notation::Edn => {
                    while self.scan.next()?.is_some_and(|byte| byte != b'\n') {}
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// The value that begins here; `None` for one that is discarded.
    fn value(&mut self, depth: usize) -> Result<Option<Value>, Broken> {
        if depth > DEPTH_MAX {
            return Err(syntax(format!("values are nested more than {DEPTH_MAX} deep")));
        }
        if self.scan.passed() > self.bytes_max {
            return Err(syntax(format!("an element is longer than {ELEMENT_BYTES_MAX} bytes")));
        }
        let edn = self.notation == Notation::Edn;
        match self.scan.peek()?.ok_or(Broken::Torn)? {
            b'{' => self.map(depth).map(Some),
            b'[' => self.list(b']', depth).map(Some),
            b'(' if edn => self.list(b')', depth).map(Some),
            b'"' => {
                self.string()?;
                self.text_value().map(Some)
            }
            b':' if edn => {
                self.scan.next()?;
                self.token()?;
                self.text_value().map(Some)
            }
            b'\\' if edn => {
                self.scan.next()?;
                // The character itself may be one that ends tokens.
                let first = self.scan.next()?.ok_or(Broken::Torn)?;
                self.token_after(first)?;
                self.text_value().map(Some)
            }
            b'#' if edn => self.dispatch(depth),
            byte if byte == b'-' || byte == b'+' || byte.is_ascii_digit() => {
                self.token()?;
                number_or_symbol(&self.text, edn).map(Some)
            }
            byte if is_token(byte) => {
                self.token()?;
                self.word(edn).map(Some)
            }
            byte => Err(syntax(format!("{} begins no value", shown(byte)))),
        }
    }

    /// What `#` begins: a set, a tagged or a discarded value, a symbolic number.
    fn dispatch(&mut self, depth: usize) -> Result<Option<Value>, Broken> {
        self.scan.next()?;
        match self.scan.peek()?.ok_or(Broken::Torn)? {
            b'{' => self.list(b'}', depth).map(Some),
            b'_' => {
                self.scan.next()?;
                self.skip_space()?;
                // One that is itself discarded leaves the next to discard.
                while self.value(depth + 1)?.is_none() {
                    self.skip_space()?;
                }
                Ok(None)
            }
            b'#' => {
                self.scan.next()?;
                self.token()?;
                self.text_value().map(Some)
            }
            byte if is_token(byte) => {
                self.token()?;
                self.skip_space()?;
                self.value(depth + 1)
            }
            byte => Err(syntax(format!("#{} is nothing", byte as char))),
        }
    }

    fn list(&mut self, end: u8, depth: usize) -> Result<Value, Broken> {
        self.scan.next()?;
        let mut values = Vec::new();
        loop {
            self.skip_space()?;
            if self.scan.peek()? == Some(end) {
                self.scan.next()?;
                return Ok(Value::Array(values));
            }
            values.extend(self.value(depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Broken> {
        self.scan.next()?;
        let mut map = Map::new();
        loop {
            self.skip_space()?;
            if self.scan.peek()? == Some(b'}') {
                self.scan.next()?;
                return Ok(Value::Object(map));
            }
            let Some(key) = self.value(depth + 1)? else { continue };
            self.skip_space()?;
            if self.notation == Notation::Json && self.scan.next()?.ok_or(Broken::Torn)? != b':' {
                return Err(syntax("a colon must follow the name of a field"));
            }
            self.skip_space()?;
            let value = loop {
                if self.scan.peek()? == Some(b'}') {
                    return Err(syntax(format!("the field {key} has no value")));
                }
                match self.value(depth + 1)? {
                    Some(value) => break value,
                    None => self.skip_space()?,
                }
            };
            map.insert(text(&key), value);
        }
    }

    /// The string that begins here, into `self.text`.
    fn string(&mut self) -> Result<(), Broken> {
        self.scan.next()?;
        self.text.clear();
        loop {
            match self.scan.next()?.ok_or(Broken::Torn)? {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                byte => self.text.push(byte),
            }
            self.not_too_long()?;
        }
    }

    fn escape(&mut self) -> Result<(), Broken> {
        let byte = match self.scan.next()?.ok_or(Broken::Torn)? {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            b'u' => return self.unicode(),
            byte @ (b'"' | b'\\' | b'/') => byte,
            byte => return Err(syntax(format!("\\{} is no escape", byte as char))),
        };
        self.text.push(byte);
        Ok(())
    }

    fn unicode(&mut self) -> Result<(), Broken> {
        let mut code = self.four_digits()?;
        if (0xD800..0xDC00).contains(&code) {
            for wanted in *b"\\u" {
                if self.scan.next()?.ok_or(Broken::Torn)? != wanted {
                    return Err(syntax("half of a surrogate pair stands alone"));
                }
            }
            let low = self.four_digits()?;
            if !(0xDC00..0xE000).contains(&low) {
                return Err(syntax("half of a surrogate pair stands alone"));
            }
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        let letter = char::from_u32(code).ok_or_else(|| syntax(format!("\\u{code:04x} is no character")))?;
        self.text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn four_digits(&mut self) -> Result<u32, Broken> {
        let mut code = 0;
        for _ in 0..4 {
            let byte = self.scan.next()?.ok_or(Broken::Torn)?;
            let digit = (byte as char).to_digit(16);
            code = code * 16 + digit.ok_or_else(|| syntax("\\u takes four hexadecimal digits"))?;
        }
        Ok(code)
    }

    /// The token that begins here, into `self.text`.
    fn token(&mut self) -> Result<(), Broken> {
        self.text.clear();
        self.rest_of_token()
    }

    fn token_after(&mut self, first: u8) -> Result<(), Broken> {
        self.text.clear();
        self.text.push(first);
        self.rest_of_token()
    }

    fn rest_of_token(&mut self) -> Result<(), Broken> {
        while let Some(byte) = self.scan.peek()?.filter(|byte| is_token(*byte)) {
            // In JSON a colon ends the name of a field.
            if byte == b':' && self.notation == Notation::Json {
                break;
            }
            self.text.push(byte);
            self.scan.next()?;
            self.not_too_long()?;
        }
        Ok(())
    }

    fn not_too_long(&self) -> Result<(), Broken> {
        if self.text.len() as u64 > ELEMENT_BYTES_MAX {
            return Err(syntax(format!("an element is longer than {ELEMENT_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    fn word(&self, edn: bool) -> Result<Value, Broken> {
        match self.text.as_slice() {
            b"nil" if edn => Ok(Value::Null),
            b"null" if !edn => Ok(Value::Null),
            b"true" => Ok(Value::Bool(true)),
            b"false" => Ok(Value::Bool(false)),
            _ if edn => self.text_value(),
            _ => Err(syntax(format!("`{}` is no value", String::from_utf8_lossy(&self.text)))),
        }
    }

    fn text_value(&self) -> Result<Value, Broken> {
        let text = std::str::from_utf8(&self.text).map_err(|_| syntax("the text is not UTF-8"))?;
        Ok(Value::String(text.to_owned()))
    }
}

fn is_token(byte: u8) -> bool {
    !matches!(
        byte,
        b' ' | b'\t' | b'\r' | b'\n' | b',' | b'{' | b'}' | b'[' | b']' | b'(' | b')' | b'"' | b';' | b'\\'
    )
}

/// A number; in EDN a symbol may begin as one does (`-`, `+x`).
fn number_or_symbol(bytes: &[u8], edn: bool) -> Result<Value, Broken> {
    let whole = String::from_utf8_lossy(bytes);
    // EDN marks large integers and exact decimals at the end.
    let text = if edn { whole.trim_end_matches(['N', 'M']) } else { &whole };
    if let Ok(number) = text.parse::<i64>() {
        return Ok(number.into());
    }
    let float = text.parse::<f64>().ok().and_then(Number::from_f64);
    match float {
        Some(float) => Ok(Value::Number(float)),
        None if edn && !bytes.last().is_some_and(u8::is_ascii_digit) => Ok(Value::String(whole.into_owned())),
        None => Err(syntax(format!("`{whole}` is no number"))),
    }
}

/// A value as the name of a field.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

fn syntax(why: impl Into<String>) -> Broken {
    Broken::Syntax(why.into())
}

fn shown(byte: u8) -> String {
    if byte.is_ascii_graphic() { format!("`{}`", byte as char) } else { format!("byte {byte}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn all(text: &str, notation: Notation) -> Result<Vec<Value>, (u64, String)> {
        let mut elements = Elements::new(text.as_bytes(), notation);
        let mut values = Vec::new();
        loop {
            match elements.next_element() {
                Ok(Some((_, value))) => values.push(value),
                Ok(None) => return Ok(values),
                Err(broken) => return Err((elements.line(), broken.to_string())),
            }
        }
    }

    #[test]
    fn edn_becomes_the_nearest_json() {
        for (edn, want) in [
            ("{:type :ok, :value nil}", json!([{"type": "ok", "value": null}])),
            ("[1 -2 3N 1.5 1.5M 2e3 nil true]", json!([1, -2, 3, 1.5, 1.5, 2000.0, null, true])),
            ("#{1 2}", json!([[1, 2]])),
            ("{0 10, [1 2] :x}", json!([{"0": 10, "[1,2]": "x"}])),
            ("#jepsen.history.Op{:f :read}", json!([{"f": "read"}])),
            ("#inst \"2020\" #_ (a b) #_ #_ x y :z", json!(["2020", "z"])),
            ("; a comment\n(:a b \\c \\( \"\\u00e9\\n\")", json!(["a", "b", "c", "(", "\u{e9}\n"])),
            ("[] ", json!([])),
            ("{:a {:b [{}]}}", json!([{"a": {"b": [{}]}}])),
            ("##Inf -", json!(["Inf", "-"])),
        ] {
            assert_eq!(all(edn, Notation::Edn).map(Value::Array), Ok(want), "{edn}");
        }
    }

    #[test]
    fn json_is_read_from_an_array_or_from_lines() {
        for text in ["[{\"a\":1},\n{\"a\":[null,\"\\ud83d\\ude00\"]}]", "{\"a\":1}\n{\"a\":[null,\"😀\"]}\n"]
        {
            let want = json!([{"a": 1}, {"a": [null, "😀"]}]);
            assert_eq!(all(text, Notation::Json).map(Value::Array), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, notation, line, why) in [
            ("{:a 1}\n{:a", Notation::Edn, 2, "the file ends in the middle of an element"),
            ("[{:a 1}\n", Notation::Edn, 2, "the file ends in the middle of an element"),
            ("[1]\n2", Notation::Edn, 2, "`2` stands after the end of the list"),
            ("{:a}", Notation::Edn, 1, "the field \"a\" has no value"),
            ("\n]", Notation::Edn, 2, "`]` begins no value"),
            ("\"\\q\"", Notation::Edn, 1, "\\q is no escape"),
            ("{\"a\" 1}", Notation::Json, 1, "a colon must follow the name of a field"),
            ("nil", Notation::Json, 1, "`nil` is no value"),
            ("1.2.3", Notation::Json, 1, "`1.2.3` is no number"),
            ("\"\\ud800x\"", Notation::Json, 1, "half of a surrogate pair stands alone"),
        ] {
            assert_eq!(all(text, notation), Err((line, why.to_owned())), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(
            all(&deep, Notation::Edn).map_err(|(_, why)| why),
            Err("values are nested more than 64 deep".into())
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), json in any::<bool>()) {
            let notation = if json { Notation::Json } else { Notation::Edn };
            let mut elements = Elements::new(bytes.as_slice(), notation);
            while let Ok(Some(_)) = elements.next_element() {}
        }

        #[test]
        fn no_edn_like_text_makes_it_panic(text in "[\\[\\](){}#_:;\"\\\\a1 ,\n-]{0,60}") {
            let _ = all(&text, Notation::Edn);
        }
    }
}
