//! All stored versions of one key.

use super::Revision;
use crate::proto::mvccpb::KeyValue;
use bytes::Bytes;
use std::collections::VecDeque;

/// One write of a key: a put, or a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// The write.
    pub(crate) modified: Revision,
    /// Main revision of the put that created the key since its last deletion; 0 in a tombstone.
    pub(crate) created: i64,
    /// Puts since the creation; 0 in a tombstone.
    pub(crate) number: i64,
    /// The lease that the key hangs from, 0 for none.
    pub(crate) lease: i64,
    /// The value; empty in a tombstone.
    pub(crate) value: Bytes,
}

impl Version {
    /// Whether this write deleted the key.
    pub(crate) fn is_tombstone(&self) -> bool {
        self.number == 0
    }

    /// As clients see it.
    pub(crate) fn to_kv(&self, key: &Bytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            create_revision: self.created,
            mod_revision: self.modified.main,
            version: self.number,
            value: self.value.clone(),
            lease: self.lease,
        }
    }
}

/// The versions of one key in the order of their revisions. There is at least one.
#[derive(Debug)]
pub(crate) struct KeyHistory {
    /// Apart from the others: most reads want it, and most keys have no other.
    pub(crate) newest: Version,
    /// Oldest first.
    pub(crate) older: VecDeque<Version>,
}

impl KeyHistory {
    pub(crate) fn new(first: Version) -> KeyHistory {
        KeyHistory { newest: first, older: VecDeque::new() }
    }

    pub(crate) fn push(&mut self, version: Version) {
        self.older.push_back(std::mem::replace(&mut self.newest, version));
    }

    /// The version that a reader at revision `main` sees, if the key exists there.
    pub(crate) fn at(&self, main: i64) -> Option<&Version> {
        let version = if self.newest.modified.main <= main {
            &self.newest
        } else {
            let behind = self.older.partition_point(|version| version.modified.main <= main);
            self.older.get(behind.checked_sub(1)?)?
        };
        (!version.is_tombstone()).then_some(version)
    }
}
