//! Taking turns by keys under a common prefix: what locks and elections are made of.
//!
//! Whoever wants the turn puts a key of its own under the prefix, named by its lease and hanging from it. The
//! key that was created first has the turn; the others wait until every key that was created before theirs is
//! gone. Each waits for its predecessor alone, so a turn that ends wakes one.

use super::{Api, streams::End, watch::Session};
use crate::{
    backend::Backend,
    error::ApiError,
    proto::{
        etcdserverpb::{
            Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp,
            ResponseHeader, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
            compare::{CompareResult, CompareTarget, TargetUnion},
            range_request::{SortOrder, SortTarget},
            request_op::Request,
            response_op::Response,
            watch_request::RequestUnion,
        },
        mvccpb::KeyValue,
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use std::sync::Arc;
use tonic::Status;

/// TTL of the lease that is granted to who brings none, in seconds. As etcd.
const OWN_TTL_S: i64 = 60;

/// A place in the queue under a prefix.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) prefix: Bytes,
    pub(super) key: Bytes,
    pub(super) lease: i64,
    /// Creation revision of the key.
    pub(super) created: i64,
    /// The key, if it was there before.
    pub(super) found: Option<KeyValue>,
    /// Of the answer that gave the place.
    pub(super) header: Option<ResponseHeader>,
}

/// The prefix of a name.
pub(super) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The first key behind a prefix, which is not empty and does not end with the largest byte.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// True if the key was created at this revision; 0: if it does not exist.
pub(super) fn created_at(key: &Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Compare::default()
    }
}

/// An operation of a transaction.
pub(super) fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// The key of a range that was created first, or last.
fn outermost(prefix: &Bytes, order: SortOrder, max_create_revision: i64) -> RangeRequest {
    RangeRequest {
        key: prefix.clone(),
        range_end: prefix_end(prefix),
        limit: 1,
        sort_order: order.into(),
        sort_target: SortTarget::Create.into(),
        max_create_revision,
        ..RangeRequest::default()
    }
}

/// The first pair that an operation of a transaction found.
fn found(response: &TxnResponse, at: usize) -> Option<&KeyValue> {
    match response.responses.get(at)?.response.as_ref()? {
        Response::ResponseRange(range) => range.kvs.first(),
        Response::ResponsePut(_) | Response::ResponseDeleteRange(_) | Response::ResponseTxn(_) => None,
    }
}

/// A lease's identity as etcd's keys have it: with a sign, where it has one.
fn hex(lease: i64) -> String {
    let sign = if lease < 0 { "-" } else { "" };
    format!("{sign}{:x}", lease.unsigned_abs())
}

impl<B: Backend> Api<B> {
    /// Puts the caller's key under the prefix, unless it is there.
    ///
    /// # Errors
    /// What refuses the key, such as a lease that does not exist, or why the outcome is not known.
    pub(super) async fn take_place(&self, name: &[u8], lease: i64, value: Bytes) -> Result<Place, ApiError> {
        let lease = match lease {
            0 => self.lease_grant(LeaseGrantRequest { ttl: OWN_TTL_S, id: 0 }).await?.id,
            lease => lease,
        };
        let prefix = prefix(name);
        let key: Bytes = [&prefix[..], hex(lease).as_bytes()].concat().into();
        let put = PutRequest { key: key.clone(), value, lease, ..PutRequest::default() };
        let get = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let response = self
            .txn(TxnRequest {
                compare: vec![created_at(&key, 0)],
                success: vec![op(Request::RequestPut(put))],
                failure: vec![op(Request::RequestRange(get))],
            })
            .await?;
        let found = found(&response, 0).cloned();
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        let created = found.as_ref().map_or(revision, |kv| kv.create_revision);
        Ok(Place { prefix, key, lease, created, found, header: response.header })
    }

    /// Waits until all keys under the prefix that were created before this place's are gone.
    ///
    /// # Errors
    /// Why it cannot be known.
    pub(super) async fn wait_turn(self: &Arc<Self>, place: &Place) -> Result<(), ApiError> {
        loop {
            let before = outermost(&place.prefix, SortOrder::Descend, place.created - 1);
            let response = self.range(before).await?;
            let Some(predecessor) = response.kvs.into_iter().next() else { return Ok(()) };
            let from = response.header.map_or(0, |header| header.revision) + 1;
            let mut events = self.follow(predecessor.key, Bytes::new(), from);
            // It ends without the deletion where history was compacted: another look helps.
            while let Some(answer) = events.next().await {
                if answer?.events.iter().any(|event| event.r#type != 0) {
                    break;
                }
            }
        }
    }

    /// The pair that has the turn under a prefix, and the header of the answer.
    ///
    /// # Errors
    /// Why it cannot be known.
    pub(super) async fn whose_turn(
        &self,
        prefix: &Bytes,
    ) -> Result<(Option<ResponseHeader>, Option<KeyValue>), ApiError> {
        let response = self.range(outermost(prefix, SortOrder::Ascend, 0)).await?;
        Ok((response.header, response.kvs.into_iter().next()))
    }

    /// What happens to keys from a revision on; ends where that has been compacted.
    pub(super) fn follow(
        self: &Arc<Self>,
        key: Bytes,
        range_end: Bytes,
        from: i64,
    ) -> impl Stream<Item = Result<WatchResponse, ApiError>> + Send + Unpin + use<B> {
        let create =
            WatchCreateRequest { key, range_end, start_revision: from, ..WatchCreateRequest::default() };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests = stream::iter([Ok::<_, Status>(request)]);
        let session = Session::new(Arc::clone(self), requests, End::new(self, false));
        let answers = session.into_stream().map(|answer| match answer {
            Ok(answer) => Ok(answer.to_message()),
            // There is nobody to send anything wrong, so this is the server's own end.
            Err(_) => Err(ApiError::Stopped),
        });
        let ends = |answer: &Result<WatchResponse, ApiError>| {
            std::future::ready(!matches!(answer, Ok(answer) if answer.canceled))
        };
        Box::pin(answers.take_while(ends))
    }

    /// Follows all keys under a prefix.
    pub(super) fn follow_prefix(
        self: &Arc<Self>,
        prefix: &Bytes,
        from: i64,
    ) -> impl Stream<Item = Result<WatchResponse, ApiError>> + Send + Unpin + use<B> {
        self.follow(prefix.clone(), prefix_end(prefix), from)
    }
}

/// Gives a place up when its owner gives up waiting, be it by an error or because its client is gone.
pub(super) struct Waiting<B: Backend> {
    api: Arc<Api<B>>,
    place: Option<Place>,
}

impl<B: Backend> Waiting<B> {
    pub(super) fn new(api: &Arc<Api<B>>, place: &Place) -> Waiting<B> {
        Waiting { api: Arc::clone(api), place: Some(place.clone()) }
    }

    /// The place is its owner's to keep.
    pub(super) fn keep(mut self) {
        self.place = None;
    }
}

impl<B: Backend> Drop for Waiting<B> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let api = Arc::clone(&self.api);
        let delete = DeleteRangeRequest { key: place.key.clone(), ..DeleteRangeRequest::default() };
        let give_up = TxnRequest {
            compare: vec![created_at(&place.key, place.created)],
            success: vec![op(Request::RequestDeleteRange(delete))],
            failure: Vec::new(),
        };
        tokio::spawn(async move {
            if let Err(error) = api.txn(give_up).await {
                tracing::debug!(?error, "a place in a queue is left to its lease");
            }
        });
    }
}
