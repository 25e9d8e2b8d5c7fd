//! Lists of numbers as a store's values: `1,2,3`.

use super::Space;
use crate::driver::{DriverError, revision};
use server::proto::{
    etcdserverpb::{
        Compare, PutRequest, RangeRequest, RangeResponse, RequestOp, compare::CompareResult,
        compare::CompareTarget, compare::TargetUnion, request_op::Request,
    },
    mvccpb::KeyValue,
};

/// A list as it was read, with the revision that guards a later write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    pub(super) items: Vec<u64>,
    /// Revision of the newest write, 0 where the key is absent.
    pub(super) mod_revision: i64,
}

impl List {
    /// Reads the one pair that a range over one key may give.
    pub(super) fn of(kvs: &[KeyValue]) -> Result<List, DriverError> {
        match kvs {
            [] => Ok(List::default()),
            [kv] => Ok(List { items: decode(&kv.value)?, mod_revision: kv.mod_revision }),
            more => Err(malformed(format!("{} pairs for one key", more.len()))),
        }
    }

    /// The same, with the revision of the answer's header.
    pub(super) fn of_range(answer: &RangeResponse) -> Result<(List, i64), DriverError> {
        Ok((List::of(&answer.kvs)?, revision(answer.header.as_ref())?))
    }
}

pub(super) fn encode(items: &[u64]) -> String {
    let texts: Vec<String> = items.iter().map(u64::to_string).collect();
    texts.join(",")
}

fn decode(value: &[u8]) -> Result<Vec<u64>, DriverError> {
    let text = std::str::from_utf8(value).map_err(|_| malformed("a list that is not text".into()))?;
    text.split(',')
        .map(|item| item.parse().map_err(|_| malformed(format!("`{text}` is not a list of numbers"))))
        .collect()
}

fn malformed(text: String) -> DriverError {
    DriverError::Malformed { text }
}

/// A linearizable read of one key.
pub(super) fn read(space: &Space, key: &str) -> RangeRequest {
    RangeRequest { key: space.key(key).into(), ..RangeRequest::default() }
}

/// Holds if the key's newest write is still the one at `mod_revision` (0: if it is absent).
pub(super) fn unchanged(space: &Space, key: &str, mod_revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: space.key(key).into(),
        range_end: Default::default(),
        target_union: Some(TargetUnion::ModRevision(mod_revision)),
    }
}

/// Writes the list.
pub(super) fn put(space: &Space, key: &str, items: &[u64]) -> RequestOp {
    RequestOp {
        request: Some(Request::RequestPut(PutRequest {
            key: space.key(key).into(),
            value: encode(items).into(),
            ..PutRequest::default()
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_survives_the_store_and_garbage_is_an_error() {
        let kv =
            |value: &'static [u8]| KeyValue { value: value.into(), mod_revision: 9, ..KeyValue::default() };
        assert_eq!(encode(&[3, 1, 2]), "3,1,2");
        assert_eq!(List::of(&[kv(b"3,1,2")]).unwrap(), List { items: vec![3, 1, 2], mod_revision: 9 });
        assert_eq!(List::of(&[]).unwrap(), List::default());
        for garbage in [&b"3,,2"[..], b"", b"x", b"\xff"] {
            assert_eq!(List::of(&[kv(garbage)]).unwrap_err().kind(), "malformed", "{garbage:?}");
        }
        assert!(List::of(&[kv(b"1"), kv(b"2")]).is_err());
    }
}
