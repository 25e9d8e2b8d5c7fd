//! What a value carries in its first octets, where somebody will look at it: who reads it, or is told of it, knows
//! whose it is and when it was written.

/// The times of a write, in ns of the clock that all threads share, and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// When it was due.
    pub due_ns: u64,
    /// When it was sent.
    pub sent_ns: u64,
    /// Which write it is; 0 where that does not matter.
    pub tag: u64,
}

/// Marks a value as one that carries a stamp: hardly any other begins with it.
const MARK: [u8; 4] = *b"asy1";

impl Stamp {
    /// Octets that a stamp takes.
    pub(super) const BYTES: usize = 28;

    /// Writes the stamp over the first octets of a value, if it has so many.
    pub(super) fn write(self, value: &mut [u8]) {
        let Some(place) = value.first_chunk_mut::<{ Stamp::BYTES }>() else { return };
        place[..4].copy_from_slice(&MARK);
        for (at, number) in [self.due_ns, self.sent_ns, self.tag].into_iter().enumerate() {
            place[4 + 8 * at..][..8].copy_from_slice(&number.to_le_bytes());
        }
    }

    /// The stamp of a value; `None` for one without.
    pub(super) fn read(value: &[u8]) -> Option<Stamp> {
        let numbers = value.first_chunk::<{ Stamp::BYTES }>()?.strip_prefix(&MARK)?;
        let number = |at: usize| numbers[8 * at..][..8].try_into().ok().map(u64::from_le_bytes);
        Some(Stamp { due_ns: number(0)?, sent_ns: number(1)?, tag: number(2)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_and_other_values_have_none() {
        let stamp = Stamp { due_ns: 1, sent_ns: u64::MAX, tag: 77 };
        let mut value = vec![7; 64];
        stamp.write(&mut value);
        assert_eq!((Stamp::read(&value), value[28]), (Some(stamp), 7));
        let mut short = vec![7; 27];
        stamp.write(&mut short);
        assert_eq!((Stamp::read(&short), short[0]), (None, 7));
        assert_eq!(Stamp::read(&[7; 64]), None);
    }
}
