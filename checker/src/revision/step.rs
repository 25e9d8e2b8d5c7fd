//! Operations as the replay sees them: a request to a whole store, and what its answer says.

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
pub struct Step {
    /// Its number.
    pub id: OpId,
    /// What was asked.
    pub request: Request,
    /// What was answered; [`Expect::Unknown`] for an operation of unknown outcome.
    pub expect: Expect,
    /// The revision it was answered with; 0 for one of unknown outcome.
    pub rev: i64,
    /// Whether it may be answered from an older revision than the newest.
    pub stale_allowed: bool,
    /// Position of its invocation.
    pub invoked: u64,
    /// Position of its return; `u64::MAX` for one of unknown outcome.
    pub returned: u64,
}

/// What an answer says about the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// There was no answer.
    Unknown,
    /// All of it.
    Response(Response),
    /// What one key held.
    Found(Option<Found>),
    /// That it was written.
    Written,
    /// Whether the compare of a transaction held.
    Swapped(bool),
}

impl Step {
    /// Whether it made its revision.
    pub fn is_write(&self) -> bool {
        match &self.expect {
            Expect::Unknown | Expect::Found(_) => false,
            Expect::Response(response) => mutates(&self.request, response),
            Expect::Written => true,
            Expect::Swapped(swapped) => *swapped,
        }
    }

    /// Whether it is a compaction, which has no place in the order of revisions.
    pub fn is_compaction(&self) -> bool {
        matches!(self.request, Request::Compact { .. })
    }

    /// Whether it has no answer and may have made a revision.
    pub fn may_have_written(&self) -> bool {
        self.expect == Expect::Unknown && may_mutate(&self.request)
    }

    /// Whether its answer is the one that the store gave.
    pub fn fits(&self, reply: &Reply) -> bool {
        match (&self.expect, &reply.response) {
            (Expect::Unknown | Expect::Written, _) => true,
            (Expect::Response(response), given) => response == given,
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
pub fn from_kv(calls: &[Call<KvOp>], serializable: &[Call<KvOp>]) -> Option<Vec<Step>> {
    let step = |call: &Call<KvOp>, stale_allowed: bool| {
        let (expect, rev) = match &call.op.answer {
            None => (Expect::Unknown, 0),
            Some(answer) => (Expect::Response(answer.response.clone()), answer.rev?),
        };
        Some(new_step(call, call.op.request.clone(), expect, rev, stale_allowed))
    };
    let linearizable = calls.iter().map(|call| step(call, false));
    linearizable.chain(serializable.iter().map(|call| step(call, true))).collect()
}

/// The steps of `register` operations, as requests to a store; `revs` gives the revision that each
/// operation was answered with. `None` if an answer has no revision.
pub fn from_register(
    calls: &[Call<RegisterOp>],
    serializable: &[Call<RegisterOp>],
    revs: impl Fn(OpId) -> Option<i64>,
) -> Option<Vec<Step>> {
    let step = |call: &Call<RegisterOp>, stale_allowed: bool| {
        let (request, expect) = register_request(&call.op);
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

fn new_step<Op>(call: &Call<Op>, request: Request, expect: Expect, rev: i64, stale_allowed: bool) -> Step {
    Step {
        id: call.id,
        request,
        expect,
        rev,
        stale_allowed,
        invoked: call.invoked,
        returned: call.returned.unwrap_or(u64::MAX),
    }
}

fn register_request(op: &RegisterOp) -> (Request, Expect) {
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
