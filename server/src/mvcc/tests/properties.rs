//! The store against the model, step by step.

use super::{
    model::Model,
    random::{LEASE, Step, step, steps},
    requests::{delete, delete_range, get, put, txn, yes},
};
use crate::{
    mvcc::{Scrub, Store, codec::Reader, history::VERSION_BYTES, is_read_only, restore::Builder},
    proto::etcdserverpb::RangeRequest,
};
use bytes::Bytes;
use proptest::{collection::vec, prelude::*, test_runner::RngSeed};
use std::env;

fn lease_exists(id: i64) -> bool {
    id == LEASE
}

/// Takes one step; both must answer the same.
fn advance(store: &mut Store, model: &mut Model, step: &Step) {
    match step {
        Step::Put(request) => assert_eq!(store.put(request, &lease_exists), model.put(request)),
        Step::Delete(request) => assert_eq!(store.delete_range(request), model.delete_range(request)),
        Step::Txn(request) => {
            let read_only = is_read_only(request).then(|| store.read_txn(request));
            let answer = store.txn(request, &lease_exists);
            assert_eq!(read_only.unwrap_or(answer.clone()), answer, "with and without the log");
            assert_eq!(answer, model.txn(request));
        }
        Step::Range(request) => assert_eq!(store.range(request), model.range(request)),
        Step::Compact(below) => {
            let revision = model.revision - below;
            assert_eq!(store.compact(revision).map(|_| ()), model.compact(revision), "at {revision}");
        }
        Step::Scrub(budget) => {
            store.scrub(*budget);
        }
    }
    assert_eq!((store.revision(), store.compact_revision()), (model.revision, model.compacted));
}

fn everything_at(revision: i64) -> RangeRequest {
    let all = Bytes::from_static(b"\0");
    RangeRequest { key: all.clone(), range_end: all, revision, ..RangeRequest::default() }
}

/// Whether every readable revision shows the same in both, and the sums are those of what is there.
fn compare_all(store: &Store, model: &Model) {
    for revision in model.compacted - 1..=model.revision + 1 {
        let request = everything_at(revision);
        assert_eq!(store.range(&request), model.range(&request), "at {revision}");
        if revision > model.compacted.max(1) && revision <= model.revision {
            let mut want = model.events(revision);
            if revision <= model.compacted {
                want.iter_mut().for_each(|event| event.prev_kv = None);
            }
            assert_eq!(store.events(revision), Ok(want), "events of {revision}");
        }
    }
    assert_eq!(store.hash_kv(0).map(|hash| hash.hash), Ok(store.hash()), "sums and contents");
    let in_use: usize = model.visible().iter().map(|kv| kv.key.len() + kv.value.len() + VERSION_BYTES).sum();
    assert_eq!(store.size_in_use_bytes(), u64::try_from(in_use).expect("small"));
    assert!(store.size_bytes() >= store.size_in_use_bytes(), "what is in use is held");
    if store.compaction_done() {
        assert_eq!(store.size_bytes(), store.size_in_use_bytes(), "all that is held is in use");
    }
}

/// The same cases in every run, unless the environment asks for others (PROPTEST_CASES, PROPTEST_RNG_SEED).
pub(crate) fn config() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 100;
    }
    if env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}

fn image(store: &Store) -> Vec<u8> {
    let (mut pinned, mut out) = (store.pin(), Vec::new());
    assert!(!store.write_records(&mut pinned, usize::MAX, &mut out), "one piece is enough");
    out
}

/// Scrubs to the end: then what is held must be what is in use.
fn scrub_all(store: &mut Store) {
    while store.scrub(1) == Scrub::More {}
    assert_eq!(store.size_bytes(), store.size_in_use_bytes());
    assert_eq!(store.hash_kv(0).map(|hash| hash.hash), Ok(store.hash()));
}

#[test]
fn a_compaction_during_the_scrub_of_another() {
    let keys = ["a", "b", "c"];
    for budget in 0..20 {
        let mut store = Store::new();
        for key in keys {
            store.put(&put(key, "1"), &lease_exists).expect("a put");
        }
        store.delete_range(&delete_range("a", "d")).expect("a deletion");
        store.put(&put("z", "1"), &lease_exists).expect("a put");
        store.compact(5).expect("a readable revision");
        store.scrub(budget);
        store.compact(6).expect("a readable revision");
        scrub_all(&mut store);
        assert_eq!(store.keys.len(), 1, "deleted keys are gone, scrubbed {budget} before");
    }
}

#[test]
fn a_key_deleted_and_written_at_one_revision() {
    // No valid request does this; an entry of the log that does is still applied, the same on all members.
    let mut store = Store::new();
    store.put(&put("a", "1"), &lease_exists).expect("a put");
    let request = txn(yes(), vec![delete("a").into(), put("a", "2").into()], vec![]);
    assert_eq!(store.txn(&request, &lease_exists).map(|answer| answer.responses.len()), Ok(2));
    let mut builder = Builder::new(store.revision(), store.compact_revision()).expect("a store's");
    builder.read_records(&mut Reader::new(&image(&store))).expect("an image can be read");
    let mut pinned = store.pin();
    store.write_records(&mut pinned, usize::MAX, &mut Vec::new());
    let mut restored = builder.finish(pinned.totals()).expect("an image can be read");
    drop(pinned);
    for (store, why) in [(&mut store, "written"), (&mut restored, "restored")] {
        store.compact(3).expect("a readable revision");
        scrub_all(store);
        let held = store.range(&get("a")).map(|answer| answer.kvs);
        assert_eq!(held.map(|kvs| kvs[0].version), Ok(1), "{why}");
        assert_eq!(store.events(3).map(|events| events.len()), Ok(1), "{why}: the last word of revision 3");
    }
    assert_eq!(store.hash(), restored.hash());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn answers_are_those_of_the_model(steps in steps(60)) {
        let (mut store, mut model) = (Store::new(), Model::new(LEASE));
        for step in &steps {
            advance(&mut store, &mut model, step);
        }
        compare_all(&store, &model);
        while store.scrub(3) == Scrub::More {}
        compare_all(&store, &model);
    }

    #[test]
    fn the_scrub_changes_nothing_that_can_be_seen(steps in steps(60), budget in 1_usize..4) {
        let (mut scrubbed, mut model) = (Store::new(), Model::new(LEASE));
        let (mut lazy, mut other) = (Store::new(), Model::new(LEASE));
        for step in steps.iter().filter(|step| !matches!(step, Step::Scrub(_))) {
            advance(&mut scrubbed, &mut model, step);
            advance(&mut lazy, &mut other, step);
            scrubbed.scrub(budget);
            for revision in model.compacted.max(0)..=model.revision {
                prop_assert_eq!(scrubbed.hash_kv(revision), lazy.hash_kv(revision));
                prop_assert_eq!(scrubbed.events(revision), lazy.events(revision));
            }
            prop_assert_eq!(scrubbed.hash(), lazy.hash());
            prop_assert_eq!(scrubbed.size_in_use_bytes(), lazy.size_in_use_bytes());
        }
        prop_assert_eq!(image(&scrubbed), image(&lazy));
    }

    #[test]
    fn an_old_hash_is_that_of_the_time(steps in steps(40), later in steps(20)) {
        let (mut store, mut model) = (Store::new(), Model::new(LEASE));
        for step in &steps {
            advance(&mut store, &mut model, step);
        }
        let (then, revision) = (store.hash(), store.revision());
        for step in later.iter().filter(|step| !matches!(step, Step::Compact(_))) {
            advance(&mut store, &mut model, step);
        }
        prop_assert_eq!(store.hash_kv(revision).map(|hash| hash.hash), Ok(then));
    }

    #[test]
    fn an_image_is_the_state_when_it_began(
        before in steps(50),
        pieces in vec((1_usize..300, vec(step(), 0..8)), 1..30),
        after in steps(20),
    ) {
        let (mut store, mut model) = (Store::new(), Model::new(LEASE));
        for step in &before {
            advance(&mut store, &mut model, step);
        }
        let (whole, then, hash) = (image(&store), model.clone(), store.hash());
        let mut pinned = store.pin();
        let mut builder = Builder::new(pinned.revision(), pinned.compact_revision()).expect("a store's");
        let mut pieces = pieces.iter().cycle();
        loop {
            let (max_bytes, steps) = pieces.next().expect("it is a cycle");
            let mut piece = Vec::new();
            let more = store.write_records(&mut pinned, *max_bytes, &mut piece);
            builder.read_records(&mut Reader::new(&piece)).expect("an image can be read");
            if !more {
                break;
            }
            for step in steps {
                advance(&mut store, &mut model, step);
            }
        }
        let mut restored = builder.finish(pinned.totals()).expect("an image can be read");
        drop(pinned);
        prop_assert_eq!(restored.hash(), hash);
        prop_assert_eq!(image(&restored), whole);
        compare_all(&restored, &then);
        let mut model = then;
        for step in &after {
            advance(&mut restored, &mut model, step);
        }
        while restored.scrub(2) == Scrub::More {}
        compare_all(&restored, &model);
    }
}
