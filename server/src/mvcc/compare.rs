//! The conditions of a transaction.

use super::{Store, history::Version, key_range::KeyRange};
use crate::proto::etcdserverpb::{
    Compare,
    compare::{CompareResult, CompareTarget, TargetUnion},
};
use bytes::Bytes;
use std::cmp::Ordering;

impl Store {
    /// Whether the comparison holds now: for every key of its range that exists. Where none exists it is
    /// about a key whose numbers are all 0, and whose value cannot be compared.
    pub(super) fn holds(&self, compare: &Compare) -> bool {
        let range = KeyRange::new(&compare.key, &compare.range_end);
        let mut found = self.visible(range, i64::MAX).peekable();
        if found.peek().is_none() {
            return compare.target() != CompareTarget::Value && holds_for(compare, None);
        }
        found.all(|(_, version)| holds_for(compare, Some(version)))
    }
}

/// As in etcd, an operand of another kind than the target counts as 0 (or empty), an unknown target compares
/// equal, and an unknown relation holds.
fn holds_for(compare: &Compare, version: Option<&Version>) -> bool {
    let number = |field: fn(&Version) -> i64, operand: i64| version.map_or(0, field).cmp(&operand);
    let operand = compare.target_union.as_ref();
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => {
            let operand = if let Some(TargetUnion::Version(operand)) = operand { *operand } else { 0 };
            number(|version| version.number, operand)
        }
        Ok(CompareTarget::Create) => {
            let operand = if let Some(TargetUnion::CreateRevision(operand)) = operand { *operand } else { 0 };
            number(|version| version.created, operand)
        }
        Ok(CompareTarget::Mod) => {
            let operand = if let Some(TargetUnion::ModRevision(operand)) = operand { *operand } else { 0 };
            number(|version| version.main, operand)
        }
        Ok(CompareTarget::Lease) => {
            let operand = if let Some(TargetUnion::Lease(operand)) = operand { *operand } else { 0 };
            number(|version| version.lease, operand)
        }
        Ok(CompareTarget::Value) => {
            let operand =
                if let Some(TargetUnion::Value(operand)) = operand { operand } else { &Bytes::new() };
            version.map_or(&[][..], |version| &version.value).cmp(operand)
        }
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}
