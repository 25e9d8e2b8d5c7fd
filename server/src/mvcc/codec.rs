//! Numbers and byte strings as state images hold them: integers in base 128, the least significant group
//! first, as in protocol buffers.

use std::fmt;

/// Bytes that do not say what they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They end too early.
    Truncated,
    /// A number does not fit its type.
    Number,
    /// Something follows what should be the end.
    Trailing,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Truncated => "it ends too early",
            Malformed::Number => "a number is too large",
            Malformed::Trailing => "it goes on behind its end",
        })
    }
}

/// Appends a number.
pub(crate) fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a number that is seldom negative.
pub(crate) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, value.cast_unsigned());
}

/// Appends a byte string with its length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, u64::try_from(bytes.len()).expect("lengths fit 64 bits"));
    out.extend_from_slice(bytes);
}

/// Takes values from the front of some bytes.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed::Number);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Number)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.u64()?).map_err(|_| Malformed::Number)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(self.u64()?.cast_signed())
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.u64()?).map_err(|_| Malformed::Truncated)?;
        self.take(len)
    }

    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_themselves() {
        for value in [0, 1, 127, 128, 300, 1 << 35, i64::MAX, -1, i64::MIN] {
            let mut out = Vec::new();
            put_i64(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!((reader.i64(), reader.end()), (Ok(value), Ok(())), "{value}");
            for len in 0..out.len() {
                assert_eq!(Reader::new(&out[..len]).i64(), Err(Malformed::Truncated), "{value} cut to {len}");
            }
        }
    }

    #[test]
    fn malformed_numbers_are_refused() {
        for (bytes, want, why) in [
            (&[0xff; 9][..], Malformed::Truncated, "no last group"),
            (&[0xff; 11][..], Malformed::Number, "more than ten groups"),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2][..], Malformed::Number, "2^64"),
        ] {
            assert_eq!(Reader::new(bytes).u64(), Err(want), "{why}");
        }
        assert_eq!(Reader::new(&[5, 1, 2]).bytes(), Err(Malformed::Truncated), "fewer bytes than announced");
    }
}
