//! `append`: transactions that read lists and append to them.
//!
//! A transaction first reads every list that it touches, in one transaction of the store. Where it appends,
//! a second transaction writes the longer lists, guarded by the revisions that were read: of the lists it
//! only reads, too. So a transaction takes effect at one revision, or not at all, and a list shows in which
//! order everything was appended to it. Appended numbers count up within a list, so none occurs twice.
//! After Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations".

use super::{
    Completion, Generator, Invocation, Space, Workload,
    list::{self, List},
};
use crate::{
    driver::{Client, DriverError, revision},
    generator::{KeyPool, Purpose, rng},
};
use checker::history::event::OpError;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use server::proto::etcdserverpb::{
    RequestOp, ResponseOp, TxnRequest, request_op::Request, response_op::Response,
};
use std::collections::BTreeMap;

/// How many lists are in use at a time.
const KEYS: usize = 3;
/// After how many uses, reads included, a list retires: about half of them append.
const USES_PER_KEY: u64 = 50;
/// Most reads and appends in one transaction.
const LENGTH_MAX: usize = 4;

/// The workload.
#[derive(Clone, Debug)]
pub struct Append {
    space: Space,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendOp(Vec<Mop>);

/// A micro-operation: part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mop {
    Read { key: String },
    Append { key: String, value: u64 },
}

impl Mop {
    fn key(&self) -> &str {
        match self {
            Mop::Read { key } | Mop::Append { key, .. } => key,
        }
    }
}

/// Makes the workload's operations.
#[derive(Clone, Debug)]
pub struct AppendGenerator {
    rng: ChaCha8Rng,
    /// The state of a key is the newest number made for it.
    keys: KeyPool<u64>,
}

impl Append {
    /// The workload, with its keys in `space`.
    pub fn new(space: Space) -> Append {
        Append { space }
    }
}

impl Generator for AppendGenerator {
    type Op = AppendOp;

    fn next(&mut self) -> AppendOp {
        let length = self.rng.random_range(1..=LENGTH_MAX);
        let mops = (0..length)
            .map(|_| {
                let append = self.rng.random_bool(0.5);
                let (number, newest) = self.keys.pick(&mut self.rng);
                let key = format!("k{number}");
                if append {
                    *newest += 1;
                    Mop::Append { key, value: *newest }
                } else {
                    Mop::Read { key }
                }
            })
            .collect();
        AppendOp(mops)
    }

    fn final_reads(&self) -> Vec<AppendOp> {
        let keys: Vec<u64> = (0..self.keys.used()).collect();
        keys.chunks(LENGTH_MAX)
            .map(|keys| AppendOp(keys.iter().map(|key| Mop::Read { key: format!("k{key}") }).collect()))
            .collect()
    }
}

impl Workload for Append {
    type Op = AppendOp;
    type Generator = AppendGenerator;

    fn generator(&self, seed: u64) -> AppendGenerator {
        AppendGenerator { rng: rng(seed, Purpose::Append), keys: KeyPool::new(KEYS, USES_PER_KEY) }
    }

    fn invocation(&self, op: &AppendOp) -> Invocation {
        let mops: Vec<Value> =
            op.0.iter()
                .map(|mop| match mop {
                    Mop::Read { key } => json!(["r", key, null]),
                    Mop::Append { key, value } => json!(["append", key, value]),
                })
                .collect();
        Invocation { f: "txn", key: None, value: mops.into() }
    }

    async fn execute(&self, op: &AppendOp, client: &mut Client) -> Completion {
        let (read, read_rev) = match self.read(op, client).await {
            Ok(read) => read,
            Err(error) => return Completion::of_read_error(&error),
        };
        let (value, written) = apply(op, &read);
        if written.is_empty() {
            return Completion::Ok { value, rev: Some(read_rev) };
        }
        match self.write(&read, &written, client).await {
            Ok(Some(rev)) => Completion::Ok { value, rev: Some(rev) },
            Ok(None) => Completion::Fail(OpError {
                kind: "guard".into(),
                text: "a list changed after it was read".into(),
            }),
            Err(error) => Completion::of_write_error(&error),
        }
    }
}

/// The lists that a transaction touches, by key.
type Lists = BTreeMap<String, List>;

impl Append {
    /// All lists of the transaction, as of one revision.
    async fn read(&self, op: &AppendOp, client: &mut Client) -> Result<(Lists, i64), DriverError> {
        let keys: Vec<&str> = {
            let mut keys: Vec<&str> = op.0.iter().map(Mop::key).collect();
            keys.sort_unstable();
            keys.dedup();
            keys
        };
        if let [key] = keys[..] {
            let answer = client.range(list::read(&self.space, key)).await?;
            let (list, rev) = List::of_range(&answer)?;
            return Ok((Lists::from([(key.to_string(), list)]), rev));
        }
        let range =
            |key: &&str| RequestOp { request: Some(Request::RequestRange(list::read(&self.space, key))) };
        let request = TxnRequest { success: keys.iter().map(range).collect(), ..TxnRequest::default() };
        let answer = client.txn(request).await?;
        if answer.responses.len() != keys.len() {
            let text = format!("{} answers to {} ranges", answer.responses.len(), keys.len());
            return Err(DriverError::Malformed { text });
        }
        let mut lists = Lists::new();
        for (key, ResponseOp { response }) in keys.iter().zip(&answer.responses) {
            let Some(Response::ResponseRange(range)) = response else {
                return Err(DriverError::Malformed { text: "a range was answered as something else".into() });
            };
            lists.insert((*key).to_string(), List::of(&range.kvs)?);
        }
        Ok((lists, revision(answer.header.as_ref())?))
    }

    /// Writes the longer lists if nothing read has changed: `None` if something has.
    async fn write(
        &self,
        read: &Lists,
        written: &BTreeMap<String, Vec<u64>>,
        client: &mut Client,
    ) -> Result<Option<i64>, DriverError> {
        let compare =
            read.iter().map(|(key, list)| list::unchanged(&self.space, key, list.mod_revision)).collect();
        let success = written.iter().map(|(key, items)| list::put(&self.space, key, items)).collect();
        let answer = client.txn(TxnRequest { compare, success, failure: Vec::new() }).await?;
        let rev = revision(answer.header.as_ref())?;
        Ok(answer.succeeded.then_some(rev))
    }
}

/// What the transaction answers, and the lists it has to write.
fn apply(op: &AppendOp, read: &Lists) -> (Value, BTreeMap<String, Vec<u64>>) {
    let mut written: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mops: Vec<Value> =
        op.0.iter()
            .map(|mop| {
                let key = mop.key();
                let before = || read.get(key).map(|list| list.items.clone()).unwrap_or_default();
                match mop {
                    // A read sees what its own transaction appended before it.
                    Mop::Read { .. } => json!(["r", key, written.get(key).cloned().unwrap_or_else(before)]),
                    Mop::Append { value, .. } => {
                        written.entry(key.to_string()).or_insert_with(before).push(*value);
                        json!(["append", key, value])
                    }
                }
            })
            .collect();
    (mops.into(), written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn ops(seed: u64, n: usize) -> Vec<AppendOp> {
        let mut generator = Append::new(Space::new("", "append")).generator(seed);
        (0..n).map(|_| generator.next()).collect()
    }

    #[test]
    fn operations_follow_from_the_seed() {
        assert_eq!(ops(7, 300), ops(7, 300));
        assert_ne!(ops(7, 300), ops(8, 300));
    }

    #[test]
    fn no_number_is_appended_twice_to_a_list_and_lengths_vary() {
        let mut appended = BTreeSet::new();
        let mut lengths = BTreeSet::new();
        let mut read_only = 0;
        for op in ops(7, 1000) {
            lengths.insert(op.0.len());
            read_only += usize::from(op.0.iter().all(|mop| matches!(mop, Mop::Read { .. })));
            for mop in op.0 {
                if let Mop::Append { key, value } = mop {
                    assert!(appended.insert((key.clone(), value)), "{value} twice to {key}");
                }
            }
        }
        assert_eq!(lengths, BTreeSet::from([1, 2, 3, 4]));
        assert!((100..500).contains(&read_only), "{read_only} of 1000 only read");
    }

    #[test]
    fn a_transaction_sees_its_own_appends() {
        let append = |value| Mop::Append { key: "k1".into(), value };
        let read = || Mop::Read { key: "k1".into() };
        let op = AppendOp(vec![read(), append(8), read(), append(9)]);
        let lists = Lists::from([("k1".to_string(), List { items: vec![3], mod_revision: 5 })]);
        let (value, written) = apply(&op, &lists);
        let want = json!([["r", "k1", [3]], ["append", "k1", 8], ["r", "k1", [3, 8]], ["append", "k1", 9]]);
        assert_eq!(value, want);
        assert_eq!(written, BTreeMap::from([("k1".to_string(), vec![3, 8, 9])]));
    }
}
