//! What a store holds: every key with all its versions, shared between the states of a search.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use rustc_hash::FxHasher;

use super::super::kv_types::{KeyRange, KeyValue, PutRequest};

/// A store at its newest revision, with its history.
///
/// Cloning copies one pointer a key: the versions are shared.
#[derive(Clone, Debug)]
pub struct Store {
    rev: i64,
    compacted: i64,
    keys: BTreeMap<Arc<str>, Arc<Version>>,
    /// Digest of all writes in their order: a hash of the whole state without a walk over it.
    digest: u64,
}

/// What a key held from a revision on.
#[derive(Debug)]
pub(super) struct Version {
    rev: i64,
    /// `None` for a deletion.
    pair: Option<Pair>,
    before: Option<Arc<Version>>,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The value.
    pub value: Arc<str>,
    /// Revision of the key's creation.
    pub create_revision: i64,
    /// Revision of the key's newest write.
    pub mod_revision: i64,
    /// Writes since the creation.
    pub version: i64,
}

impl Pair {
    /// The pair as an answer carries it.
    pub fn to_key_value(&self, key: &str, keys_only: bool) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: if keys_only { String::new() } else { self.value.to_string() },
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: 0,
        }
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        // One by one: a long chain would overflow the stack.
        let mut next = self.before.take();
        while let Some(version) = next.and_then(Arc::into_inner) {
            let mut version = version;
            next = version.before.take();
        }
    }
}

impl Store {
    /// An empty store: revision 1, nothing compacted.
    pub fn new() -> Store {
        Store::at(1)
    }

    /// An empty store at a revision.
    pub fn at(rev: i64) -> Store {
        Store { rev, compacted: 0, keys: BTreeMap::new(), digest: 0 }
    }

    /// The newest revision.
    pub fn rev(&self) -> i64 {
        self.rev
    }

    /// The oldest readable revision; 0 before any compaction.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    pub(super) fn set_compacted(&mut self, revision: i64) {
        self.compacted = revision;
    }

    /// Makes revisions up to one that change nothing here: somebody else's writes.
    pub fn skip_to(&mut self, rev: i64) {
        assert!(rev >= self.rev, "revision {} cannot go back to {rev}", self.rev);
        self.rev = rev;
    }

    pub(super) fn end_revision(&mut self, rev: i64) {
        self.rev = rev;
    }

    /// The newest pair of a key.
    pub fn get(&self, key: &str) -> Option<&Pair> {
        self.keys.get(key)?.pair.as_ref()
    }

    /// What a key would hold after a put of it, the next write.
    pub fn after_put(&self, put: &PutRequest) -> Pair {
        let mod_revision = self.rev + 1;
        let (create_revision, version) =
            self.get(&put.key).map_or((mod_revision, 1), |pair| (pair.create_revision, pair.version + 1));
        Pair { value: Arc::from(put.value.as_str()), create_revision, mod_revision, version }
    }

    /// The pair of a key as of a revision, whether compacted or not.
    pub fn get_at(&self, key: &str, rev: i64) -> Option<&Pair> {
        at(self.keys.get(key)?, rev)
    }

    /// The revision of the newest write or deletion of a key, at or before `rev`.
    pub fn last_change(&self, key: &str, rev: i64) -> Option<i64> {
        let mut version = self.keys.get(key)?;
        while version.rev > rev {
            version = version.before.as_ref()?;
        }
        Some(version.rev)
    }

    /// The pairs of a range as of a revision, in key order.
    pub fn range_at<'a>(
        &'a self,
        keys: &KeyRange,
        rev: i64,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Pair)> {
        let (from, to) = bounds(keys);
        // An inverted range is empty; the map would panic on it.
        let empty = matches!((&from, &to), (Bound::Included(a), Bound::Excluded(b)) if a >= b);
        let to = if empty { Bound::Excluded(keys.key.as_str()) } else { to };
        let from = if empty { Bound::Included(keys.key.as_str()) } else { from };
        self.keys
            .range::<str, _>((from, to))
            .filter_map(move |(key, version)| at(version, rev).map(|pair| (key, pair)))
    }

    pub(super) fn write(&mut self, key: &str, rev: i64, value: Option<Arc<str>>) {
        let before = self.keys.get(key).cloned();
        let old = before.as_ref().and_then(|version| version.pair.as_ref());
        let pair = value.map(|value| Pair {
            value,
            create_revision: old.map_or(rev, |old| old.create_revision),
            mod_revision: rev,
            version: old.map_or(1, |old| old.version + 1),
        });
        let mut hasher = FxHasher::default();
        (self.digest, key, rev, pair.as_ref().map(|pair| &pair.value)).hash(&mut hasher);
        self.digest = hasher.finish();
        let version = Arc::new(Version { rev, pair, before });
        match self.keys.get_mut(key) {
            Some(newest) => *newest = version,
            None => {
                self.keys.insert(Arc::from(key), version);
            }
        }
    }

    /// Forgets all but the newest pairs: from here on the store answers for its newest revision alone.
    pub fn forget_history(&mut self) {
        self.keys.retain(|_, version| version.pair.is_some());
        for version in self.keys.values_mut() {
            if version.before.is_some() {
                *version = Arc::new(Version { rev: version.rev, pair: version.pair.clone(), before: None });
            }
        }
    }

    /// Has a range hold these pairs and no others, whoever wrote them.
    pub fn learn(&mut self, keys: &KeyRange, pairs: &[KeyValue]) {
        self.keys.retain(|key, _| !covers(keys, key));
        for KeyValue { key, value, create_revision, mod_revision, version, lease: _ } in pairs {
            let pair = Pair {
                value: Arc::from(value.as_str()),
                create_revision: *create_revision,
                mod_revision: *mod_revision,
                version: *version,
            };
            let version = Version { rev: *mod_revision, pair: Some(pair), before: None };
            self.keys.insert(Arc::from(key.as_str()), Arc::new(version));
        }
    }

    /// The store in a few words.
    pub(super) fn describe(&self) -> String {
        let pairs: Vec<String> = self
            .keys
            .iter()
            .filter_map(|(key, version)| version.pair.as_ref().map(|pair| (key, pair)))
            .map(|(key, pair)| {
                let Pair { value, create_revision, mod_revision, version } = pair;
                format!("{key}={value:?} (mod {mod_revision}, create {create_revision}, version {version})")
            })
            .collect();
        let held = if pairs.is_empty() { "nothing".to_owned() } else { pairs.join(", ") };
        format!("revision {}: {held}", self.rev)
    }
}

impl Default for Store {
    fn default() -> Store {
        Store::new()
    }
}

impl PartialEq for Store {
    fn eq(&self, other: &Store) -> bool {
        self.digest == other.digest
            && self.rev == other.rev
            && self.compacted == other.compacted
            && self.keys.len() == other.keys.len()
            && self.keys.iter().zip(&other.keys).all(|((a_key, a), (b_key, b))| a_key == b_key && same(a, b))
    }
}

impl Eq for Store {}

impl Hash for Store {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.rev, self.compacted, self.digest).hash(state);
    }
}

/// Whether two histories of a key are the same; shared tails are not walked.
fn same(mut a: &Arc<Version>, mut b: &Arc<Version>) -> bool {
    loop {
        if Arc::ptr_eq(a, b) {
            return true;
        }
        if a.rev != b.rev || a.pair != b.pair {
            return false;
        }
        match (&a.before, &b.before) {
            (Some(next_a), Some(next_b)) => (a, b) = (next_a, next_b),
            (None, None) => return true,
            (Some(_), None) | (None, Some(_)) => return false,
        }
    }
}

fn at(newest: &Arc<Version>, rev: i64) -> Option<&Pair> {
    let mut version = newest;
    while version.rev > rev {
        version = version.before.as_ref()?;
    }
    version.pair.as_ref()
}

/// The bounds of a range: one key, `[key, end)`, or from `key` on.
fn bounds(keys: &KeyRange) -> (Bound<&str>, Bound<&str>) {
    let from = keys.key.as_str();
    match keys.end.as_deref() {
        None | Some("") => (Bound::Included(from), Bound::Included(from)),
        Some("\0") => (Bound::Included(from), Bound::Unbounded),
        Some(end) => (Bound::Included(from), Bound::Excluded(end)),
    }
}

/// Whether a range covers a key.
pub fn covers(keys: &KeyRange, key: &str) -> bool {
    let (from, to) = bounds(keys);
    let after = match from {
        Bound::Included(from) => key >= from,
        Bound::Excluded(from) => key > from,
        Bound::Unbounded => true,
    };
    let before = match to {
        Bound::Included(to) => key <= to,
        Bound::Excluded(to) => key < to,
        Bound::Unbounded => true,
    };
    after && before
}
