//! `election`: candidates that make the leader's record under a lease, lead for a while, and resign or vanish.
//!
//! The record's revision of creation is the term. Everybody who campaigns or observes tells which leader and term
//! it saw.

use super::{
    Completion, Generator, Invocation, Space, Workload,
    lock::{make_under_lease, release},
};
use crate::{
    driver::{Client, DriverError},
    generator::{Purpose, rng},
};
use checker::answers::Leader;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use server::proto::etcdserverpb::RangeRequest;
use std::time::Duration;

const ELECTIONS: u64 = 2;
const TTL_S: i64 = 2;

/// The workload.
#[derive(Clone, Debug)]
pub struct Election {
    space: Space,
}

/// One operation on the election with this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionOp {
    election: String,
    act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    /// Leads for a while if it wins, and then resigns, or leaves that to the lease.
    Campaign {
        candidate: i64,
        lead: Duration,
        resigns: bool,
    },
    Observe,
}

/// Makes the workload's operations.
#[derive(Clone, Debug)]
pub struct ElectionGenerator {
    rng: ChaCha8Rng,
    candidates: i64,
}

impl Election {
    /// The workload, with its keys in `space`.
    pub fn new(space: Space) -> Election {
        Election { space }
    }
}

impl Generator for ElectionGenerator {
    type Op = ElectionOp;

    fn next(&mut self) -> ElectionOp {
        let election = format!("e{}", self.rng.random_range(0..ELECTIONS));
        if self.rng.random_bool(0.6) {
            return ElectionOp { election, act: Act::Observe };
        }
        self.candidates += 1;
        let lead = Duration::from_millis(self.rng.random_range(0..600));
        let resigns = self.rng.random_ratio(4, 5);
        ElectionOp { election, act: Act::Campaign { candidate: self.candidates, lead, resigns } }
    }

    fn final_reads(&self) -> Vec<ElectionOp> {
        (0..ELECTIONS)
            .map(|number| ElectionOp { election: format!("e{number}"), act: Act::Observe })
            .collect()
    }
}

impl Workload for Election {
    type Op = ElectionOp;
    type Generator = ElectionGenerator;

    fn generator(&self, seed: u64) -> ElectionGenerator {
        ElectionGenerator { rng: rng(seed, Purpose::Election), candidates: 0 }
    }

    fn invocation(&self, op: &ElectionOp) -> Invocation {
        let (f, value) = match &op.act {
            Act::Campaign { candidate, .. } => ("campaign", json!(candidate)),
            Act::Observe => ("observe", Value::Null),
        };
        Invocation { f, key: Some(op.election.clone()), value }
    }

    async fn execute(&self, op: &ElectionOp, client: &mut Client) -> Completion {
        let key = self.space.key(&op.election);
        match &op.act {
            Act::Observe => match observe(&key, client).await {
                Ok(leader) => Completion::Ok { value: json!(leader), rev: None },
                Err(error) => Completion::of_read_error(&error),
            },
            Act::Campaign { candidate, lead, resigns } => {
                let lease = match client.lease_grant(TTL_S).await {
                    Ok(lease) => lease.id,
                    Err(error) => return Completion::of_read_error(&error),
                };
                let made = make_under_lease(client, &key, &candidate.to_string(), lease).await;
                let term = match made {
                    Ok(Some(term)) => term,
                    // Who leads, then?
                    Ok(None) => {
                        return match observe(&key, client).await {
                            Ok(leader) => Completion::Ok { value: json!(leader), rev: None },
                            Err(error) => Completion::of_read_error(&error),
                        };
                    }
                    Err(error) => return Completion::of_write_error(&error),
                };
                tokio::time::sleep(*lead).await;
                if *resigns {
                    // If nobody hears it, the lease ends the term.
                    let _ = release(client.start_operation(), &key, term).await;
                }
                Completion::Ok { value: json!(Leader { term, leader: *candidate }), rev: None }
            }
        }
    }
}

/// The leader of the moment, by a linearizable read.
async fn observe(key: &str, client: &mut Client) -> Result<Option<Leader>, DriverError> {
    let range = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
    let answer = client.range(range).await?;
    match answer.kvs.as_slice() {
        [] => Ok(None),
        [kv] => Ok(Some(Leader { term: kv.create_revision, leader: super::number(&kv.value)? })),
        more => Err(DriverError::Malformed { text: format!("{} pairs for one key", more.len()) }),
    }
}
