//! What a store holds: every key with all its versions, shared between the states of a search.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::iter;
use std::ops::Bound;
use std::ptr;
use std::sync::Arc;

use rustc_hash::FxHasher;

use super::super::kv_types::{KeyRange, KeyValue, Request};

/// A store at its newest revision, with its history.
///
/// Cloning copies one pointer a key: the versions are shared.
#[derive(Clone, Debug)]
pub struct Store {
    rev: i64,
    compacted: i64,
    keys: BTreeMap<Arc<str>, Arc<Versions>>,
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

/// The versions of a key: those that only one state has are in one piece, behind those that it shares with others.
#[derive(Debug)]
struct Versions {
    /// The oldest first; at least one.
    own: Vec<Version>,
    before: Option<Arc<Versions>>,
}

/// What a key held from a revision on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    rev: i64,
    /// `None` for a deletion.
    pair: Option<Pair>,
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

impl Versions {
    /// A key's first version.
    fn of(version: Version) -> Arc<Versions> {
        Arc::new(Versions { own: vec![version], before: None })
    }

    fn newest(&self) -> &Version {
        self.own.last().expect("a key has a version")
    }

    /// The version as of a revision.
    fn at(&self, rev: i64) -> Option<&Version> {
        if self.newest().rev <= rev {
            return self.own.last();
        }
        let mut versions = self;
        while versions.own[0].rev > rev {
            versions = versions.before.as_ref()?;
        }
        let after = versions.own.partition_point(|version| version.rev <= rev);
        versions.own[..after].last()
    }

    fn newest_first(&self) -> impl Iterator<Item = &Version> {
        let pieces = iter::successors(Some(self), |versions| versions.before.as_deref());
        pieces.flat_map(|versions| versions.own.iter().rev())
    }

    /// Adds a version; other states keep what they have.
    fn push(self: &mut Arc<Versions>, version: Version) {
        match Arc::get_mut(self) {
            Some(versions) => versions.own.push(version),
            None => *self = Arc::new(Versions { own: vec![version], before: Some(self.clone()) }),
        }
    }

    /// Takes back the versions after a revision; `false` if none is left.
    fn back_to(self: &mut Arc<Versions>, rev: i64) -> bool {
        while self.own[0].rev > rev {
            match self.before.clone() {
                Some(before) => *self = before,
                None => return false,
            }
        }
        let kept = self.own.partition_point(|version| version.rev <= rev);
        if kept < self.own.len() {
            match Arc::get_mut(self) {
                Some(versions) => versions.own.truncate(kept),
                None => {
                    let own = self.own[..kept].to_vec();
                    *self = Arc::new(Versions { own, before: self.before.clone() });
                }
            }
        }
        true
    }

    /// Whether two histories of a key are the same; what they share is not walked.
    fn same(&self, other: &Versions) -> bool {
        let (mut ours, mut theirs) = (self.newest_first(), other.newest_first());
        loop {
            match (ours.next(), theirs.next()) {
                (Some(one), Some(other)) if ptr::eq(one, other) => return true,
                (Some(one), Some(other)) if one == other => {}
                (None, None) => return true,
                (Some(_), _) | (_, Some(_)) => return false,
            }
        }
    }
}

impl Drop for Versions {
    fn drop(&mut self) {
        // One by one: a long chain would overflow the stack.
        let mut next = self.before.take();
        while let Some(mut versions) = next.and_then(Arc::into_inner) {
            next = versions.before.take();
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
                for (_, versions) in self.keys.range_mut::<str, _>(ordered_bounds(&delete.keys)) {
                    versions.back_to(mark.rev);
                }
            }
            Request::Txn(txn) => {
                txn.success.iter().chain(&txn.failure).for_each(|request| self.take_back(request, mark))
            }
            Request::Range(_) | Request::Compact { .. } => {}
        }
    }

    fn take_back_one(&mut self, key: &str, mark: Mark) {
        if let Some(versions) = self.keys.get_mut(key)
            && !versions.back_to(mark.rev)
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
        self.keys.get(key)?.newest().pair.as_ref()
    }

    /// What a key would hold after a put of a value, the next write.
    pub fn after_put(&self, key: &str, value: Arc<str>) -> Pair {
        let mod_revision = self.rev + 1;
        let (create_revision, version) =
            self.get(key).map_or((mod_revision, 1), |pair| (pair.create_revision, pair.version + 1));
        Pair { value, create_revision, mod_revision, version }
    }

    /// The pair of a key as of a revision, whether compacted or not.
    pub fn get_at(&self, key: &str, rev: i64) -> Option<&Pair> {
        self.keys.get(key)?.at(rev)?.pair.as_ref()
    }

    /// The revision of the newest write or deletion of a key, at or before `rev`.
    pub fn last_change(&self, key: &str, rev: i64) -> Option<i64> {
        Some(self.keys.get(key)?.at(rev)?.rev)
    }

    /// The pairs of a range as of a revision, in key order.
    pub fn range_at<'a>(
        &'a self,
        keys: &KeyRange,
        rev: i64,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Pair)> {
        self.keys
            .range::<str, _>(ordered_bounds(keys))
            .filter_map(move |(key, versions)| Some((key, versions.at(rev)?.pair.as_ref()?)))
    }

    pub(super) fn write(&mut self, key: &str, rev: i64, value: Option<Arc<str>>) {
        let mut hasher = FxHasher::default();
        (self.digest, key, rev, &value).hash(&mut hasher);
        self.digest = hasher.finish();
        let versions = self.keys.get_mut(key);
        let old = versions.as_ref().and_then(|versions| versions.newest().pair.as_ref());
        let pair = value.map(|value| Pair {
            value,
            create_revision: old.map_or(rev, |old| old.create_revision),
            mod_revision: rev,
            version: old.map_or(1, |old| old.version + 1),
        });
        let version = Version { rev, pair };
        match versions {
            Some(versions) => versions.push(version),
            None => {
                self.keys.insert(Arc::from(key), Versions::of(version));
            }
        }
    }

    /// Forgets all but the newest pairs: from here on the store answers for its newest revision alone.
    pub fn forget_history(&mut self) {
        self.keys.retain(|_, versions| versions.newest().pair.is_some());
        for versions in self.keys.values_mut() {
            if versions.own.len() > 1 || versions.before.is_some() {
                *versions = Versions::of(versions.newest().clone());
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
            let version = Version { rev: *mod_revision, pair: Some(pair) };
            self.keys.insert(Arc::from(key.as_str()), Versions::of(version));
        }
    }

    /// The store in a few words.
    pub(super) fn describe(&self) -> String {
        let pairs: Vec<String> = self
            .keys
            .iter()
            .filter_map(|(key, versions)| versions.newest().pair.as_ref().map(|pair| (key, pair)))
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
            && self.keys.iter().zip(&other.keys).all(|((a_key, a), (b_key, b))| a_key == b_key && a.same(b))
    }
}

impl Eq for Store {}

impl Hash for Store {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.rev, self.compacted, self.digest).hash(state);
    }
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
