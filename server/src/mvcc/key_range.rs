//! Which keys a request means.

use std::ops::Bound;

/// The two ends of a range of keys, as maps take them.
pub(super) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The keys that `key` and `range_end` of a request stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyRange<'a> {
    /// One key.
    One(&'a [u8]),
    /// From the first (inclusive) to the second (exclusive), which is larger.
    Between(&'a [u8], &'a [u8]),
    /// From the key (inclusive) on.
    From(&'a [u8]),
    /// No key: the end does not lie behind the start.
    Nothing,
}

impl<'a> KeyRange<'a> {
    /// Empty `end`: the one key; a single zero byte: all keys from `key` on.
    pub(super) fn new(key: &'a [u8], end: &'a [u8]) -> KeyRange<'a> {
        match end {
            [] => KeyRange::One(key),
            [0] => KeyRange::From(key),
            end if end > key => KeyRange::Between(key, end),
            _ => KeyRange::Nothing,
        }
    }

    /// The key, if the range is a single one.
    pub(super) fn one(&self) -> Option<&'a [u8]> {
        match *self {
            KeyRange::One(key) => Some(key),
            KeyRange::Between(..) | KeyRange::From(_) | KeyRange::Nothing => None,
        }
    }

    /// The ends of a range that is not a single key; `None` also where there can be no key.
    pub(super) fn bounds(&self) -> Option<Bounds<'a>> {
        match *self {
            #[cfg(feature = "plant")]
            KeyRange::Between(key, end) if crate::plant::is(crate::plant::Plant::RangeEndIncluded) => {
                Some((Bound::Included(key), Bound::Included(end)))
            }
            KeyRange::Between(key, end) => Some((Bound::Included(key), Bound::Excluded(end))),
            KeyRange::From(key) => Some((Bound::Included(key), Bound::Unbounded)),
            KeyRange::One(_) | KeyRange::Nothing => None,
        }
    }

    /// Whether the range takes in a key.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        match *self {
            KeyRange::One(one) => key == one,
            KeyRange::Between(start, end) => start <= key && key < end,
            KeyRange::From(start) => start <= key,
            KeyRange::Nothing => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_end_name_a_range() {
        let (a, b): (&[u8], &[u8]) = (b"a", b"b");
        for (key, end, want, why) in [
            (a, &b""[..], KeyRange::One(a), "no end: one key"),
            (a, b, KeyRange::Between(a, b), "an end behind the key"),
            (a, b"\0", KeyRange::From(a), "a zero byte: no upper end"),
            (b"\0", b"\0", KeyRange::From(b"\0"), "all keys"),
            (a, b"\0\0", KeyRange::Nothing, "two zero bytes are a key like any other"),
            (b, a, KeyRange::Nothing, "an end before the key"),
            (a, a, KeyRange::Nothing, "an end equal to the key"),
        ] {
            assert_eq!(KeyRange::new(key, end), want, "{why}");
        }
    }
}
