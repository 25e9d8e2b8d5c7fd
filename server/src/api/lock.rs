//! The Lock service: mutual exclusion for clients without a library.
//!
//! A lock is held as long as its key exists, and no longer than the lease lives that the key hangs from. The
//! holder does not notice the end of the lease while it is paused or cut off, so by itself a lock does not keep
//! two from acting at once, here as on etcd. What does is a fence: let everything that is done under the lock
//! be refused once the lock is lost. For writes to the same store, do them in transactions that compare the
//! lock's key: `create_revision(key) = R`, R being that of the key when the lock was taken. Elsewhere, hand R
//! along: it grows from holder to holder, so whoever has seen a larger one refuses a smaller.

use super::{Api, turn::Waiting};
use crate::{
    backend::Backend,
    proto::{
        etcdserverpb::{DeleteRangeRequest, RangeRequest},
        v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server::Lock},
    },
};
use bytes::Bytes;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The lease ended before the lock was had. As etcd's client library says it, which etcd's server uses.
const EXPIRED: &str = "mutex: session is expired";

/// Takes the lock; waits until it is free.
///
/// # Errors
/// As etcd, all of them with the code `Unknown`: the lease does not exist, or ended while waiting; no leader.
pub(crate) async fn lock<B: Backend>(
    api: &Arc<Api<B>>,
    request: LockRequest,
) -> Result<LockResponse, Status> {
    let place = api.take_place(&request.name, request.lease, Bytes::new()).await.map_err(super::unknown)?;
    let waiting = Waiting::new(api, &place);
    api.wait_turn(&place).await.map_err(super::unknown)?;
    // The lease may have ended meanwhile.
    let own = RangeRequest { key: place.key.clone(), ..RangeRequest::default() };
    let own = api.range(own).await.map_err(super::unknown)?;
    if own.kvs.first().is_none_or(|kv| kv.create_revision != place.created) {
        return Err(Status::unknown(EXPIRED));
    }
    waiting.keep();
    Ok(LockResponse { header: own.header, key: place.key })
}

/// Gives the lock up. That it is not held is no error.
///
/// # Errors
/// As etcd, with the code `Unknown`.
pub(crate) async fn unlock<B: Backend>(
    api: &Arc<Api<B>>,
    request: UnlockRequest,
) -> Result<UnlockResponse, Status> {
    let delete = DeleteRangeRequest { key: request.key, ..DeleteRangeRequest::default() };
    let deleted = api.delete_range(delete).await.map_err(super::unknown)?;
    Ok(UnlockResponse { header: deleted.header })
}

/// The service as gRPC sees it.
#[derive(Debug)]
pub(super) struct LockService<B>(pub(super) Arc<Api<B>>);

#[tonic::async_trait]
impl<B: Backend> Lock for LockService<B> {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        lock(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        unlock(&self.0, request.into_inner()).await.map(Response::new)
    }
}
