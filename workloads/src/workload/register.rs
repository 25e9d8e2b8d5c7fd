//! `register`: reads, writes and compare-and-swaps of many keys, each a register of its own.
//!
//! Keys rotate, so each key's history is short and can be searched exactly. Values count up within a key,
//! so a read tells which write it saw. A share of the reads is serializable: those may be stale, and are
//! recorded as such.

use super::{Completion, Generator, Invocation, Space, Workload};
use crate::{
    driver::{Client, DriverError, revision},
    generator::{KeyPool, Purpose, rng},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use server::proto::{
    etcdserverpb::{
        Compare, PutRequest, RangeRequest, RequestOp, TxnRequest,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op::Request,
    },
    mvccpb::KeyValue,
};

/// How many keys are in use at a time.
const KEYS: usize = 5;
/// After how many operations a key retires.
const OPS_PER_KEY: u64 = 120;

/// The workload.
#[derive(Clone, Debug)]
pub struct Register {
    space: Space,
}

/// An operation on the register with this key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterOp {
    key: String,
    act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    Read { serializable: bool },
    Write(u64),
    Cas { old: Option<u64>, new: u64 },
}

/// Makes the workload's operations.
#[derive(Clone, Debug)]
pub struct RegisterGenerator {
    rng: ChaCha8Rng,
    /// The state of a key is the newest value made for it; values count up from 1.
    keys: KeyPool<u64>,
}

impl Register {
    /// The workload, with its keys in `space`.
    pub fn new(space: Space) -> Register {
        Register { space }
    }
}

impl Generator for RegisterGenerator {
    type Op = RegisterOp;

    fn next(&mut self) -> RegisterOp {
        let choice: u32 = self.rng.random_range(0..100);
        // How far back the guess of a cas lies; drawn always, so that the stream does not depend on it.
        let back = if self.rng.random_bool(0.7) { 0 } else { self.rng.random_range(1..4) };
        let (key, newest) = self.keys.pick(&mut self.rng);
        let act = match choice {
            0..35 => Act::Read { serializable: false },
            35..45 => Act::Read { serializable: true },
            45..75 => {
                *newest += 1;
                Act::Write(*newest)
            }
            _ => {
                let old = newest.checked_sub(back).filter(|old| *old > 0);
                *newest += 1;
                Act::Cas { old, new: *newest }
            }
        };
        RegisterOp { key: format!("k{key}"), act }
    }

    fn final_reads(&self) -> Vec<RegisterOp> {
        (0..self.keys.used())
            .map(|key| RegisterOp { key: format!("k{key}"), act: Act::Read { serializable: false } })
            .collect()
    }
}

impl Workload for Register {
    type Op = RegisterOp;
    type Generator = RegisterGenerator;

    fn generator(&self, seed: u64) -> RegisterGenerator {
        RegisterGenerator { rng: rng(seed, Purpose::Register), keys: KeyPool::new(KEYS, OPS_PER_KEY) }
    }

    fn invocation(&self, op: &RegisterOp) -> Invocation {
        let (f, value) = match &op.act {
            Act::Read { serializable: false } => ("read", Value::Null),
            Act::Read { serializable: true } => ("read", json!({ "serializable": true })),
            Act::Write(value) => ("write", json!(value)),
            Act::Cas { old, new } => ("cas", json!([old, new])),
        };
        Invocation { f, key: Some(op.key.clone()), value }
    }

    async fn execute(&self, op: &RegisterOp, client: &mut Client) -> Completion {
        let key = self.space.key(&op.key);
        match &op.act {
            Act::Read { serializable } => match read(client, key, *serializable).await {
                Ok((value, rev)) => Completion::Ok { value, rev: Some(rev) },
                Err(error) => Completion::of_read_error(&error),
            },
            Act::Write(value) => match write(client, key, *value).await {
                Ok(rev) => Completion::Ok { value: Value::Null, rev: Some(rev) },
                Err(error) => Completion::of_write_error(&error),
            },
            Act::Cas { old, new } => match cas(client, key, *old, *new).await {
                Ok((swapped, rev)) => Completion::Ok { value: json!({ "swapped": swapped }), rev: Some(rev) },
                Err(error) => Completion::of_write_error(&error),
            },
        }
    }
}

async fn read(client: &mut Client, key: String, serializable: bool) -> Result<(Value, i64), DriverError> {
    let request = RangeRequest { key: key.into(), serializable, ..RangeRequest::default() };
    let answer = client.range(request).await?;
    let value = match answer.kvs.as_slice() {
        [] => Value::Null,
        [kv] => observed(kv),
        more => return Err(DriverError::Malformed { text: format!("{} pairs for one key", more.len()) }),
    };
    Ok((value, revision(answer.header.as_ref())?))
}

/// A value that nobody can have written is recorded as it is: it is the checker's to judge.
fn observed(kv: &KeyValue) -> Value {
    let text = String::from_utf8_lossy(&kv.value);
    let value = text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number));
    json!({ "value": value, "mod_revision": kv.mod_revision, "version": kv.version })
}

async fn write(client: &mut Client, key: String, value: u64) -> Result<i64, DriverError> {
    let answer = client.put(put(key, value)).await?;
    revision(answer.header.as_ref())
}

fn put(key: String, value: u64) -> PutRequest {
    PutRequest { key: key.into(), value: value.to_string().into(), ..PutRequest::default() }
}

async fn cas(
    client: &mut Client,
    key: String,
    old: Option<u64>,
    new: u64,
) -> Result<(bool, i64), DriverError> {
    let (target, operand) = match old {
        Some(old) => (CompareTarget::Value, TargetUnion::Value(old.to_string().into())),
        None => (CompareTarget::Version, TargetUnion::Version(0)),
    };
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key.clone().into(),
        range_end: Default::default(),
        target_union: Some(operand),
    };
    let success = vec![RequestOp { request: Some(Request::RequestPut(put(key, new))) }];
    let answer = client.txn(TxnRequest { compare: vec![compare], success, failure: Vec::new() }).await?;
    Ok((answer.succeeded, revision(answer.header.as_ref())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn ops(seed: u64, n: usize) -> Vec<RegisterOp> {
        let mut generator = Register::new(Space::new("", "register")).generator(seed);
        (0..n).map(|_| generator.next()).collect()
    }

    #[test]
    fn operations_follow_from_the_seed() {
        assert_eq!(ops(7, 500), ops(7, 500));
        assert_ne!(ops(7, 500), ops(8, 500));
    }

    #[test]
    fn every_value_is_written_once_and_all_kinds_occur() {
        let mut written: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        for op in ops(7, 2000) {
            let kind = match &op.act {
                Act::Read { serializable } => ["read", "serializable"][usize::from(*serializable)],
                Act::Write(new) | Act::Cas { new, .. } => {
                    assert!(written.entry(op.key.clone()).or_default().insert(*new), "{op:?} twice");
                    if matches!(op.act, Act::Write(_)) { "write" } else { "cas" }
                }
            };
            *kinds.entry(kind).or_insert(0) += 1;
        }
        assert!(kinds.len() == 4 && kinds.values().all(|count| *count > 100), "{kinds:?}");
    }

    #[test]
    fn the_final_reads_cover_every_key() {
        let mut generator = Register::new(Space::new("", "register")).generator(7);
        let used: BTreeSet<String> = (0..2000).map(|_| generator.next().key).collect();
        let read: BTreeSet<String> = generator.final_reads().into_iter().map(|op| op.key).collect();
        assert!(used.is_subset(&read), "not read: {:?}", used.difference(&read));
    }

    #[test]
    fn a_value_nobody_wrote_is_recorded_as_it_is() {
        let kv = |value: &'static [u8]| KeyValue {
            value: value.into(),
            mod_revision: 5,
            version: 2,
            ..KeyValue::default()
        };
        assert_eq!(observed(&kv(b"17")), json!({"value": 17, "mod_revision": 5, "version": 2}));
        assert_eq!(observed(&kv(b"?")), json!({"value": "?", "mod_revision": 5, "version": 2}));
    }
}
