//! What is wrong with the cluster, as its members have agreed: part of the replicated state.
//!
//! An alarm lasts until somebody disarms it, also when its cause is gone.

use crate::{
    error::ApiError,
    proto::{
        etcdserverpb::{
            AlarmMember, AlarmRequest, AlarmType, RequestOp, alarm_request::AlarmAction, request_op,
        },
        internal::command::Request,
    },
};
use std::collections::BTreeSet;

/// What etcd counts for a key beside its bytes and those of its value.
const KEY_COST_BYTES: u64 = 256;
/// What etcd counts for a lease.
const LEASE_COST_BYTES: u64 = 64;

/// The alarms that are active: kind and member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms(BTreeSet<(i32, u64)>);

impl Alarms {
    /// From what [`Alarms::list`] gives.
    pub fn from_list(list: &[AlarmMember]) -> Alarms {
        Alarms(list.iter().map(|alarm| (alarm.alarm, alarm.member_id)).collect())
    }

    /// The active alarms of a kind, or all.
    pub fn list(&self, kind: AlarmType) -> Vec<AlarmMember> {
        let of_kind = |alarm: &&(i32, u64)| kind == AlarmType::None || alarm.0 == i32::from(kind);
        let alarm = |(alarm, member_id): &(i32, u64)| AlarmMember { member_id: *member_id, alarm: *alarm };
        self.0.iter().filter(of_kind).map(alarm).collect()
    }

    /// Whether any member has an alarm of this kind.
    pub fn has(&self, kind: AlarmType) -> bool {
        self.0.iter().any(|(alarm, _)| *alarm == i32::from(kind))
    }

    /// Carries out a request, and gives the alarms that it speaks of.
    pub fn apply(&mut self, request: &AlarmRequest) -> Vec<AlarmMember> {
        let kind = AlarmType::try_from(request.alarm).unwrap_or(AlarmType::None);
        let alarm = (i32::from(kind), request.member_id);
        let told = vec![AlarmMember { member_id: request.member_id, alarm: alarm.0 }];
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => self.list(kind),
            Ok(AlarmAction::Activate) if kind != AlarmType::None => {
                self.0.insert(alarm);
                told
            }
            Ok(AlarmAction::Deactivate) if self.0.remove(&alarm) => told,
            Ok(AlarmAction::Activate | AlarmAction::Deactivate) | Err(_) => Vec::new(),
        }
    }

    /// Why the active alarms forbid a command, if they do.
    ///
    /// # Errors
    /// [`ApiError::Corrupt`] for whatever touches keys while members differ, [`ApiError::NoSpace`] for what
    /// would take space.
    pub fn check(&self, request: &Request) -> Result<(), ApiError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let touches_keys = matches!(
            request,
            Request::Put(_)
                | Request::DeleteRange(_)
                | Request::Txn(_)
                | Request::Compaction(_)
                | Request::LeaseGrant(_)
                | Request::LeaseRevoke(_)
        );
        if touches_keys && self.has(AlarmType::Corrupt) {
            return Err(ApiError::Corrupt);
        }
        if cost_bytes(request) > 0 && self.has(AlarmType::Nospace) {
            return Err(ApiError::NoSpace);
        }
        Ok(())
    }
}

/// What a command may add to the store, as etcd counts it; 0 for one that frees space or leaves it.
pub fn cost_bytes(request: &Request) -> u64 {
    match request {
        Request::Put(put) => pair_bytes(&put.key, &put.value),
        Request::Txn(txn) => branch_bytes(&txn.success).max(branch_bytes(&txn.failure)),
        // As etcd counts a lease.
        Request::LeaseGrant(_) => LEASE_COST_BYTES,
        Request::DeleteRange(_)
        | Request::LeaseRevoke(_)
        | Request::LeaseExpire(_)
        | Request::Compaction(_)
        | Request::MemberAttributes(_)
        | Request::MemberAdd(_)
        | Request::MemberRemove(_)
        | Request::MemberUpdate(_)
        | Request::MemberPromote(_)
        | Request::Alarm(_)
        | Request::Downgrade(_)
        | Request::Auth(_) => 0,
    }
}

fn pair_bytes(key: &[u8], value: &[u8]) -> u64 {
    KEY_COST_BYTES + key.len() as u64 + value.len() as u64
}

fn branch_bytes(ops: &[RequestOp]) -> u64 {
    let cost = |op: &RequestOp| match &op.request {
        Some(request_op::Request::RequestPut(put)) => pair_bytes(&put.key, &put.value),
        Some(request_op::Request::RequestTxn(txn)) => {
            branch_bytes(&txn.success).max(branch_bytes(&txn.failure))
        }
        Some(request_op::Request::RequestRange(_) | request_op::Request::RequestDeleteRange(_)) | None => 0,
    };
    ops.iter().map(cost).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::{CompactionRequest, DeleteRangeRequest, PutRequest, TxnRequest};

    fn request(action: AlarmAction, member_id: u64, alarm: AlarmType) -> AlarmRequest {
        AlarmRequest { action: action.into(), member_id, alarm: alarm.into() }
    }

    #[test]
    fn alarms_are_raised_listed_and_disarmed_one_by_one() {
        use AlarmAction::{Activate, Deactivate, Get};
        use AlarmType::{Corrupt, None, Nospace};
        let mut alarms = Alarms::default();
        let told = |kind: AlarmType, member_id| vec![AlarmMember { member_id, alarm: kind.into() }];
        for (request, want, why) in [
            (request(Deactivate, 1, Nospace), vec![], "there is none"),
            (request(Activate, 1, None), vec![], "no kind"),
            (request(Activate, 1, Nospace), told(Nospace, 1), "raised"),
            (request(Activate, 1, Nospace), told(Nospace, 1), "again: the same"),
            (request(Activate, 2, Corrupt), told(Corrupt, 2), "another"),
            (request(Get, 0, Corrupt), told(Corrupt, 2), "of a kind"),
            (request(Get, 0, None), [told(Nospace, 1), told(Corrupt, 2)].concat(), "all"),
            (request(Deactivate, 2, Nospace), vec![], "of another member"),
            (request(Deactivate, 1, Nospace), told(Nospace, 1), "disarmed"),
            (AlarmRequest { action: 9, ..AlarmRequest::default() }, vec![], "unknown"),
        ] {
            assert_eq!(alarms.apply(&request), want, "{why}");
        }
        assert_eq!(Alarms::from_list(&alarms.list(None)), alarms);
    }

    #[test]
    fn an_alarm_forbids_what_makes_it_worse() {
        let put = PutRequest { key: "k".into(), value: "four".into(), ..PutRequest::default() };
        let op = RequestOp { request: Some(request_op::Request::RequestPut(put.clone())) };
        let inner = TxnRequest { success: vec![op.clone()], ..TxnRequest::default() };
        let nested = RequestOp { request: Some(request_op::Request::RequestTxn(inner)) };
        let txn = TxnRequest { failure: vec![op, nested], ..TxnRequest::default() };
        let requests = [
            (Request::Put(put), 261, Err(ApiError::NoSpace)),
            (Request::Txn(txn), 522, Err(ApiError::NoSpace)),
            (Request::Txn(TxnRequest::default()), 0, Ok(())),
            (Request::DeleteRange(DeleteRangeRequest::default()), 0, Ok(())),
            (Request::Compaction(CompactionRequest::default()), 0, Ok(())),
        ];
        let mut alarms = Alarms::default();
        for (request, cost, _) in &requests {
            assert_eq!((cost_bytes(request), alarms.check(request)), (*cost, Ok(())));
        }
        alarms.apply(&request(AlarmAction::Activate, 1, AlarmType::Nospace));
        for (request, _, want) in &requests {
            assert_eq!(alarms.check(request), *want, "{request:?}");
        }
        alarms.apply(&request(AlarmAction::Activate, 1, AlarmType::Corrupt));
        for (request, ..) in &requests {
            assert_eq!(alarms.check(request), Err(ApiError::Corrupt), "{request:?}");
        }
    }
}
