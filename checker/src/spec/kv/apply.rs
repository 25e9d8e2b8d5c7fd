//! What a store does with a request.

use std::cmp::Ordering;
use std::fmt;
use std::slice;
use std::sync::Arc;

use super::super::kv_types::{
    Compare, CompareOp, CompareTarget, DeleteRequest, KeyRange, PutRequest, RangeRequest, Request, Response,
    TxnRequest,
};
use super::duplicates::writes_twice;
use super::store::{Pair, Store};

/// An answer, with the revision after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The answer.
    pub response: Response,
    /// The store's revision right after it.
    pub rev: i64,
}

/// Why a request is refused. A refused request changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The revision asked for has been compacted.
    Compacted {
        /// The oldest readable revision.
        oldest: i64,
    },
    /// The revision asked for is not there yet.
    Future {
        /// The newest revision.
        newest: i64,
    },
    /// The request is malformed: a compaction inside a transaction, or a key that is written twice.
    Malformed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Compacted { oldest } => write!(f, "refused: compacted below revision {oldest}"),
            Refused::Future { newest } => write!(f, "refused: the newest revision is {newest}"),
            Refused::Malformed => f.write_str("refused: malformed"),
        }
    }
}

/// Which branch a transaction takes, and the same of the transactions nested in that branch. All compares
/// are decided before anything is written.
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

impl Store {
    /// Does what is asked and gives the answer; a refusal changes nothing.
    ///
    /// # Errors
    /// [`Refused`], as etcd refuses. Source: etcd API reference v3, service KV.
    pub fn apply(&mut self, request: &Request) -> Result<Reply, Refused> {
        if let Request::Compact { revision } = request {
            return self.compact(*revision);
        }
        if writes_twice(request) {
            return Err(Refused::Malformed);
        }
        let paths = self.plan(slice::from_ref(request))?;
        let begin = self.rev();
        let mut turn = Turn { store: self, begin, writes: false };
        let response = turn.run(request, &mut paths.iter());
        let rev = turn.visible();
        self.end_revision(rev);
        Ok(Reply { response, rev })
    }

    /// Whether a request may change something now; false only if it surely does not.
    pub fn may_change(&self, request: &Request) -> bool {
        match request {
            Request::Range(_) => false,
            Request::Put(_) | Request::Compact { .. } => true,
            Request::Delete(delete) => self.range_at(&delete.keys, self.rev()).next().is_some(),
            Request::Txn(txn) => {
                let succeeded = self.compares_then(&txn.compare, self.rev());
                let branch = if succeeded { &txn.success } else { &txn.failure };
                branch.iter().any(|request| self.may_change(request))
            }
        }
    }

    /// Whether a range is answered just so now: compares with what the store holds, and makes no answer.
    pub fn answers_range(&self, request: &RangeRequest, answer: &Response) -> bool {
        let RangeRequest { keys, revision, count_only, keys_only, .. } = request;
        let Response::Range { kvs, count, more } = answer else { return false };
        if self.readable(*revision).is_err() {
            return false;
        }
        let at = if *revision > 0 { *revision } else { self.rev() };
        let most = if *count_only { 0 } else { limit(request) };
        let mut found = 0;
        for (key, pair) in self.range_at(keys, at) {
            if found < most && !kvs.get(found).is_some_and(|shown| pair.is_shown(key, *keys_only, shown)) {
                return false;
            }
            found += 1;
        }
        let shown = found.min(most);
        kvs.len() == shown && *count == found as i64 && *more == (!count_only && shown < found)
    }

    /// Answers a range at `rev` as if `rev` were the newest, whatever was compacted since.
    pub fn range_then(&self, request: &RangeRequest, rev: i64) -> Response {
        let at = if request.revision > 0 { request.revision } else { rev };
        answer_range(self, request, at)
    }

    /// Whether all of a transaction's compares hold as of `rev`.
    pub fn compares_then(&self, compares: &[Compare], rev: i64) -> bool {
        compares.iter().all(|compare| self.holds(compare, rev))
    }

    fn compact(&mut self, revision: i64) -> Result<Reply, Refused> {
        if revision <= self.compacted() {
            return Err(Refused::Compacted { oldest: self.compacted() });
        }
        if revision > self.rev() {
            return Err(Refused::Future { newest: self.rev() });
        }
        self.set_compacted(revision);
        Ok(Reply { response: Response::Compact {}, rev: self.rev() })
    }

    /// Decides all compares on the way, and refuses what any range on the way would be refused for.
    fn plan(&self, requests: &[Request]) -> Result<Vec<Path>, Refused> {
        let mut paths = Vec::new();
        for request in requests {
            match request {
                Request::Range(range) => self.readable(range.revision)?,
                Request::Put(_) | Request::Delete(_) => {}
                Request::Compact { .. } => return Err(Refused::Malformed),
                Request::Txn(txn) => {
                    let succeeded = self.compares_then(&txn.compare, self.rev());
                    let nested = self.plan(if succeeded { &txn.success } else { &txn.failure })?;
                    paths.push(Path { succeeded, nested });
                }
            }
        }
        Ok(paths)
    }

    fn readable(&self, revision: i64) -> Result<(), Refused> {
        if revision > self.rev() {
            return Err(Refused::Future { newest: self.rev() });
        }
        if revision > 0 && revision < self.compacted() {
            return Err(Refused::Compacted { oldest: self.compacted() });
        }
        Ok(())
    }

    fn holds(&self, compare: &Compare, rev: i64) -> bool {
        let mut found = false;
        for (_, pair) in self.range_at(&compare.keys, rev) {
            found = true;
            if !pair_holds(pair, compare) {
                return false;
            }
        }
        found || missing_holds(compare)
    }
}

fn pair_holds(pair: &Pair, compare: &Compare) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(operand) => pair.version.cmp(operand),
        CompareTarget::CreateRevision(operand) => pair.create_revision.cmp(operand),
        CompareTarget::ModRevision(operand) => pair.mod_revision.cmp(operand),
        CompareTarget::Value(operand) => (*pair.value).cmp(operand.as_str()),
        CompareTarget::Lease(operand) => 0.cmp(operand),
    };
    ordering_holds(ordering, compare.op)
}

/// A missing key compares as 0, and its value with nothing.
fn missing_holds(compare: &Compare) -> bool {
    match &compare.target {
        CompareTarget::Value(_) => false,
        CompareTarget::Version(operand)
        | CompareTarget::CreateRevision(operand)
        | CompareTarget::ModRevision(operand)
        | CompareTarget::Lease(operand) => ordering_holds(0.cmp(operand), compare.op),
    }
}

fn ordering_holds(ordering: Ordering, op: CompareOp) -> bool {
    match op {
        CompareOp::Equal => ordering.is_eq(),
        CompareOp::NotEqual => ordering.is_ne(),
        CompareOp::Greater => ordering.is_gt(),
        CompareOp::Less => ordering.is_lt(),
    }
}

/// A request in the middle of its work: its writes share one revision, and it reads what it wrote.
struct Turn<'a> {
    store: &'a mut Store,
    begin: i64,
    writes: bool,
}

impl Turn<'_> {
    fn visible(&self) -> i64 {
        self.begin + i64::from(self.writes)
    }

    fn run(&mut self, request: &Request, paths: &mut slice::Iter<'_, Path>) -> Response {
        match request {
            Request::Range(range) => {
                let at = if range.revision > 0 { range.revision } else { self.visible() };
                answer_range(self.store, range, at)
            }
            Request::Put(put) => self.put(put),
            Request::Delete(delete) => self.delete(delete),
            Request::Txn(txn) => {
                let path = paths.next().expect("a path was planned for every transaction on the way");
                self.txn(txn, path)
            }
            Request::Compact { .. } => unreachable!("the plan refuses a compaction inside a transaction"),
        }
    }

    fn txn(&mut self, txn: &TxnRequest, path: &Path) -> Response {
        let branch = if path.succeeded { &txn.success } else { &txn.failure };
        let mut nested = path.nested.iter();
        let responses = branch.iter().map(|request| self.run(request, &mut nested)).collect();
        Response::Txn { succeeded: path.succeeded, responses }
    }

    fn put(&mut self, put: &PutRequest) -> Response {
        let prev = self.store.get(&put.key).filter(|_| put.prev_kv);
        let prev = prev.map(|pair| pair.to_key_value(&put.key, false));
        self.writes = true;
        self.store.write(&put.key, self.begin + 1, Some(Arc::from(put.value.as_str())));
        Response::Put { prev }
    }

    fn delete(&mut self, delete: &DeleteRequest) -> Response {
        let found: Vec<(Arc<str>, Pair)> = self
            .store
            .range_at(&delete.keys, self.visible())
            .map(|(key, pair)| (key.clone(), pair.clone()))
            .collect();
        self.writes |= !found.is_empty();
        for (key, _) in &found {
            self.store.write(key, self.begin + 1, None);
        }
        let deleted = found.len() as i64;
        let prevs = if delete.prev_kv {
            found.iter().map(|(key, pair)| pair.to_key_value(key, false)).collect()
        } else {
            Vec::new()
        };
        Response::Delete { deleted, prevs }
    }
}

fn answer_range(store: &Store, request: &RangeRequest, at: i64) -> Response {
    let RangeRequest { keys, count_only, keys_only, .. } = request;
    if *count_only {
        return Response::Range { kvs: Vec::new(), count: count(store, keys, at), more: false };
    }
    let limit = limit(request);
    let mut kvs = Vec::new();
    let mut count = 0;
    for (key, pair) in store.range_at(keys, at) {
        count += 1;
        if kvs.len() < limit {
            kvs.push(pair.to_key_value(key, *keys_only));
        }
    }
    let more = kvs.len() < count;
    Response::Range { kvs, count: count as i64, more }
}

/// How many pairs an answer shows at most.
fn limit(request: &RangeRequest) -> usize {
    usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX)
}

fn count(store: &Store, keys: &KeyRange, at: i64) -> i64 {
    store.range_at(keys, at).count() as i64
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(json: Value) -> Request {
        serde_json::from_value(json).expect("a request")
    }

    fn put(key: &str) -> Value {
        json!({"put": {"key": key, "value": "v"}})
    }

    /// What a store that holds `a` and `b`, of revisions 2 and 3, answers.
    fn asked(json: Value) -> Result<Reply, Refused> {
        let mut store = Store::new();
        for key in ["a", "b"] {
            store.apply(&request(put(key))).expect("a put is not refused");
        }
        store.apply(&request(json))
    }

    #[test]
    fn a_transaction_that_writes_a_key_twice_is_refused_in_whichever_branch() {
        let txn = |success: Value, failure: Value| json!({"txn": {"success": success, "failure": failure}});
        let delete = |key: &str| json!({"delete": {"key": key}});
        let all = json!({"delete": {"key": "a", "end": "\0"}});
        for (json, refused) in [
            (txn(json!([put("a"), put("a")]), json!([])), true),
            (txn(json!([put("a"), delete("a")]), json!([])), true),
            (txn(json!([all, put("x")]), json!([])), true),
            (txn(json!([]), json!([put("a"), put("a")])), true),
            (txn(json!([put("a"), txn(json!([put("a")]), json!([]))]), json!([])), true),
            (txn(json!([delete("a"), delete("a")]), json!([])), false),
            (txn(json!([put("a")]), json!([put("a")])), false),
            (txn(json!([txn(json!([put("a")]), json!([put("a")]))]), json!([])), false),
        ] {
            assert_eq!(asked(json.clone()) == Err(Refused::Malformed), refused, "{json}");
        }
    }

    #[test]
    fn an_answer_is_compared_as_it_would_be_given() {
        let mut store = Store::new();
        for key in ["a", "b", "c"] {
            store.apply(&request(put(key))).expect("a put is not refused");
        }
        let mut ranges = Vec::new();
        for (key, end) in [("a", None), ("a", Some("c")), ("b", Some("\0")), ("x", None), ("c", Some("a"))] {
            for (limit, revision) in [(0, 0), (1, 0), (2, 3), (0, 2), (0, 9)] {
                for (count_only, keys_only) in [(false, false), (true, false), (false, true)] {
                    let keys = KeyRange { key: key.to_owned(), end: end.map(str::to_owned) };
                    let serializable = false;
                    ranges.push(RangeRequest { keys, limit, revision, count_only, keys_only, serializable });
                }
            }
        }
        let given = |range: &RangeRequest| store.clone().apply(&Request::Range(range.clone()));
        for asked in &ranges {
            for answered in &ranges {
                let Ok(Reply { response, .. }) = given(answered) else { continue };
                let same = given(asked).is_ok_and(|reply| reply.response == response);
                assert_eq!(store.answers_range(asked, &response), same, "{asked:?} answered {response:?}");
            }
        }
    }

    #[test]
    fn a_missing_key_compares_as_zero_and_its_value_with_nothing() {
        for (compare, holds) in [
            (json!({"key": "x", "op": "=", "version": 0}), true),
            (json!({"key": "x", "op": "<", "mod_revision": 1}), true),
            (json!({"key": "x", "op": "!=", "create_revision": 0}), false),
            (json!({"key": "x", "op": "=", "lease": 0}), true),
            (json!({"key": "x", "op": "!=", "value": "v"}), false),
            (json!({"key": "a", "op": "=", "value": "v"}), true),
            (json!({"key": "a", "end": "\0", "op": ">", "mod_revision": 1}), true),
            (json!({"key": "a", "end": "\0", "op": ">", "mod_revision": 2}), false),
        ] {
            let reply = asked(json!({"txn": {"compare": [compare.clone()]}})).expect("not refused");
            assert_eq!(
                reply.response,
                Response::Txn { succeeded: holds, responses: Vec::new() },
                "{compare}"
            );
        }
    }

    #[test]
    fn a_transaction_reads_what_it_wrote_but_its_compares_do_not() {
        let nested =
            json!({"txn": {"compare": [{"key": "x", "op": "=", "version": 0}], "success": [put("y")]}});
        let range = json!({"range": {"key": "x"}});
        let reply = asked(json!({"txn": {"success": [put("x"), nested, range]}})).expect("not refused");
        assert_eq!(reply.rev, 4, "all of it is one revision");
        let Response::Txn { responses, .. } = reply.response else { panic!("a transaction's answer") };
        assert!(matches!(responses[1], Response::Txn { succeeded: true, .. }), "{responses:?}");
        assert!(matches!(&responses[2], Response::Range { count: 1, .. }), "{responses:?}");
    }

    #[test]
    fn revisions_that_are_gone_or_not_there_yet_refuse_the_whole_request() {
        let mut store = Store::new();
        for _ in 0..4 {
            store.apply(&request(put("a"))).expect("a put is not refused");
        }
        store.apply(&request(json!({"compact": {"revision": 3}}))).expect("there is such a revision");
        let at = |revision: i64| json!({"range": {"key": "a", "revision": revision}});
        for (json, want) in [
            (at(2), Err(Refused::Compacted { oldest: 3 })),
            (at(3), Ok(5)),
            (at(6), Err(Refused::Future { newest: 5 })),
            (json!({"compact": {"revision": 3}}), Err(Refused::Compacted { oldest: 3 })),
            (json!({"compact": {"revision": 6}}), Err(Refused::Future { newest: 5 })),
            (json!({"txn": {"success": [put("b"), at(2)]}}), Err(Refused::Compacted { oldest: 3 })),
            (json!({"txn": {"success": [put("b")], "failure": [at(2)]}}), Ok(6)),
            (json!({"delete": {"key": "x"}}), Ok(6)),
        ] {
            let before = store.clone();
            let reply = store.apply(&request(json.clone())).map(|reply| reply.rev);
            assert_eq!(reply, want, "{json}");
            assert!(reply.is_ok() || store == before, "a refusal changes nothing: {json}");
        }
    }
}
