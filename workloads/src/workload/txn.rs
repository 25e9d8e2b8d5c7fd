//! `txn`: transactions that read and write several keys at once, without any guard.
//!
//! A transaction is one request, so the store alone isolates it. Values are unique, and answers give the revision at
//! which each value was written: the order of versions is known.

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
        PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse, request_op::Request,
        response_op::Response,
    },
    mvccpb::KeyValue,
};

/// How many keys are in use at a time.
const KEYS: usize = 5;
/// After how many uses a key retires.
const USES_PER_KEY: u64 = 100;
/// Most steps of one transaction.
const LENGTH_MAX: usize = 5;

/// The workload.
#[derive(Clone, Debug)]
pub struct Txn {
    space: Space,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOp(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Read { key: String },
    Write { key: String, value: u64 },
}

/// Makes the workload's operations.
#[derive(Clone, Debug)]
pub struct TxnGenerator {
    rng: ChaCha8Rng,
    keys: KeyPool<()>,
    newest: u64,
}

impl Txn {
    /// The workload, with its keys in `space`.
    pub fn new(space: Space) -> Txn {
        Txn { space }
    }
}

impl Generator for TxnGenerator {
    type Op = TxnOp;

    fn next(&mut self) -> TxnOp {
        let read_only = self.rng.random_bool(0.3);
        let mut steps: Vec<Step> = Vec::new();
        for _ in 0..self.rng.random_range(1..=LENGTH_MAX) {
            let key = format!("r{}", self.keys.pick(&mut self.rng).0);
            // The store refuses a second put of a key in one transaction.
            let written =
                steps.iter().any(|step| matches!(step, Step::Write { key: other, .. } if *other == key));
            if read_only || written || self.rng.random_bool(0.5) {
                steps.push(Step::Read { key });
            } else {
                self.newest += 1;
                steps.push(Step::Write { key, value: self.newest });
            }
        }
        TxnOp(steps)
    }

    fn final_reads(&self) -> Vec<TxnOp> {
        let keys: Vec<u64> = (0..self.keys.used()).collect();
        let read = |key: &u64| Step::Read { key: format!("r{key}") };
        keys.chunks(LENGTH_MAX).map(|keys| TxnOp(keys.iter().map(read).collect())).collect()
    }
}

impl Workload for Txn {
    type Op = TxnOp;
    type Generator = TxnGenerator;

    fn generator(&self, seed: u64) -> TxnGenerator {
        TxnGenerator { rng: rng(seed, Purpose::Txn), keys: KeyPool::new(KEYS, USES_PER_KEY), newest: 0 }
    }

    fn invocation(&self, op: &TxnOp) -> Invocation {
        let steps: Vec<Value> = op.0.iter().map(|step| step.asked()).collect();
        Invocation { f: "txn", key: None, value: steps.into() }
    }

    async fn execute(&self, op: &TxnOp, client: &mut Client) -> Completion {
        let success = op.0.iter().map(|step| self.request(step)).collect();
        let answer = client.txn(TxnRequest { success, ..TxnRequest::default() }).await;
        let answer = answer.and_then(|answer| Ok((values(op, &answer)?, revision(answer.header.as_ref())?)));
        let writes = op.0.iter().any(|step| matches!(step, Step::Write { .. }));
        match answer {
            Ok((value, rev)) => Completion::Ok { value, rev: Some(rev) },
            Err(error) if writes => Completion::of_write_error(&error),
            Err(error) => Completion::of_read_error(&error),
        }
    }
}

impl Step {
    fn asked(&self) -> Value {
        match self {
            Step::Read { key } => json!(["r", key, null]),
            Step::Write { key, value } => json!(["w", key, value]),
        }
    }
}

impl Txn {
    fn request(&self, step: &Step) -> RequestOp {
        let request = match step {
            Step::Read { key } => {
                Request::RequestRange(RangeRequest { key: self.space.key(key).into(), ..Default::default() })
            }
            Step::Write { key, value } => Request::RequestPut(PutRequest {
                key: self.space.key(key).into(),
                value: value.to_string().into(),
                ..Default::default()
            }),
        };
        RequestOp { request: Some(request) }
    }
}

/// What the transaction answers.
fn values(op: &TxnOp, answer: &TxnResponse) -> Result<Value, DriverError> {
    if answer.responses.len() != op.0.len() {
        let text = format!("{} answers to {} requests", answer.responses.len(), op.0.len());
        return Err(DriverError::Malformed { text });
    }
    let values: Result<Vec<Value>, DriverError> =
        op.0.iter()
            .zip(&answer.responses)
            .map(|(step, response)| match (step, &response.response) {
                (Step::Read { key }, Some(Response::ResponseRange(range))) => {
                    Ok(json!(["r", key, found(&range.kvs)?]))
                }
                (Step::Write { .. }, Some(Response::ResponsePut(_))) => Ok(step.asked()),
                _ => Err(DriverError::Malformed { text: "a request was answered as something else".into() }),
            })
            .collect();
    Ok(values?.into())
}

fn found(kvs: &[KeyValue]) -> Result<Value, DriverError> {
    match kvs {
        [] => Ok(Value::Null),
        [kv] => Ok(json!({"value": super::number(&kv.value)?, "mod_revision": kv.mod_revision})),
        more => Err(DriverError::Malformed { text: format!("{} pairs for one key", more.len()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_value_is_written_twice_and_no_key_twice_in_a_transaction() {
        let mut generator = Txn::new(Space::new("", "txn")).generator(7);
        let mut values = BTreeSet::new();
        let mut read_only = 0;
        for _ in 0..1000 {
            let op = generator.next();
            let mut keys = BTreeSet::new();
            read_only += usize::from(op.0.iter().all(|step| matches!(step, Step::Read { .. })));
            for step in op.0 {
                if let Step::Write { key, value } = step {
                    assert!(values.insert(value), "{value} is written twice");
                    assert!(keys.insert(key.clone()), "{key} is written twice in one transaction");
                }
            }
        }
        assert!((300..700).contains(&read_only), "{read_only} of 1000 only read");
    }
}
