//! A store as simple as it can be: a list of all writes, and every request answered by going through it.

use crate::{
    error::ApiError,
    proto::{
        etcdserverpb::{
            Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
            RangeResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
            compare::TargetUnion, request_op::Request, response_op::Response,
        },
        mvccpb::{Event, KeyValue},
    },
};
use bytes::Bytes;
use std::{cmp::Ordering, collections::BTreeMap};

/// One write: the pair, or with version 0 the deletion of its key.
#[derive(Clone, Debug)]
pub(super) struct Model {
    writes: Vec<KeyValue>,
    pub(super) revision: i64,
    pub(super) compacted: i64,
    lease: i64,
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

fn is_in(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    match end {
        b"" => key == start,
        b"\0" => key >= start,
        _ => key >= start && key < end,
    }
}

impl Model {
    /// An empty store, for which only this lease exists.
    pub(super) fn new(lease: i64) -> Model {
        Model { writes: Vec::new(), revision: 1, compacted: -1, lease }
    }

    /// The pairs at a revision, in key order.
    fn state(&self, at: i64) -> BTreeMap<Bytes, KeyValue> {
        let mut state = BTreeMap::new();
        for write in self.writes.iter().filter(|write| write.mod_revision <= at) {
            if write.version == 0 {
                state.remove(&write.key);
            } else {
                state.insert(write.key.clone(), write.clone());
            }
        }
        state
    }

    fn pairs(&self, key: &[u8], end: &[u8], at: i64) -> Vec<KeyValue> {
        self.state(at).into_values().filter(|kv| is_in(&kv.key, key, end)).collect()
    }

    pub(super) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, ApiError> {
        check(&request.clone().into())?;
        if request.revision > self.revision {
            return Err(ApiError::FutureRevision);
        }
        let at = if request.revision <= 0 { self.revision } else { request.revision };
        if at < self.compacted {
            return Err(ApiError::Compacted);
        }
        Ok(self.read(request, at))
    }

    fn read(&self, request: &RangeRequest, at: i64) -> RangeResponse {
        let mut kvs = self.pairs(&request.key, &request.range_end, at);
        let count = i64::try_from(kvs.len()).expect("small");
        if request.count_only {
            return RangeResponse { header: header(self.revision), kvs: vec![], more: false, count };
        }
        let filters = [
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ];
        let limit = request.limit;
        if request.sort_order == 0 && filters == [0; 4] && limit > 0 {
            kvs.truncate(usize::try_from(limit).expect("positive").saturating_add(1));
        }
        let [min_mod, max_mod, min_create, max_create] = filters;
        kvs.retain(|kv| min_mod == 0 || kv.mod_revision >= min_mod);
        kvs.retain(|kv| max_mod == 0 || kv.mod_revision <= max_mod);
        kvs.retain(|kv| min_create == 0 || kv.create_revision >= min_create);
        kvs.retain(|kv| max_create == 0 || kv.create_revision <= max_create);
        kvs.sort_by(|a, b| {
            let ordering = match request.sort_target {
                0 => a.key.cmp(&b.key),
                1 => a.version.cmp(&b.version),
                2 => a.create_revision.cmp(&b.create_revision),
                3 => a.mod_revision.cmp(&b.mod_revision),
                _ => a.value.cmp(&b.value),
            };
            if request.sort_order == 2 { ordering.reverse() } else { ordering }
        });
        let more = limit > 0 && i64::try_from(kvs.len()).expect("small") > limit;
        if more {
            kvs.truncate(usize::try_from(limit).expect("positive"));
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        RangeResponse { header: header(self.revision), kvs, more, count }
    }

    pub(super) fn put(&mut self, request: &PutRequest) -> Result<PutResponse, ApiError> {
        check(&request.clone().into())?;
        if request.lease != 0 && request.lease != self.lease {
            return Err(ApiError::LeaseNotFound);
        }
        let exists = self.state(self.revision).contains_key(&request.key);
        if (request.ignore_value || request.ignore_lease) && !exists {
            return Err(ApiError::KeyNotFound);
        }
        let (response, revision) = self.write_put(request, self.revision + 1);
        self.revision = revision;
        Ok(response)
    }

    fn write_put(&mut self, request: &PutRequest, revision: i64) -> (PutResponse, i64) {
        let before = self.state(revision).remove(&request.key);
        let mut kv = KeyValue {
            key: request.key.clone(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            value: request.value.clone(),
            lease: request.lease,
        };
        if let Some(before) = &before {
            kv.create_revision = before.create_revision;
            kv.version = before.version + 1;
            if request.ignore_value {
                kv.value = before.value.clone();
            }
            if request.ignore_lease {
                kv.lease = before.lease;
            }
        }
        self.writes.push(kv);
        let prev_kv = before.filter(|_| request.prev_kv);
        (PutResponse { header: header(revision), prev_kv }, revision)
    }

    pub(super) fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, ApiError> {
        check(&request.clone().into())?;
        let (response, revision) = self.write_delete(request, self.revision + 1, self.revision);
        self.revision = revision;
        Ok(response)
    }

    /// `seen` is the revision in the header if nothing is deleted.
    fn write_delete(
        &mut self,
        request: &DeleteRangeRequest,
        revision: i64,
        seen: i64,
    ) -> (DeleteRangeResponse, i64) {
        let gone = self.pairs(&request.key, &request.range_end, revision);
        for kv in &gone {
            let key = kv.key.clone();
            self.writes.push(KeyValue { key, mod_revision: revision, ..KeyValue::default() });
        }
        let seen = if gone.is_empty() { seen } else { revision };
        let deleted = i64::try_from(gone.len()).expect("small");
        let prev_kvs = if request.prev_kv { gone } else { vec![] };
        (DeleteRangeResponse { header: header(seen), deleted, prev_kvs }, seen)
    }

    pub(super) fn compact(&mut self, revision: i64) -> Result<(), ApiError> {
        if revision <= self.compacted {
            return Err(ApiError::Compacted);
        }
        if revision > self.revision {
            return Err(ApiError::FutureRevision);
        }
        self.compacted = revision;
        Ok(())
    }

    pub(super) fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, ApiError> {
        let before = self.clone();
        let mut taken = Vec::new();
        before.choose(request, &mut taken)?;
        before.check_puts(&taken)?;
        before.check_ranges(&taken)?;
        let revision = self.revision + 1;
        let mut response = self.carry_out(&before, request, revision);
        response.header = header(self.revision);
        Ok(response)
    }

    /// Lists the operations on the path taken.
    fn choose(&self, request: &TxnRequest, taken: &mut Vec<RequestOp>) -> Result<(), ApiError> {
        if request.compare.iter().any(|compare| compare.key.is_empty()) {
            return Err(ApiError::EmptyKey);
        }
        for op in self.branch(request) {
            check(op)?;
            match &op.request {
                Some(Request::RequestTxn(nested)) => self.choose(nested, taken)?,
                _ => taken.push(op.clone()),
            }
        }
        Ok(())
    }

    fn branch<'a>(&self, request: &'a TxnRequest) -> &'a [RequestOp] {
        if self.succeeds(request) { &request.success } else { &request.failure }
    }

    fn succeeds(&self, request: &TxnRequest) -> bool {
        request.compare.iter().all(|compare| {
            let kvs = self.pairs(&compare.key, &compare.range_end, self.revision);
            match kvs.is_empty() {
                true if compare.target == 3 => false,
                true => holds(compare, &KeyValue::default()),
                false => kvs.iter().all(|kv| holds(compare, kv)),
            }
        })
    }

    /// Tries the writes on a copy, and looks what is there before each put.
    fn check_puts(&self, taken: &[RequestOp]) -> Result<(), ApiError> {
        let mut copy = self.clone();
        let revision = self.revision + 1;
        for op in taken {
            match &op.request {
                Some(Request::RequestPut(put)) => {
                    let exists = copy.state(revision).contains_key(&put.key);
                    if (put.ignore_value || put.ignore_lease) && !exists {
                        return Err(ApiError::KeyNotFound);
                    }
                    if put.lease != 0 && put.lease != self.lease {
                        return Err(ApiError::LeaseNotFound);
                    }
                    copy.write_put(put, revision);
                }
                Some(Request::RequestDeleteRange(delete)) => {
                    copy.write_delete(delete, revision, 0);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_ranges(&self, taken: &[RequestOp]) -> Result<(), ApiError> {
        for op in taken {
            let Some(Request::RequestRange(range)) = &op.request else { continue };
            if range.revision > self.revision {
                return Err(ApiError::FutureRevision);
            }
            if range.revision != 0 && range.revision < self.compacted {
                return Err(ApiError::Compacted);
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, before: &Model, request: &TxnRequest, revision: i64) -> TxnResponse {
        let succeeded = before.succeeds(request);
        let mut responses = Vec::new();
        for op in before.branch(request) {
            let response = match op.request.as_ref().expect("checked") {
                Request::RequestRange(range) => {
                    let at = if range.revision > 0 { range.revision } else { self.revision };
                    Response::ResponseRange(self.read(range, at))
                }
                Request::RequestPut(put) => {
                    let (response, revision) = self.write_put(put, revision);
                    self.revision = revision;
                    Response::ResponsePut(response)
                }
                Request::RequestDeleteRange(delete) => {
                    let (response, revision) = self.write_delete(delete, revision, self.revision);
                    self.revision = revision;
                    Response::ResponseDeleteRange(response)
                }
                Request::RequestTxn(nested) => {
                    Response::ResponseTxn(self.carry_out(before, nested, revision))
                }
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        TxnResponse { header: Some(ResponseHeader::default()), succeeded, responses }
    }

    /// The events of a revision above the compaction.
    pub(super) fn events(&self, revision: i64) -> Vec<Event> {
        let mut events = Vec::new();
        for (place, write) in self.writes.iter().enumerate() {
            if write.mod_revision == revision {
                let mut earlier = self.writes[..place].iter().rev();
                let before = earlier.find(|before| before.key == write.key && before.mod_revision < revision);
                let is_new = write.version > 0 && write.create_revision == revision;
                let prev_kv = before.filter(|before| before.version > 0 && !is_new).cloned();
                let kind = i32::from(write.version == 0);
                events.push(Event { r#type: kind, kv: Some(write.clone()), prev_kv });
            }
        }
        events
    }

    /// All writes that can be seen at or above the compaction: the newest of each key up to it, unless it is
    /// a deletion below it, and everything behind it.
    pub(super) fn visible(&self) -> Vec<&KeyValue> {
        let is_visible = |place: usize, write: &KeyValue| {
            let superseded = self.writes[place + 1..]
                .iter()
                .any(|later| later.key == write.key && later.mod_revision <= self.compacted);
            !superseded && (write.version > 0 || write.mod_revision >= self.compacted)
        };
        self.writes
            .iter()
            .enumerate()
            .filter(|(place, write)| is_visible(*place, write))
            .map(|(_, w)| w)
            .collect()
    }
}

/// What is wrong with an operation, whatever the store holds.
fn check(op: &RequestOp) -> Result<(), ApiError> {
    match op.request.as_ref().ok_or(ApiError::KeyNotFound)? {
        Request::RequestRange(range) if range.key.is_empty() => Err(ApiError::EmptyKey),
        Request::RequestRange(range)
            if !(0..=2).contains(&range.sort_order) || !(0..=4).contains(&range.sort_target) =>
        {
            Err(ApiError::InvalidSortOption)
        }
        Request::RequestPut(put) if put.key.is_empty() => Err(ApiError::EmptyKey),
        Request::RequestPut(put) if put.ignore_value && !put.value.is_empty() => Err(ApiError::ValueProvided),
        Request::RequestPut(put) if put.ignore_lease && put.lease != 0 => Err(ApiError::LeaseProvided),
        Request::RequestDeleteRange(delete) if delete.key.is_empty() => Err(ApiError::EmptyKey),
        _ => Ok(()),
    }
}

fn holds(compare: &Compare, kv: &KeyValue) -> bool {
    let number =
        |wanted: fn(&TargetUnion) -> Option<i64>| compare.target_union.as_ref().and_then(wanted).unwrap_or(0);
    let ordering = match compare.target {
        0 => kv.version.cmp(&number(|u| if let TargetUnion::Version(n) = u { Some(*n) } else { None })),
        1 => kv
            .create_revision
            .cmp(&number(|u| if let TargetUnion::CreateRevision(n) = u { Some(*n) } else { None })),
        2 => kv
            .mod_revision
            .cmp(&number(|u| if let TargetUnion::ModRevision(n) = u { Some(*n) } else { None })),
        3 => match &compare.target_union {
            Some(TargetUnion::Value(value)) => kv.value.cmp(value),
            _ => kv.value.cmp(&Bytes::new()),
        },
        4 => kv.lease.cmp(&number(|u| if let TargetUnion::Lease(n) = u { Some(*n) } else { None })),
        _ => Ordering::Equal,
    };
    match compare.result {
        0 => ordering == Ordering::Equal,
        1 => ordering == Ordering::Greater,
        2 => ordering == Ordering::Less,
        3 => ordering != Ordering::Equal,
        _ => true,
    }
}
