//! The order of revisions and brute force agree on random small histories of a whole store.

use checker::Options;
use checker::budget::Budget;
use checker::linearizability::Call;
use checker::revision::{self, Beginning, Outcome, Stamp};
use checker::spec::kv::{Kv, KvOp};
use checker::spec::kv_types::Response;
use rand::RngExt;

use crate::brute;
use crate::engines::{answer_kv, ask_kv};
use crate::made::{self, Shape};

const BEGINNING: Beginning = Beginning { revision: None, shared: false };

/// What the order of revisions says: `None` for what it leaves open.
fn by_revision(calls: &[Call<KvOp>]) -> Option<bool> {
    let steps = revision::from_kv(calls, &[]).expect("every answer has a revision");
    let stamps: Vec<Stamp> = steps
        .iter()
        .filter(|step| step.rev > 0 && !step.is_compaction())
        .map(|step| Stamp {
            id: step.id,
            process: 0,
            rev: step.rev,
            write: step.is_write(),
            stale_allowed: false,
            invoked: step.invoked,
            returned: step.returned,
        })
        .collect();
    let ordered = revision::backwards(&stamps).is_empty() && revision::twice(&stamps).is_empty();
    let placed = revision::compactions(&steps).is_empty();
    match revision::replay(&steps, BEGINNING, &Budget::new(&Options::default())) {
        Outcome::Fits(_) => Some(ordered && placed),
        Outcome::Wrong(..) => Some(false),
        Outcome::Undecided(..) => None,
    }
}

#[test]
fn the_order_of_revisions_agrees_with_brute_force() {
    let shapes = [
        Shape { calls: 7, processes: 3, info_percent: 0 },
        Shape { calls: 7, processes: 5, info_percent: 20 },
        Shape { calls: 7, processes: 4, info_percent: 50 },
    ];
    let mut illegal = 0;
    let rounds = 6000;
    for seed in 0..rounds {
        let mut rng = made::rng(seed);
        let shape = &shapes[seed as usize % shapes.len()];
        let ask = |rng: &mut _| KvOp { request: ask_kv(rng, 0), answer: None };
        let mut calls = made::linearizable(&Kv::default(), shape, &mut rng, ask, answer_kv);
        assert_eq!(by_revision(&calls), Some(true), "seed {seed} was made legal: {calls:#?}");
        for call in &mut calls {
            let Some(answer) = &mut call.op.answer else { continue };
            match rng.random_range(0..12) {
                0 => answer.rev = answer.rev.map(|rev| rev + 1),
                1 => answer.rev = answer.rev.map(|rev| (rev - 1).max(1)),
                2 => {
                    if let Response::Range { kvs, .. } = &mut answer.response
                        && let Some(pair) = kvs.first_mut()
                    {
                        pair.value = "9".to_owned();
                    }
                }
                3 => {
                    if let Response::Range { kvs, .. } = &mut answer.response
                        && let Some(pair) = kvs.last_mut()
                    {
                        pair.version += 1;
                    }
                }
                _ => {}
            }
        }
        let brute = brute::linearizable(&Kv::default(), &calls);
        illegal += u64::from(!brute);
        assert_eq!(by_revision(&calls), Some(brute), "seed {seed}: {calls:#?}");
    }
    assert!(illegal > rounds / 10 && illegal < rounds * 9 / 10, "{illegal} of {rounds} are illegal");
}
