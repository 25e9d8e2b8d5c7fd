//! Where the first JSON value of a text ends, and what is wrong where there is none: in the words of Go's
//! encoding/json, which etcd's gateway cuts a body into values with.

use std::ops::Range;

/// How deep values may lie in each other.
const DEPTH_MAX: usize = 10_000;

/// The place of the first value; `None` if there are but blanks. Whatever comes after it is not looked at.
///
/// # Errors
/// What encoding/json says of it.
pub(super) fn first(text: &[u8]) -> Result<Option<Range<usize>>, String> {
    let mut scan = Scan { text, at: 0 };
    scan.blanks();
    if scan.at == text.len() {
        return Ok(None);
    }
    let start = scan.at;
    scan.value()?;
    Ok(Some(start..scan.at))
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    /// One value, with a stack of its own: how deep it is, is the client's choice.
    fn value(&mut self) -> Result<(), String> {
        let mut around = Vec::new();
        loop {
            self.blanks();
            match self.next()? {
                open @ (b'{' | b'[') => {
                    around.push(open);
                    if around.len() > DEPTH_MAX {
                        return Err(invalid(open, "exceeded max depth"));
                    }
                    self.blanks();
                    // Both kinds of brackets are two apart from their counterparts.
                    if self.peek()? == open + 2 {
                        self.at += 1;
                        around.pop();
                    } else {
                        if open == b'{' {
                            self.name()?;
                        }
                        continue;
                    }
                }
                b'"' => self.string()?,
                first @ (b'-' | b'0'..=b'9') => self.number(first)?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                other => return Err(invalid(other, "looking for beginning of value")),
            }
            if self.ends(&mut around)? {
                return Ok(());
            }
        }
    }

    /// What comes after a value: whether the outermost has ended, or there is another one to come.
    fn ends(&mut self, around: &mut Vec<u8>) -> Result<bool, String> {
        while let Some(&open) = around.last() {
            self.blanks();
            match (open, self.next()?) {
                (b'{', b',') => {
                    self.blanks();
                    self.name()?;
                    return Ok(false);
                }
                (_, b',') => return Ok(false),
                (open, close) if close == open + 2 => drop(around.pop()),
                (b'{', other) => return Err(invalid(other, "after object key:value pair")),
                (_, other) => return Err(invalid(other, "after array element")),
            }
        }
        Ok(true)
    }

    fn name(&mut self) -> Result<(), String> {
        match self.next()? {
            b'"' => self.string()?,
            other => return Err(invalid(other, "looking for beginning of object key string")),
        }
        self.blanks();
        match self.next()? {
            b':' => Ok(()),
            other => Err(invalid(other, "after object key")),
        }
    }

    fn string(&mut self) -> Result<(), String> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let digit = self.next()?;
                            if !digit.is_ascii_hexdigit() {
                                return Err(invalid(digit, r"in \u hexadecimal character escape"));
                            }
                        }
                    }
                    other => return Err(invalid(other, "in string escape code")),
                },
                control @ 0..=0x1f => return Err(invalid(control, "in string literal")),
                _ => {}
            }
        }
    }

    fn number(&mut self, first: u8) -> Result<(), String> {
        let first = match first {
            b'-' => match self.next()? {
                digit @ b'0'..=b'9' => digit,
                other => return Err(invalid(other, "in numeric literal")),
            },
            digit => digit,
        };
        if first != b'0' {
            self.digits();
        }
        if self.takes(b".") {
            match self.next()? {
                b'0'..=b'9' => self.digits(),
                other => return Err(invalid(other, "after decimal point in numeric literal")),
            }
        }
        if self.takes(b"eE") {
            let _ = self.takes(b"+-");
            match self.next()? {
                b'0'..=b'9' => self.digits(),
                other => return Err(invalid(other, "in exponent of numeric literal")),
            }
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.takes(b"0123456789") {}
    }

    /// The rest of a literal.
    fn literal(&mut self, literal: &str) -> Result<(), String> {
        for expected in literal.bytes().skip(1) {
            let next = self.next()?;
            if next != expected {
                let expected = char::from(expected);
                return Err(invalid(next, &format!("in literal {literal} (expecting '{expected}')")));
            }
        }
        Ok(())
    }

    fn blanks(&mut self) {
        while self.takes(b" \t\r\n") {}
    }

    fn takes(&mut self, any_of: &[u8]) -> bool {
        let takes = self.text.get(self.at).is_some_and(|byte| any_of.contains(byte));
        self.at += usize::from(takes);
        takes
    }

    fn peek(&self) -> Result<u8, String> {
        self.text.get(self.at).copied().ok_or_else(|| "unexpected EOF".to_string())
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }
}

/// A byte is shown as the character of that number, as Go does.
fn invalid(byte: u8, context: &str) -> String {
    let shown = match byte {
        b'\'' => r"\'".to_string(),
        b'"' => "\"".to_string(),
        b'\\' => r"\\".to_string(),
        0x07 => r"\a".to_string(),
        0x08 => r"\b".to_string(),
        b'\t' => r"\t".to_string(),
        b'\n' => r"\n".to_string(),
        0x0b => r"\v".to_string(),
        0x0c => r"\f".to_string(),
        b'\r' => r"\r".to_string(),
        0..=0x1f | 0x7f => format!(r"\x{byte:02x}"),
        // Neither of the two, a blank and a hyphen, can be seen.
        0x80..=0xa0 | 0xad => format!(r"\u{byte:04x}"),
        _ => char::from(byte).to_string(),
    };
    format!("invalid character '{shown}' {context}")
}
