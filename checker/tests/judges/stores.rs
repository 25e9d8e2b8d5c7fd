//! The `kv` workload as a whole: large legal histories are valid, and every way to spoil one is found.

use std::time::Duration;

use checker::spec::kv_types::{
    Compare, CompareOp, CompareTarget, DeleteRequest, KeyRange, PutRequest, RangeRequest, Request, TxnRequest,
};
use checker::{Options, check, render};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::synthetic;

/// Requests as the harness's generator mixes them: puts of values that are written once, few keys.
pub fn mixed(unique_percent: u32) -> impl FnMut(&mut ChaCha8Rng, i64) -> Request {
    let mut written = 0_u64;
    move |rng, newest| {
        let key = |rng: &mut ChaCha8Rng| format!("k{:02}", rng.random_range(0..12));
        let mut value = |rng: &mut ChaCha8Rng| {
            written += 1;
            if rng.random_ratio(unique_percent, 100) {
                format!("v{written}")
            } else {
                (written % 3).to_string()
            }
        };
        let one = |rng: &mut ChaCha8Rng| KeyRange { key: key(rng), end: None };
        match rng.random_range(0..100) {
            0..30 => Request::Put(PutRequest { key: key(rng), value: value(rng), prev_kv: rng.random() }),
            30..40 => Request::Delete(DeleteRequest { keys: one(rng), prev_kv: rng.random() }),
            40..43 => {
                let keys = KeyRange { key: key(rng), end: Some(key(rng)) };
                Request::Delete(DeleteRequest { keys, prev_kv: true })
            }
            43..60 => Request::Range(RangeRequest { keys: one(rng), ..RangeRequest::default() }),
            60..70 => {
                let keys = KeyRange { key: "k".to_owned(), end: Some("\0".to_owned()) };
                let limit = rng.random_range(0..8);
                Request::Range(RangeRequest {
                    keys,
                    limit,
                    count_only: rng.random_bool(0.2),
                    ..RangeRequest::default()
                })
            }
            70..75 => {
                let revision = (newest - rng.random_range(0..20)).max(1);
                Request::Range(RangeRequest { keys: one(rng), revision, ..RangeRequest::default() })
            }
            75..76 => Request::Compact { revision: (newest - 50).max(1) },
            _ => {
                let target = match rng.random_range(0..3) {
                    0 => CompareTarget::Version(0),
                    1 => CompareTarget::ModRevision(newest - rng.random_range(0..10)),
                    _ => CompareTarget::Value("1".to_owned()),
                };
                let ops = [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Greater, CompareOp::Less];
                let compare = vec![Compare { keys: one(rng), op: ops[rng.random_range(0..4)], target }];
                let put = Request::Put(PutRequest { key: key(rng), value: value(rng), prev_kv: false });
                let read = Request::Range(RangeRequest { keys: one(rng), ..RangeRequest::default() });
                let delete = Request::Delete(DeleteRequest {
                    keys: KeyRange { key: "z".to_owned(), end: None },
                    prev_kv: false,
                });
                Request::Txn(TxnRequest { compare, success: vec![put, read], failure: vec![delete] })
            }
        }
    }
}

#[test]
fn large_legal_histories_are_valid_whatever_the_number_of_clients() {
    for (operations, clients, info, unique) in
        [(3000, 10, 0, 100), (5000, 50, 2, 100), (5000, 50, 5, 50), (2000, 20, 10, 0)]
    {
        let events = synthetic::kv(operations, clients, info, 7, mixed(unique));
        let history = synthetic::kv_history(events);
        let report = check(&history, &Options::default());
        println!("{operations} {clients} {info} {unique} {:?}\n{}", report.elapsed, render::report(&report));
        assert!(
            report.verdict.is_valid(),
            "{operations} {clients} {info} {unique}: {}",
            render::report(&report)
        );
    }
}

/// As [`mixed`], with a quarter of deletions of ranges, and values that repeat.
fn of_ranges() -> impl FnMut(&mut ChaCha8Rng, i64) -> Request {
    let mut others = mixed(50);
    move |rng, newest| {
        if rng.random_ratio(3, 4) {
            return others(rng, newest);
        }
        let key = |at: i32| format!("k{at:02}");
        let from = rng.random_range(0..12);
        let keys = KeyRange { key: key(from), end: Some(key(from + rng.random_range(2..8))) };
        Request::Delete(DeleteRequest { keys, prev_kv: rng.random() })
    }
}

#[test]
fn unanswered_deletions_of_ranges_are_decided_or_said_to_be_unknown_in_time() {
    let time_limit = Duration::from_millis(500);
    let mut decided = 0;
    for seed in 0..8 {
        let info_percent = 5 + 5 * (seed as u32 % 4);
        let history = synthetic::kv_history(synthetic::kv(800, 20, info_percent, seed, of_ranges()));
        let report = check(&history, &Options { time_limit, ..Options::default() });
        let text = render::report(&report);
        assert_ne!(report.verdict.name(), "anomaly", "seed {seed}: {text}");
        assert!(report.elapsed < 20 * time_limit, "seed {seed}: {:?}", report.elapsed);
        decided += usize::from(report.verdict.is_valid());
        println!(
            "seed {seed}, {info_percent} % unanswered: {} in {:?}",
            report.verdict.name(),
            report.elapsed
        );
    }
    assert!(decided >= 2, "{decided} of 8 were decided");
}
