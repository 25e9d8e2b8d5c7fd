//! Every planted bug of the store shows, and only when it is chosen.

use super::requests::{Show, bytes, compare, delete, get, no, put, range, txn, yes};
use crate::{
    mvcc::Store,
    plant::Plant,
    proto::etcdserverpb::compare::{CompareResult, TargetUnion},
};

/// What a store with this bug answers to a few requests, and holds then.
fn answers(plant: Option<Plant>) -> String {
    let mut store = Store::new();
    store.set_plant(plant);
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
    answers.push(store.range(&range("\0", "\0")).show());
    answers.join("\n")
}

#[test]
fn plants_of_the_store_change_its_answers() {
    let right = answers(None);
    for plant in Plant::ALL {
        let is_of_the_store = match plant {
            Plant::CasIgnoresCompare
            | Plant::LostDelete
            | Plant::StaleRange
            | Plant::CountIncludesTombstones => true,
            Plant::LocalRead
            | Plant::AckBeforeCommit
            | Plant::VoteNotPersisted
            | Plant::AckUnappended
            | Plant::ApplyTwiceAfterRestart => false,
        };
        let planted = answers(Some(plant));
        assert_eq!(planted != right, is_of_the_store, "{plant}:\n{planted}\nwithout it:\n{right}");
    }
}
