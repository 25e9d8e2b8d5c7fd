//! Whether somebody may do something.

use super::{AuthStore, ROOT, range};
use crate::{
    error::ApiError,
    proto::{
        etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op},
        internal::command::Request,
    },
};

/// In whose name something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The server's own.
    Server,
    /// Nobody's: no user was named.
    Nobody,
    /// A user's, as of a revision of the users and roles.
    User {
        /// The name.
        name: String,
        /// The revision.
        revision: u64,
    },
}

/// What must be permitted for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs<'a> {
    /// To be known.
    User,
    /// Everything.
    Root,
    /// To read these keys.
    Read(&'a [u8], &'a [u8]),
    /// To write these keys.
    Write(&'a [u8], &'a [u8]),
    /// To write the keys of this lease.
    WriteLease(i64),
    /// To read the keys of this lease.
    ReadLease(i64),
}

impl AuthStore {
    /// Whether all that is needed is permitted. `keys_of` gives the keys of a lease.
    ///
    /// # Errors
    /// [`ApiError::UserEmpty`] to nobody, [`ApiError::AuthOldRevision`] to who was looked at before users or
    /// roles changed, [`ApiError::PermissionDenied`].
    pub fn check<'a>(
        &self,
        principal: &Principal,
        needs: impl IntoIterator<Item = Needs<'a>>,
        keys_of: impl Fn(i64) -> Vec<Vec<u8>>,
    ) -> Result<(), ApiError> {
        if !self.enabled {
            return Ok(());
        }
        let (name, revision) = match principal {
            Principal::Server => return Ok(()),
            Principal::Nobody => return Err(ApiError::UserEmpty),
            Principal::User { name, revision } => (name, *revision),
        };
        if revision < self.revision {
            return Err(ApiError::AuthOldRevision);
        }
        let user = self.user(name).ok_or(ApiError::PermissionDenied)?;
        if user.roles.contains(ROOT) {
            return Ok(());
        }
        let covers =
            |write, key: &[u8], end: &[u8]| range::covers(self.permissions_of(user), write, key, end);
        let permitted = needs.into_iter().all(|needs| match needs {
            Needs::User => true,
            Needs::Root => false,
            Needs::Read(key, end) => covers(false, key, end),
            Needs::Write(key, end) => covers(true, key, end),
            Needs::WriteLease(lease) => keys_of(lease).iter().all(|key| covers(true, key, &[])),
            Needs::ReadLease(lease) => keys_of(lease).iter().all(|key| covers(false, key, &[])),
        });
        if permitted { Ok(()) } else { Err(ApiError::PermissionDenied) }
    }
}

/// What must be permitted for a command.
pub fn needs_of(request: &Request) -> Vec<Needs<'_>> {
    let mut needs = vec![Needs::User];
    match request {
        Request::Put(put) => put_needs(put, &mut needs),
        Request::DeleteRange(delete) => {
            needs.push(Needs::Write(&delete.key, &delete.range_end));
            if delete.prev_kv {
                needs.push(Needs::Read(&delete.key, &delete.range_end));
            }
        }
        Request::Txn(txn) => txn_needs(txn, &mut needs),
        Request::LeaseGrant(_) => {}
        Request::LeaseRevoke(revoke) => needs.push(Needs::WriteLease(revoke.id)),
        Request::LeaseExpire(_)
        | Request::Compaction(_)
        | Request::MemberAttributes(_)
        | Request::MemberAdd(_)
        | Request::MemberRemove(_)
        | Request::MemberUpdate(_)
        | Request::MemberPromote(_)
        | Request::Alarm(_)
        | Request::Downgrade(_)
        | Request::Auth(_) => needs.push(Needs::Root),
    }
    needs
}

/// What must be permitted for a range.
pub fn range_needs<'a>(range: &'a RangeRequest, needs: &mut Vec<Needs<'a>>) {
    needs.push(Needs::Read(&range.key, &range.range_end));
}

fn put_needs<'a>(put: &'a PutRequest, needs: &mut Vec<Needs<'a>>) {
    needs.push(Needs::Write(&put.key, &[]));
    if put.prev_kv {
        needs.push(Needs::Read(&put.key, &[]));
    }
    if put.lease != 0 {
        // Who may attach a key to a lease may have the lease's other keys deleted with it.
        needs.push(Needs::WriteLease(put.lease));
    }
}

/// What must be permitted for a transaction: both of its branches.
pub fn txn_needs<'a>(txn: &'a TxnRequest, needs: &mut Vec<Needs<'a>>) {
    needs.extend(txn.compare.iter().map(|Compare { key, range_end, .. }| Needs::Read(key, range_end)));
    for RequestOp { request } in txn.success.iter().chain(&txn.failure) {
        match request {
            Some(request_op::Request::RequestRange(range)) => range_needs(range, needs),
            Some(request_op::Request::RequestPut(put)) => put_needs(put, needs),
            Some(request_op::Request::RequestDeleteRange(delete)) => {
                needs.push(Needs::Write(&delete.key, &delete.range_end));
                if delete.prev_kv {
                    needs.push(Needs::Read(&delete.key, &delete.range_end));
                }
            }
            Some(request_op::Request::RequestTxn(nested)) => txn_needs(nested, needs),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::DeleteRangeRequest;

    fn op(request: request_op::Request) -> RequestOp {
        RequestOp { request: Some(request) }
    }

    #[test]
    fn nothing_in_a_transaction_is_overlooked() {
        let put = PutRequest { key: "p".into(), prev_kv: true, lease: 7, ..PutRequest::default() };
        let delete = DeleteRangeRequest { key: "d".into(), range_end: "e".into(), prev_kv: true };
        let range = RangeRequest { key: "r".into(), ..RangeRequest::default() };
        let nested = TxnRequest {
            compare: vec![Compare { key: "c".into(), ..Compare::default() }],
            success: vec![op(request_op::Request::RequestPut(put))],
            failure: vec![op(request_op::Request::RequestDeleteRange(delete))],
        };
        let txn = TxnRequest {
            failure: vec![
                op(request_op::Request::RequestTxn(nested)),
                op(request_op::Request::RequestRange(range)),
            ],
            ..TxnRequest::default()
        };
        assert_eq!(
            needs_of(&Request::Txn(txn)),
            [
                Needs::User,
                Needs::Read(b"c", b""),
                Needs::Write(b"p", b""),
                Needs::Read(b"p", b""),
                Needs::WriteLease(7),
                Needs::Write(b"d", b"e"),
                Needs::Read(b"d", b"e"),
                Needs::Read(b"r", b""),
            ]
        );
    }
}
