//! The store from the bytes of an image. Nothing in them is trusted: what no store could have written is
//! refused.

use super::{
    Revision, Store,
    codec::{Malformed, Reader},
    history::{KeyHistory, Version},
    image::{TAG_KEY, TAG_PUT, Totals},
    log::{Delta, Keys, RevisionLog, Sum},
    store::{FIRST_REVISION, NOT_COMPACTED},
};
use bytes::Bytes;
use std::{error::Error, fmt};

/// Larger counters than any store reaches would leave no room for the next write.
const MOST: i64 = 1 << 62;

/// Why records are no image of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A record cannot be read.
    Malformed(Malformed),
    /// A record's tag has unknown bits, or there is no key yet.
    Tag(u8),
    /// The two revisions cannot be those of a store.
    Revisions {
        /// The newest.
        revision: i64,
        /// The oldest readable one.
        compacted: i64,
    },
    /// A key does not follow the one before it, or is empty.
    KeyOrder(Bytes),
    /// A version of the key cannot have been written at this revision, after the ones before it.
    Version {
        /// The key.
        key: Bytes,
        /// The version's place.
        modified: Revision,
    },
    /// No version stands at this place.
    Gap(Revision),
    /// The records are not those that the image's end tells of.
    Totals,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Malformed(malformed) => write!(f, "a record cannot be read: {malformed}"),
            Damage::Tag(tag) => write!(f, "a record has the unknown tag {tag}"),
            Damage::Revisions { revision, compacted } => {
                write!(f, "no store stands at revision {revision} and is compacted at {compacted}")
            }
            Damage::KeyOrder(key) => write!(f, "key {key:?} is out of order"),
            Damage::Version { key, modified: Revision { main, sub } } => {
                write!(f, "key {key:?} cannot have been written at revision {main}.{sub}")
            }
            Damage::Gap(Revision { main, sub }) => write!(f, "nothing was written at revision {main}.{sub}"),
            Damage::Totals => f.write_str("the records do not add up to what the end says"),
        }
    }
}

impl Error for Damage {}

impl From<Malformed> for Damage {
    fn from(malformed: Malformed) -> Damage {
        Damage::Malformed(malformed)
    }
}

/// A store in the making.
#[derive(Debug)]
pub(crate) struct Builder {
    revision: i64,
    compacted: i64,
    keys: Vec<(Bytes, KeyHistory)>,
    totals: Totals,
}

/// One write, with what the log is to know of it.
struct Written {
    at: Revision,
    key: Bytes,
    added: Sum,
    /// As [`Delta::tombstones`] counts it.
    tombstone: Sum,
}

impl Builder {
    pub(crate) fn new(revision: i64, compacted: i64) -> Result<Builder, Damage> {
        let ordered = NOT_COMPACTED <= compacted && compacted <= revision;
        if !ordered || !(FIRST_REVISION..MOST).contains(&revision) {
            return Err(Damage::Revisions { revision, compacted });
        }
        Ok(Builder { revision, compacted, keys: Vec::new(), totals: Totals::default() })
    }

    /// Takes the records of one piece.
    pub(crate) fn read_records(&mut self, reader: &mut Reader<'_>) -> Result<(), Damage> {
        let mut with_key = true;
        while !reader.is_empty() {
            let [tag] = reader.array()?;
            if tag & !(TAG_KEY | TAG_PUT) != 0 || (with_key && tag & TAG_KEY == 0) {
                return Err(Damage::Tag(tag));
            }
            with_key = false;
            let new_key = if tag & TAG_KEY != 0 { Some(reader.bytes()?) } else { None };
            let at = Revision { main: reader.i64()?, sub: reader.u32()? };
            let (numbers, value) = if tag & TAG_PUT != 0 {
                ([reader.i64()?, reader.i64()?, reader.i64()?], reader.bytes()?)
            } else {
                ([0; 3], &[][..])
            };
            if tag & TAG_PUT != 0 && numbers[1] <= 0 {
                let key = Bytes::copy_from_slice(new_key.unwrap_or_default());
                return Err(Damage::Version { key, modified: at });
            }
            self.add(new_key, at, numbers, Bytes::copy_from_slice(value))?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        key: Option<&[u8]>,
        at: Revision,
        numbers: [i64; 3],
        value: Bytes,
    ) -> Result<(), Damage> {
        let last = self.keys.last_mut();
        let (key, history) = match (key, last) {
            // A key's history may go on in the next piece, which names the key again.
            (None, Some((key, history))) => (key.clone(), Some(history)),
            (Some(key), Some((last, history))) if key == last => (last.clone(), Some(history)),
            (Some(key), Some((last, _))) if *key < last[..] => {
                return Err(Damage::KeyOrder(Bytes::copy_from_slice(key)));
            }
            (key, _) => (Bytes::copy_from_slice(key.unwrap_or_default()), None),
        };
        if key.is_empty() {
            return Err(Damage::KeyOrder(key));
        }
        let version = Version::put(&key, at, numbers, value);
        let before = history.as_deref().map(|history| &history.newest);
        if !is_possible(self.revision, self.compacted, before, &version) {
            return Err(Damage::Version { key, modified: at });
        }
        self.totals.versions += 1;
        self.totals.digest = self.totals.digest.wrapping_add(version.digest());
        match history {
            Some(history) => history.push(version),
            None => self.keys.push((key, KeyHistory::new(version))),
        }
        Ok(())
    }

    /// The store, if the records were all there.
    pub(crate) fn finish(self, totals: Totals) -> Result<Store, Damage> {
        if totals != self.totals {
            return Err(Damage::Totals);
        }
        let base = self.compacted.max(FIRST_REVISION);
        let (written, dropped) = self.writes();
        let mut written = written.into_iter().peekable();
        let mut dropped = dropped.into_iter().peekable();
        let (mut kept, mut keys) = (Delta::default(), Vec::new());
        while let Some(write) = written.next_if(|write| write.at.main <= base) {
            kept.added += write.added;
            kept.tombstones += write.tombstone;
            if write.at.main == base {
                keys.push(write.key);
            }
        }
        let mut log = RevisionLog::new(base, Keys::from(keys), kept.added, kept.tombstones);
        // Each turn takes a write or ends the loop, however large a damaged `revision` is.
        for main in base + 1..=self.revision {
            let (mut delta, mut keys) = (Delta::default(), Vec::new());
            while let Some(write) = written.next_if(|write| write.at.main == main) {
                if Ok(write.at.sub) != u32::try_from(keys.len()) {
                    return Err(Damage::Gap(write.at));
                }
                delta.added += write.added;
                delta.tombstones += write.tombstone;
                keys.push(write.key);
            }
            while let Some((_, sum)) = dropped.next_if(|(dropped_at, _)| *dropped_at == main) {
                delta.dropped += sum;
            }
            if keys.is_empty() {
                return Err(Damage::Gap(Revision { main, sub: 0 }));
            }
            log.push(Keys::from(keys), delta);
        }
        Ok(Store::from_parts(self.keys.into_iter().collect(), log, self.compacted))
    }

    /// All writes in their order, and what each revision supersedes, in the order of revisions.
    fn writes(&self) -> (Vec<Written>, Vec<(i64, Sum)>) {
        let (mut written, mut dropped) = (Vec::new(), Vec::new());
        for (key, history) in &self.keys {
            let mut versions = history.visible(NOT_COMPACTED, i64::MAX, None).peekable();
            while let Some(version) = versions.next() {
                let added = Sum { digest: version.digest(), bytes: version.bytes(key) };
                let successor = versions.peek().map(|successor| successor.main);
                let is_tombstone = version.is_tombstone() && successor != Some(version.main);
                let tombstone = if is_tombstone { added } else { Sum::default() };
                if let Some(successor) = successor
                    && !is_tombstone
                {
                    dropped.push((successor, added));
                }
                written.push(Written { at: version.modified(), key: key.clone(), added, tombstone });
            }
        }
        written.sort_unstable_by_key(|write| write.at);
        dropped.sort_unstable_by_key(|(main, _)| *main);
        (written, dropped)
    }
}

/// Whether a store at `revision`, compacted at `compacted`, can hold `version` as the next one after `before`
/// of the same key.
fn is_possible(revision: i64, compacted: i64, before: Option<&Version>, version: &Version) -> bool {
    if version.main <= FIRST_REVISION || version.main > revision || version.number >= MOST {
        return false;
    }
    let is_first = version.created == version.main && version.number == 1;
    match before {
        Some(before) if before.modified() >= version.modified() || version.main <= compacted => false,
        Some(before) if version.is_tombstone() => !before.is_tombstone(),
        Some(before) if before.is_tombstone() => is_first,
        Some(before) => {
            version.created == before.created && before.number.checked_add(1) == Some(version.number)
        }
        // What was written before it may be compacted away.
        None if version.main <= compacted => {
            if version.is_tombstone() {
                version.main == compacted
            } else {
                version.created > FIRST_REVISION && version.created <= version.main
            }
        }
        None => is_first,
    }
}
