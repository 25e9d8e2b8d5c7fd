//! Where a write stands in the order of all writes.

/// The place of one write: all writes of a request share `main`, and count up in `sub`.
///
/// Source: etcd documentation, "Data model".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The revision that clients see; an empty store stands at 1, the first write makes 2.
    pub main: i64,
    /// The write's number within its revision, from 0.
    pub sub: u32,
}
