//! What the `kv` workload has seen of the store: only for guesses that are likely to hit, never for judging.

use checker::spec::kv_types::{KeyValue, Request, Response};
use std::collections::BTreeMap;

/// The newest that any process has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The store's newest revision.
    pub(super) revision: i64,
    /// The newest compaction's revision, 0 for none.
    pub(super) compacted: i64,
    keys: BTreeMap<String, KeyValue>,
}

impl Seen {
    /// Nothing but the revision at the start.
    pub(super) fn at(revision: i64) -> Seen {
        Seen { revision, ..Seen::default() }
    }

    /// The pair last seen under the key; all zero and empty where none was.
    pub(super) fn pair(&self, key: &str) -> KeyValue {
        self.keys.get(key).cloned().unwrap_or_else(|| KeyValue {
            key: key.to_string(),
            value: String::new(),
            create_revision: 0,
            mod_revision: 0,
            version: 0,
            lease: 0,
        })
    }

    /// Learns from an answer.
    pub(super) fn note(&mut self, request: &Request, response: &Response, rev: i64) {
        self.revision = self.revision.max(rev);
        match (request, response) {
            (Request::Put(put), Response::Put { .. }) => self.note_put(&put.key, &put.value, rev),
            (Request::Range(range), Response::Range { kvs, .. }) if !range.keys_only => {
                kvs.iter().for_each(|kv| self.note_pair(kv));
            }
            (Request::Compact { revision }, Response::Compact {}) => {
                self.compacted = self.compacted.max(*revision);
            }
            (Request::Txn(txn), Response::Txn { succeeded, responses }) => {
                let branch = if *succeeded { &txn.success } else { &txn.failure };
                for (request, response) in branch.iter().zip(responses) {
                    self.note(request, response, rev);
                }
            }
            // A deletion leaves the old pair as the guess; an answer of another kind is not ours to judge.
            (
                Request::Range(_)
                | Request::Put(_)
                | Request::Delete(_)
                | Request::Txn(_)
                | Request::Compact { .. },
                _,
            ) => {}
        }
    }

    fn note_put(&mut self, key: &str, value: &str, rev: i64) {
        let mut pair = self.pair(key);
        if pair.mod_revision < rev {
            pair.value = value.to_string();
            pair.create_revision = if pair.version == 0 { rev } else { pair.create_revision };
            pair.mod_revision = rev;
            pair.version += 1;
            self.keys.insert(key.to_string(), pair);
        }
    }

    fn note_pair(&mut self, kv: &KeyValue) {
        if self.keys.get(&kv.key).is_none_or(|known| known.mod_revision <= kv.mod_revision) {
            self.keys.insert(kv.key.clone(), kv.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::spec::kv_types::PutRequest;

    #[test]
    fn the_newest_write_of_a_key_is_kept() {
        let mut seen = Seen::at(4);
        let put = |value: &str| {
            Request::Put(PutRequest { key: "kv/a".into(), value: value.into(), prev_kv: false })
        };
        seen.note(&put("new"), &Response::Put { prev: None }, 9);
        seen.note(&put("old"), &Response::Put { prev: None }, 7);
        assert_eq!((seen.revision, seen.pair("kv/a").value.as_str()), (9, "new"));
        assert_eq!(seen.pair("kv/a").mod_revision, 9);
        assert_eq!(seen.pair("kv/b").version, 0);
        seen.note(&Request::Compact { revision: 6 }, &Response::Compact {}, 9);
        assert_eq!(seen.compacted, 6);
    }
}
