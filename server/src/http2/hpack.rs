//! Header compression: a whole decoder, and an encoder that uses the table for what comes again.
//! Source: RFC 7541.

use super::huffman::Huffman;
use std::collections::VecDeque;

/// The size that each side's dynamic table begins with, in octets as section 4.1 counts them.
pub const TABLE_BYTES_DEFAULT: usize = 4096;
/// What an entry counts beside its name and value.
const ENTRY_BYTES: usize = 32;

/// Names and values that have fixed numbers, from 1. Source: RFC 7541, appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

/// A header block that breaks the rules; the connection cannot go on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A name and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// Reads header blocks, in the order in which they came.
#[derive(Debug)]
pub struct Decoder {
    huffman: Huffman,
    /// Newest first.
    table: VecDeque<Entry>,
    table_bytes: usize,
    table_bytes_max: usize,
    changes: u64,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

impl Decoder {
    /// A decoder whose peer was not told of any other size of table than the default one.
    pub fn new() -> Decoder {
        Decoder {
            huffman: Huffman::new(),
            table: VecDeque::new(),
            table_bytes: 0,
            table_bytes_max: TABLE_BYTES_DEFAULT,
            changes: 0,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Grows whenever the table changes: the same block means the same headers while this is the same.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Reads a whole block, and shows each header.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(&mut self, block: &[u8], mut header: impl FnMut(&[u8], &[u8])) -> Result<(), Malformed> {
        let mut rest = block;
        let mut begun = false;
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                let (name, value) = self.entry(index)?;
                header(name, value);
            } else if first & 0xc0 == 0x40 {
                let index = integer(&mut rest, 6)?;
                self.literal(&mut rest, index)?;
                header(&self.name, &self.value);
                self.insert();
            } else if first & 0xe0 == 0x20 {
                // Only in front of the first header, and never above what this side allows.
                let size = integer(&mut rest, 5)?;
                if begun || size > TABLE_BYTES_DEFAULT {
                    return Err(Malformed);
                }
                self.table_bytes_max = size;
                self.changes += 1;
                self.evict(0);
                continue;
            } else {
                // Not to be put into the table; whether that is forbidden for good is of no concern here.
                let index = integer(&mut rest, 4)?;
                self.literal(&mut rest, index)?;
                header(&self.name, &self.value);
            }
            begun = true;
        }
        Ok(())
    }

    /// Reads a literal into `name` and `value`; index 0 means that the name is a literal too.
    fn literal(&mut self, rest: &mut &[u8], index: usize) -> Result<(), Malformed> {
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        if index == 0 {
            self.string(rest, &mut name)?;
        } else {
            name.extend_from_slice(self.entry(index)?.0);
        }
        self.name = name;
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        self.string(rest, &mut value)?;
        self.value = value;
        Ok(())
    }

    fn string(&self, rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let huffman = rest.first().ok_or(Malformed)? & 0x80 != 0;
        let length = integer(rest, 7)?;
        let (coded, after) = rest.split_at_checked(length).ok_or(Malformed)?;
        *rest = after;
        if huffman {
            self.huffman.decode(coded, out).ok_or(Malformed)
        } else {
            out.extend_from_slice(coded);
            Ok(())
        }
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
        let at = index.checked_sub(1).ok_or(Malformed)?;
        if let Some((name, value)) = STATIC.get(at) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let (name, value) = self.table.get(at - STATIC.len()).ok_or(Malformed)?;
        Ok((name, value))
    }

    /// Puts the literal that was read last into the table. One that is larger than the table empties it.
    fn insert(&mut self) {
        let bytes = self.name.len() + self.value.len() + ENTRY_BYTES;
        self.changes += 1;
        self.evict(bytes);
        if bytes <= self.table_bytes_max {
            self.table_bytes += bytes;
            self.table.push_front((self.name.clone(), self.value.clone()));
        }
    }

    /// Makes room for `bytes`.
    fn evict(&mut self, bytes: usize) {
        while self.table_bytes + bytes > self.table_bytes_max {
            let Some((name, value)) = self.table.pop_back() else { return };
            self.table_bytes -= name.len() + value.len() + ENTRY_BYTES;
        }
    }
}

/// Reads an integer whose first octet lends it `prefix` bits. Source: section 5.1.
fn integer(rest: &mut &[u8], prefix: u8) -> Result<usize, Malformed> {
    let (&first, mut after) = rest.split_first().ok_or(Malformed)?;
    let mask = (1u8 << prefix) - 1;
    let mut value = usize::from(first & mask);
    if first & mask == mask {
        for shift in [0, 7, 14, 21] {
            let (&octet, more) = after.split_first().ok_or(Malformed)?;
            after = more;
            value += usize::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                *rest = after;
                return Ok(value);
            }
        }
        // Longer than any size that a header may have.
        return Err(Malformed);
    }
    *rest = after;
    Ok(value)
}

fn write_integer(out: &mut Vec<u8>, bits: u8, prefix: u8, value: usize) {
    let max = (1usize << prefix) - 1;
    if value < max {
        out.push(bits | u8::try_from(value).unwrap_or(u8::MAX));
        return;
    }
    out.push(bits | u8::try_from(max).unwrap_or(u8::MAX));
    let mut rest = value - max;
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or(0));
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    write_integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// Writes header blocks: each header that is to be kept goes into the peer's table when it is first sent, and is one
/// octet from then on.
#[derive(Debug)]
pub struct Encoder {
    /// Oldest first; nothing is ever evicted, as no more is put in than fits.
    table: Vec<Entry>,
    table_bytes: usize,
    /// `None`: the peer's table is smaller than the default, and is not used.
    uses_table: bool,
    /// The peer has to be told, in the next block, that its table is not used any more.
    tell: bool,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    /// An encoder whose peer has not told of any other size of table than the default one.
    pub fn new() -> Encoder {
        Encoder { table: Vec::new(), table_bytes: 0, uses_table: true, tell: false }
    }

    /// Takes the size of the peer's table from its settings: with less than the default, none is used.
    pub fn table_size(&mut self, bytes: u32) {
        if self.uses_table && (bytes as usize) < TABLE_BYTES_DEFAULT {
            (self.uses_table, self.tell) = (false, true);
            self.table.clear();
        }
    }

    /// Appends a block. Gives whether the next block with these headers will be another one, shorter or
    /// without what had to be told.
    pub fn encode(&mut self, out: &mut Vec<u8>, headers: &[(&str, &str)]) -> bool {
        let mut changed = self.begin(out);
        for &(name, value) in headers {
            changed |= self.header(out, name.as_bytes(), value.as_bytes(), true);
        }
        changed
    }

    /// Begins a block. Gives whether the peer had to be told something.
    pub fn begin(&mut self, out: &mut Vec<u8>) -> bool {
        let tell = std::mem::take(&mut self.tell);
        if tell {
            write_integer(out, 0x20, 5, 0);
        }
        tell
    }

    /// Appends one header to a block. One that will come again is worth to be kept. Gives whether it went into the
    /// table.
    pub fn header(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], keep: bool) -> bool {
        let is = |entry: &(&str, &str)| entry.0.as_bytes() == name && entry.1.as_bytes() == value;
        if let Some(at) = STATIC.iter().position(is) {
            write_integer(out, 0x80, 7, at + 1);
            return false;
        }
        if let Some(at) = self.table.iter().rposition(|entry| entry.0 == name && entry.1 == value) {
            write_integer(out, 0x80, 7, STATIC.len() + self.table.len() - at);
            return false;
        }
        let bytes = name.len() + value.len() + ENTRY_BYTES;
        let insert = keep && self.uses_table && self.table_bytes + bytes <= TABLE_BYTES_DEFAULT;
        let (bits, prefix) = if insert { (0x40, 6) } else { (0x00, 4) };
        let named = STATIC.iter().position(|entry| entry.0.as_bytes() == name).map_or(0, |at| at + 1);
        write_integer(out, bits, prefix, named);
        if named == 0 {
            write_string(out, name);
        }
        write_string(out, value);
        if insert {
            self.table.push((name.to_vec(), value.to_vec()));
            self.table_bytes += bytes;
        }
        insert
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        let mut headers = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder.decode(block, |name, value| headers.push((text(name), text(value))))?;
        Ok(headers)
    }

    fn own(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_request_examples_of_the_rfc_decode() {
        // RFC 7541, appendix C.4: Huffman-coded, three requests on one connection.
        let mut decoder = Decoder::new();
        let first = [
            0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4,
            0xff,
        ];
        let base =
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        assert_eq!(decode(&mut decoder, &first), Ok(own(&base)));
        let second = [0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        let with_cache = [&base[..], &[("cache-control", "no-cache")]].concat();
        assert_eq!(decode(&mut decoder, &second), Ok(own(&with_cache)));
        assert_eq!(decoder.changes(), 2);
    }

    #[test]
    fn blocks_that_break_the_rules_are_refused() {
        for block in [
            &[0x80][..],                        // index 0
            &[0xbe],                            // nothing there
            &[0x3f, 0xe2, 0x1f],                // a table of 4097
            &[0x82, 0x20],                      // a size behind a header
            &[0x40, 0x05, b'a'],                // cut off
            &[0xff, 0xff, 0xff, 0xff, 0xff, 1], // an endless integer
        ] {
            assert_eq!(decode(&mut Decoder::new(), block), Err(Malformed), "{block:x?}");
        }
    }

    #[test]
    fn a_full_table_loses_its_oldest_and_a_shrunken_one_too() {
        let mut decoder = Decoder::new();
        let literal = |value: &str| {
            let mut block = vec![0x40, 1, b'n'];
            write_string(&mut block, value.as_bytes());
            block
        };
        for n in 0..200 {
            decode(&mut decoder, &literal(&format!("value {n:03}"))).expect("a literal");
        }
        // 32 + 1 + 9 octets each.
        assert_eq!(decoder.table.len(), TABLE_BYTES_DEFAULT / 42);
        assert_eq!(decode(&mut decoder, &[0xbe]), Ok(own(&[("n", "value 199")])));
        assert_eq!(decode(&mut decoder, &[0x20, 0xbe]), Err(Malformed));
        assert_eq!(decoder.table_bytes, 0);
    }

    #[test]
    fn what_is_encoded_decodes_and_gets_short() {
        let headers = [
            (":method", "POST"),
            (":path", "/etcdserverpb.KV/Put"),
            ("te", "trailers"),
            (":authority", "h:1"),
        ];
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let mut lengths = Vec::new();
        for again in 0..3 {
            let mut block = Vec::new();
            assert_eq!(encoder.encode(&mut block, &headers), again == 0);
            assert_eq!(decode(&mut decoder, &block), Ok(own(&headers)));
            lengths.push(block.len());
        }
        assert_eq!(lengths[1..], [4, 4]);
        // A peer with a small table gets literals, and is told.
        encoder.table_size(100);
        for again in 0..2 {
            let mut block = Vec::new();
            assert_eq!(encoder.encode(&mut block, &headers), again == 0);
            assert_eq!(decode(&mut decoder, &block), Ok(own(&headers)));
            assert_eq!(decoder.table.len(), 0);
        }
    }
}
