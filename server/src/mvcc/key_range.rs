//! Which keys a request means.

use bytes::Bytes;
use std::ops::Bound;

/// The two ends of a range of keys, as maps take them.
pub(crate) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The keys that `key` and `range_end` of a request stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyRange<'a> {
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
    pub(crate) fn new(key: &'a Bytes, end: &'a Bytes) -> KeyRange<'a> {
        match end.as_ref() {
            [] => KeyRange::One(key),
            [0] => KeyRange::From(key),
            end if end > key.as_ref() => KeyRange::Between(key, end),
            _ => KeyRange::Nothing,
        }
    }

    /// As bounds for a map; `None` where there can be no key.
    pub(crate) fn bounds(&self) -> Option<Bounds<'a>> {
        match *self {
            KeyRange::One(key) => Some((Bound::Included(key), Bound::Included(key))),
            KeyRange::Between(key, end) => Some((Bound::Included(key), Bound::Excluded(end))),
            KeyRange::From(key) => Some((Bound::Included(key), Bound::Unbounded)),
            KeyRange::Nothing => None,
        }
    }
}
