//! The Huffman code of HPACK strings. Source: RFC 7541, appendix B.
//!
//! The code is canonical: among codes of one length, symbols ascend with their codes, and the first code of a
//! length follows from the last of the length before. So the lengths are all there is to write down.

/// Bits of each octet's code; the last is the end-of-string symbol, which never stands in a string.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The longest code, in bits.
const LENGTH_MAX: usize = 30;

/// What decoding needs of each length: the first code, the number of codes, and where their symbols begin.
#[derive(Clone, Debug)]
pub(super) struct Huffman {
    first: [u32; LENGTH_MAX + 1],
    count: [u32; LENGTH_MAX + 1],
    offset: [usize; LENGTH_MAX + 1],
    symbols: Vec<u16>,
}

impl Huffman {
    /// Works out the code.
    pub(super) fn new() -> Huffman {
        let mut symbols: Vec<u16> = (0..257).collect();
        symbols.sort_by_key(|&symbol| (LENGTHS[usize::from(symbol)], symbol));
        let (mut first, mut count, mut offset) =
            ([0; LENGTH_MAX + 1], [0; LENGTH_MAX + 1], [0; LENGTH_MAX + 1]);
        for length in LENGTHS {
            count[usize::from(length)] += 1;
        }
        let (mut code, mut before) = (0, 0);
        for length in 1..=LENGTH_MAX {
            code <<= 1;
            (first[length], offset[length]) = (code, before);
            code += count[length];
            before += count[length] as usize;
        }
        Huffman { first, count, offset, symbols }
    }

    /// Appends what `coded` stands for to `out`. `None` when it is no Huffman-coded string: the padding is not
    /// the 7 or fewer leading ones that it must be, or the end-of-string symbol occurs.
    pub(super) fn decode(&self, coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (mut code, mut length) = (0u32, 0usize);
        for octet in coded {
            for bit in (0..8).rev() {
                code = code << 1 | u32::from(octet >> bit & 1);
                length += 1;
                if length > LENGTH_MAX {
                    return None;
                }
                let place = code.wrapping_sub(self.first[length]);
                if place < self.count[length] {
                    let symbol = self.symbols[self.offset[length] + place as usize];
                    out.push(u8::try_from(symbol).ok()?);
                    (code, length) = (0, 0);
                }
            }
        }
        (length < 8 && code == (1 << length) - 1).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_decode() {
        // RFC 7541, appendix C.4 and C.6.
        let huffman = Huffman::new();
        for (coded, text) in [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
            (&[], ""),
        ] {
            let mut out = Vec::new();
            assert_eq!(huffman.decode(coded, &mut out), Some(()));
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn what_is_no_code_is_refused() {
        let huffman = Huffman::new();
        for coded in [&[0xff, 0xff, 0xff, 0xff][..], &[0xff], &[0x00], &[0xf1, 0xe2]] {
            assert_eq!(huffman.decode(coded, &mut Vec::new()), None, "{coded:x?}");
        }
    }
}
