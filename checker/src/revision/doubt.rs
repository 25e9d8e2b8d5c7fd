//! Which keys an answer that does not fit speaks of.
//!
//! An answer often depends on many keys and is wrong about one: while that one holds what it holds, no other state of
//! the rest makes the answer fit. So each such key is a reason by itself, and only who wrote it is worth a look.

use rustc_hash::FxHashMap;

use super::blame::mentioned;
use super::step::{Expect, Step};
use crate::spec::kv::{Refused, Reply};
use crate::spec::kv_types::{KeyRange, KeyValue, RangeRequest, Request, Response};

/// Keys whose state suffices for an answer not to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) keys: Vec<KeyRange>,
    /// The revision whose state was asked for; `i64::MAX` for the newest.
    pub(super) as_of: i64,
}

impl Doubt {
    /// In what keys hold now.
    pub(super) fn now(keys: Vec<KeyRange>) -> Doubt {
        Doubt { keys, as_of: i64::MAX }
    }
}

/// The reasons why a step's answer is not the one that the store gave; each suffices, and there is at least one.
pub(super) fn doubts(step: &Step<'_>, given: &Result<Reply, Refused>) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    if let (Expect::Response(expected), Ok(given)) = (&step.expect, given) {
        differ(&step.request, expected, &given.response, &mut doubts);
    }
    if doubts.is_empty() {
        let as_of = oldest_asked(&step.request);
        doubts.push(Doubt { keys: mentioned(&step.request), as_of });
    }
    doubts
}

fn differ(request: &Request, expected: &Response, given: &Response, doubts: &mut Vec<Doubt>) {
    if expected == given {
        return;
    }
    match (request, expected, given) {
        (
            Request::Range(range),
            Response::Range { kvs: expected, .. },
            Response::Range { kvs: given, .. },
        ) => {
            let RangeRequest { keys, limit, revision, count_only, .. } = range;
            let as_of = if *revision > 0 { *revision } else { i64::MAX };
            // Where a limit cuts, whether a key is shown depends on others.
            let each = *limit == 0 && !count_only;
            differing(keys, if each { Some((expected, given)) } else { None }, as_of, doubts);
        }
        (
            Request::Delete(delete),
            Response::Delete { prevs: expected, .. },
            Response::Delete { prevs: given, .. },
        ) => {
            differing(&delete.keys, delete.prev_kv.then_some((expected, given)), i64::MAX, doubts);
        }
        (
            Request::Txn(txn),
            Response::Txn { succeeded, responses },
            Response::Txn { succeeded: given, responses: given_responses },
        ) => {
            if succeeded != given {
                let keys = txn.compare.iter().map(|compare| compare.keys.clone()).collect();
                doubts.push(Doubt::now(keys));
                return;
            }
            // On the other branch it would not fit either, so the compares are no reason.
            let branch = if *succeeded { &txn.success } else { &txn.failure };
            if branch.len() == responses.len() {
                for (request, (expected, given)) in branch.iter().zip(responses.iter().zip(given_responses)) {
                    differ(request, expected, given, doubts);
                }
            }
        }
        _ => {
            let as_of = oldest_asked(request);
            doubts.push(Doubt { keys: mentioned(request), as_of });
        }
    }
}

/// The keys of whose pairs one is not the other's; all keys if these pairs are not known, or all the same.
fn differing(
    keys: &KeyRange,
    pairs: Option<(&Vec<KeyValue>, &Vec<KeyValue>)>,
    as_of: i64,
    doubts: &mut Vec<Doubt>,
) {
    let before = doubts.len();
    if let Some((expected, given)) = pairs {
        let by_key: FxHashMap<&str, &KeyValue> = given.iter().map(|pair| (pair.key.as_str(), pair)).collect();
        let wanted: FxHashMap<&str, &KeyValue> =
            expected.iter().map(|pair| (pair.key.as_str(), pair)).collect();
        let other = expected.iter().filter(|pair| by_key.get(pair.key.as_str()) != Some(pair));
        let more = given.iter().filter(|pair| !wanted.contains_key(pair.key.as_str()));
        for pair in other.chain(more) {
            let keys = vec![KeyRange { key: pair.key.clone(), end: None }];
            doubts.push(Doubt { keys, as_of });
        }
    }
    if doubts.len() == before {
        doubts.push(Doubt { keys: vec![keys.clone()], as_of });
    }
}

/// The oldest revision that a request asks for; `i64::MAX` if it is the newest.
fn oldest_asked(request: &Request) -> i64 {
    match request {
        Request::Range(RangeRequest { revision, .. }) if *revision > 0 => *revision,
        Request::Txn(txn) => {
            let all = txn.success.iter().chain(&txn.failure);
            all.map(oldest_asked).min().unwrap_or(i64::MAX)
        }
        Request::Range(_) | Request::Put(_) | Request::Delete(_) | Request::Compact { .. } => i64::MAX,
    }
}
