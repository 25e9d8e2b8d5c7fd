//! Transactions that write a key twice are refused, whichever branch would be taken.
//!
//! Two deletes of one key are allowed, and so are puts of one key in both branches of a nested transaction.
//! Source: etcd's check of transaction requests, as observed on etcd 3.5.

use std::collections::BTreeSet;

use super::super::kv_types::{KeyRange, Request};
use super::store::covers;

/// What the requests of a branch write.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a str>,
    deletes: Vec<&'a KeyRange>,
}

/// Whether a request writes a key twice.
pub(super) fn writes_twice(request: &Request) -> bool {
    match request {
        Request::Txn(txn) => branch_writes_twice(&txn.success) || branch_writes_twice(&txn.failure),
        Request::Range(_) | Request::Put(_) | Request::Delete(_) | Request::Compact { .. } => false,
    }
}

fn branch_writes_twice(branch: &[Request]) -> bool {
    let mut others = branch.iter().filter(|request| !matches!(request, Request::Range(_)));
    match (others.next(), others.next()) {
        (None, _) => false,
        // Most branches have one write, which needs no list.
        (Some(one), None) => writes_twice(one),
        (Some(_), Some(_)) => writes(branch).is_none(),
    }
}

/// What a branch writes; `None` if it writes a key twice.
fn writes(branch: &[Request]) -> Option<Writes<'_>> {
    let mut all = Writes::default();
    for request in branch {
        if let Request::Delete(delete) = request {
            all.deletes.push(&delete.keys);
        }
    }
    for request in branch {
        let Request::Txn(txn) = request else { continue };
        let (success, failure) = (writes(&txn.success)?, writes(&txn.failure)?);
        for key in &success.puts {
            all.put(key)?;
        }
        for key in failure.puts.difference(&success.puts) {
            all.put(key)?;
        }
        all.deletes.extend(success.deletes);
        all.deletes.extend(failure.deletes);
    }
    for request in branch {
        if let Request::Put(put) = request {
            all.put(&put.key)?;
        }
    }
    Some(all)
}

impl<'a> Writes<'a> {
    fn put(&mut self, key: &'a str) -> Option<()> {
        let deleted = self.deletes.iter().any(|keys| covers(keys, key));
        (self.puts.insert(key) && !deleted).then_some(())
    }
}
