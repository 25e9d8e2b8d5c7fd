//! What a store holds: every key with all its versions, shared between the states of a search.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use rustc_hash::FxHasher;

use super::super::kv_types::{KeyRange, KeyValue, PutRequest, Request};

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

/// A state that a store can go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    rev: i64,
    digest: u64,
}

impl Mark {
    /// The newest revision of that state.
    pub fn rev(&self) -> i64 {
        self.rev
    }
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

impl Pair {
    /// Whether this is what an answer shows.
    pub(super) fn is_shown(&self, key: &str, keys_only: bool, shown: &KeyValue) -> bool {
        let KeyValue { key: shown_key, value, create_revision, mod_revision, version, lease } = shown;
        key == shown_key
            && if keys_only { value.is_empty() } else { *self.value == **value }
            && (self.create_revision, self.mod_revision) == (*create_revision, *mod_revision)
            && (self.version, 0) == (*version, *lease)
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

    /// The state to which [`Store::take_back`] and [`Store::go_back`] lead.
    pub fn mark(&self) -> Mark {
        Mark { rev: self.rev, digest: self.digest }
    }

    /// Takes back what a request may have written since a mark. It takes time in the writes that it takes back, and in
    /// the keys that there are of a range.
    pub fn take_back(&mut self, request: &Request, mark: Mark) {
        match request {
            Request::Put(put) => self.take_back_one(&put.key, mark),
            Request::Delete(delete) if matches!(delete.keys.end.as_deref(), None | Some("")) => {
                self.take_back_one(&delete.keys.key, mark)
            }
            Request::Delete(delete) => {
                // What a range deletion deleted is still among the keys.
                for (_, newest) in self.keys.range_mut::<str, _>(ordered_bounds(&delete.keys)) {
                    back_to(newest, mark.rev);
                }
            }
            Request::Txn(txn) => {
                txn.success.iter().chain(&txn.failure).for_each(|request| self.take_back(request, mark))
            }
            Request::Range(_) | Request::Compact { .. } => {}
        }
    }

    fn take_back_one(&mut self, key: &str, mark: Mark) {
        if let Some(newest) = self.keys.get_mut(key)
            && !back_to(newest, mark.rev)
        {
            self.keys.remove(key);
        }
    }

    /// Is again as it was at a mark, once all that was written since has been taken back.
    pub fn go_back(&mut self, mark: Mark) {
        (self.rev, self.digest) = (mark.rev, mark.digest);
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
        self.keys
            .range::<str, _>(ordered_bounds(keys))
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

/// The same, for a map, which panics on an inverted range: that is an empty one here.
fn ordered_bounds(keys: &KeyRange) -> (Bound<&str>, Bound<&str>) {
    let (from, to) = bounds(keys);
    match (&from, &to) {
        (Bound::Included(a), Bound::Excluded(b)) if a >= b => (Bound::Included(a), Bound::Excluded(a)),
        _ => (from, to),
    }
}

/// Takes back the versions of a key after a revision; `false` if none is left.
fn back_to(newest: &mut Arc<Version>, rev: i64) -> bool {
    while newest.rev > rev {
        match newest.before.clone() {
            Some(before) => *newest = before,
            None => return false,
        }
    }
    true
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_done_since_a_mark_can_be_taken_back() {
        let request = |json| -> Request { serde_json::from_value(json).expect("a request") };
        let put = |key: &str, value: &str| json!({"put": {"key": key, "value": value}});
        let mut store = Store::new();
        for json in [put("a", "1"), put("b", "1"), put("a", "2")] {
            store.apply(&request(json)).expect("not refused");
        }
        let (before, mark) = (store.clone(), store.mark());
        let all = json!({"delete": {"key": "a", "end": "\0"}});
        let txn = json!({"txn": {
            "compare": [{"key": "x", "op": "=", "version": 0}],
            "success": [put("y", "3"), {"delete": {"key": "a"}}],
            "failure": [put("x", "4")],
        }});
        let one = json!({"delete": {"key": "b", "end": ""}});
        for since in
            [vec![put("a", "3")], vec![put("z", "1"), all.clone()], vec![txn, put("a", "5")], vec![one, all]]
        {
            for json in &since {
                store.apply(&request(json.clone())).expect("not refused");
            }
            assert_ne!(store, before, "{since:?}");
            for json in &since {
                store.take_back(&request(json.clone()), mark);
            }
            store.go_back(mark);
            assert_eq!(store, before, "{since:?}");
            assert_eq!((store.get_at("a", 3), store.rev()), (before.get_at("a", 3), 4));
        }
    }
}
