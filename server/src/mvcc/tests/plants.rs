//! Every planted bug of the store shows, and only when it is chosen.

use super::requests::{Show, bytes, compare, delete, get, no, put, range, txn, yes};
use crate::{
    mvcc::{Scrub, Store},
    plant::{Area, Plant, choose_for_thread},
    proto::etcdserverpb::{
        RangeRequest,
        compare::{CompareResult, TargetUnion},
    },
};

/// What a store with this bug answers to a few requests, and holds then.
fn answers(plant: Option<Plant>) -> String {
    let _chosen = choose_for_thread(plant);
    let mut store = Store::new();
    let none = |_| false;
    let mut answers = Vec::new();
    answers.push(store.put(&put("a", "1"), &none).show());
    answers.push(store.delete_range(&delete("a")).show());
    answers.push(store.put(&put("a", "2"), &none).show());
    let unequal = vec![compare("a", CompareResult::Equal, TargetUnion::Value(bytes("9")))];
    answers.push(store.txn(&txn(unequal, vec![put("a", "3").into()], vec![]), &none).show());
    answers.push(store.txn(&txn(no(), vec![get("a").into()], vec![]), &none).show());
    answers.push(store.txn(&txn(yes(), vec![put("a", "4").into(), get("a").into()], vec![]), &none).show());
    answers.push(store.put(&put("b", "1"), &none).show());
    answers.push(store.delete_range(&delete("b")).show());
    answers.push(store.put(&put("c", "1"), &none).show());
    answers.push(store.range(&range("\0", "\0")).show());
    answers.push(store.range(&range("a", "c")).show());
    answers.push(store.range(&RangeRequest { limit: 2, ..range("\0", "\0") }).show());
    answers.push(store.range(&RangeRequest { revision: 99, ..range("a", "") }).show());
    // The versions of `a` that a reader at this revision needs.
    answers.push(format!("{:?}", store.compact(4).map(drop)));
    answers.push(store.delete_range(&delete("c")).show());
    while store.scrub(100) == Scrub::More {}
    answers.push(store.range(&RangeRequest { revision: 2, ..range("a", "") }).show());
    answers.push(store.range(&RangeRequest { revision: 4, ..range("\0", "\0") }).show());
    answers.push(store.range(&range("\0", "\0")).show());
    answers.join("\n")
}

#[test]
fn plants_of_the_store_change_its_answers() {
    let right = answers(None);
    for plant in Plant::ALL.iter().copied().filter(|plant| plant.area() == Area::Store) {
        let planted = answers(Some(plant));
        assert!(planted != right, "{plant}:\n{planted}\nwithout it:\n{right}");
    }
}
