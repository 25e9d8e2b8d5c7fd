//! Operations as the replay sees them: a request to a whole store, and what its answer says.

use std::borrow::Cow;

use crate::history::OpId;
use crate::linearizability::Call;
use crate::spec::kv::{KvOp, Reply, may_mutate, mutates};
use crate::spec::kv_types::{
    Compare, CompareOp, CompareTarget, KeyRange, KeyValue, PutRequest, RangeRequest, Request, Response,
    TxnRequest,
};
use crate::spec::register::{Action, Found, RegisterOp};

/// An operation of the replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<'a> {
    /// Its number.
    pub id: OpId,
    /// What was asked.
    pub request: Cow<'a, Request>,
    /// What was answered; [`Expect::Unknown`] for an operation of unknown outcome.
    pub expect: Expect<'a>,
    /// The revision it was answered with; 0 for one of unknown outcome.
    pub rev: i64,
    /// Whether it may be answered from an older revision than the newest.
    pub stale_allowed: bool,
    /// Position of its invocation.
    pub invoked: u64,
    /// Position of its return; `u64::MAX` for one of unknown outcome.
    pub returned: u64,
    /// Whether it made its revision: asked often, and not to be told at a glance.
    write: bool,
}

/// What an answer says about the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect<'a> {
    /// There was no answer.
    Unknown,
    /// All of it.
    Response(&'a Response),
    /// What one key held.
    Found(Option<Found>),
    /// That it was written.
    Written,
    /// Whether the compare of a transaction held.
    Swapped(bool),
}

impl Step<'_> {
    /// Whether it made its revision.
    pub fn is_write(&self) -> bool {
        self.write
    }

    /// Whether it is a compaction, which has no place in the order of revisions.
    pub fn is_compaction(&self) -> bool {
        matches!(*self.request, Request::Compact { .. })
    }

    /// The revision that surely was there when it returned: the one it was answered with. A compaction only
    /// proves the one that it compacts at, its header is filled later.
    pub fn proves(&self) -> i64 {
        match &*self.request {
            Request::Compact { revision } => (*revision).min(self.rev),
            Request::Range(_) | Request::Put(_) | Request::Delete(_) | Request::Txn(_) => self.rev,
        }
    }

    /// Whether it has no answer and may have made a revision.
    pub fn may_have_written(&self) -> bool {
        self.expect == Expect::Unknown && may_mutate(&self.request)
    }

    /// Whether its answer is the one that the store gave.
    pub fn fits(&self, reply: &Reply) -> bool {
        match (&self.expect, &reply.response) {
            (Expect::Unknown | Expect::Written, _) => true,
            (Expect::Response(response), given) => *response == given,
            (Expect::Found(found), Response::Range { kvs, .. }) => found_fits(found.as_ref(), kvs),
            (Expect::Swapped(swapped), Response::Txn { succeeded, .. }) => swapped == succeeded,
            (Expect::Found(_) | Expect::Swapped(_), _) => false,
        }
    }
}

fn found_fits(found: Option<&Found>, kvs: &[KeyValue]) -> bool {
    match (found, kvs) {
        (None, []) => true,
        (Some(found), [pair]) => {
            pair.value.parse() == Ok(found.value)
                && found.mod_revision.is_none_or(|revision| revision == pair.mod_revision)
                && found.version.is_none_or(|version| version == pair.version)
        }
        (None | Some(_), _) => false,
    }
}

/// The steps of `kv` operations; `None` if an answer has no revision.
pub fn from_kv<'a>(calls: &'a [Call<KvOp>], serializable: &'a [Call<KvOp>]) -> Option<Vec<Step<'a>>> {
    let step = |call: &'a Call<KvOp>, stale_allowed: bool| {
        let (expect, rev) = match &call.op.answer {
            None => (Expect::Unknown, 0),
            Some(answer) => (Expect::Response(&answer.response), answer.rev?),
        };
        Some(new_step(call, Cow::Borrowed(&call.op.request), expect, rev, stale_allowed))
    };
    let linearizable = calls.iter().map(|call| step(call, false));
    let mut steps = Vec::with_capacity(calls.len() + serializable.len());
    for step in linearizable.chain(serializable.iter().map(|call| step(call, true))) {
        steps.push(step?);
    }
    Some(steps)
}

/// The steps of `register` operations, as requests to a store; `revs` gives the revision that each
/// operation was answered with. `None` if an answer has no revision.
pub fn from_register(
    calls: &[Call<RegisterOp>],
    serializable: &[Call<RegisterOp>],
    revs: impl Fn(OpId) -> Option<i64>,
) -> Option<Vec<Step<'static>>> {
    let step = |call: &Call<RegisterOp>, stale_allowed: bool| {
        let (request, expect) = register_request(&call.op);
        let request = Cow::Owned(request);
        if call.returned.is_none() {
            return Some(new_step(call, request, Expect::Unknown, 0, stale_allowed));
        }
        Some(new_step(call, request, expect, revs(call.id)?, stale_allowed))
    };
    let linearizable = calls.iter().map(|call| step(call, false));
    linearizable.chain(serializable.iter().map(|call| step(call, true))).collect()
}

/// What `kv` operations asked for.
pub fn kv_requests(calls: &[Call<KvOp>]) -> Vec<(OpId, Request)> {
    calls.iter().map(|call| (call.id, call.op.request.clone())).collect()
}

/// What `register` operations asked for, as requests to a store.
pub fn register_requests(calls: &[Call<RegisterOp>]) -> Vec<(OpId, Request)> {
    calls.iter().map(|call| (call.id, register_request(&call.op).0)).collect()
}

fn new_step<'a, Op>(
    call: &Call<Op>,
    request: Cow<'a, Request>,
    expect: Expect<'a>,
    rev: i64,
    stale_allowed: bool,
) -> Step<'a> {
    let write = match &expect {
        Expect::Unknown | Expect::Found(_) => false,
        Expect::Response(response) => mutates(&request, response),
        Expect::Written => true,
        Expect::Swapped(swapped) => *swapped,
    };
    Step {
        id: call.id,
        write,
        request,
        expect,
        rev,
        stale_allowed,
        invoked: call.invoked,
        returned: call.returned.unwrap_or(u64::MAX),
    }
}

fn register_request(op: &RegisterOp) -> (Request, Expect<'static>) {
    let key = op.key.to_string();
    let keys = KeyRange { key: key.clone(), end: None };
    let put =
        |value: i64| Request::Put(PutRequest { key: key.clone(), value: value.to_string(), prev_kv: false });
    match &op.action {
        Action::Read(found) => {
            (Request::Range(RangeRequest { keys, ..RangeRequest::default() }), Expect::Found(*found))
        }
        Action::Write { value, .. } => (put(*value), Expect::Written),
        Action::Cas { old, new, swapped, .. } => {
            let target = match old {
                Some(old) => CompareTarget::Value(old.to_string()),
                None => CompareTarget::Version(0),
            };
            let compare = vec![Compare { keys, op: CompareOp::Equal, target }];
            let txn = TxnRequest { compare, success: vec![put(*new)], failure: Vec::new() };
            (Request::Txn(txn), swapped.map_or(Expect::Unknown, Expect::Swapped))
        }
    }
}
