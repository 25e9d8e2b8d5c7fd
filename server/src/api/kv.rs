//! The KV service.

use super::{Api, validate};
use crate::{
    alarm,
    auth::{self, Needs},
    backend::Backend,
    error::ApiError,
    mvcc::is_read_only,
    proto::{
        etcdserverpb::{
            AlarmRequest, AlarmType, CompactionRequest, CompactionResponse, DeleteRangeRequest,
            DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, TxnRequest,
            TxnResponse, alarm_request::AlarmAction, kv_server::Kv, request_op,
        },
        internal::command::Request,
    },
    state_machine::Response,
};
use std::time::Duration;
use tonic::Status;

/// What etcd wraps around a request before it measures it: a header with a number of nine or, as here, ten
/// bytes.
const ENVELOPE_BYTES: usize = 14;

/// How often a physical compaction looks whether it is done.
const SCRUB_POLL: Duration = Duration::from_millis(2);

impl<B: Backend> Api<B> {
    /// Reads keys: linearizably, or what this member has if the request says `serializable`.
    ///
    /// # Errors
    /// What is wrong with the request, or why no quorum confirmed the read. A read never has an effect.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, ApiError> {
        validate::range(&request)?;
        if !request.serializable {
            if self.backend.status().is_learner {
                return Err(ApiError::NotForLearner);
            }
            self.backend.read_index().await?;
        }
        let mut response = {
            let state = self.backend.state();
            let mut needs = Vec::new();
            auth::range_needs(&request, &mut needs);
            self.permit(&state, needs)?;
            state.kv().range(&request)?
        };
        self.complete(&mut response.header);
        Ok(response)
    }

    /// Writes a key.
    ///
    /// # Errors
    /// What is wrong with the request, or why its outcome is not known.
    pub async fn put(&self, request: PutRequest) -> Result<PutResponse, ApiError> {
        validate::put(&request)?;
        match self.propose(Request::Put(request)).await? {
            Response::Put(mut response) => {
                self.complete(&mut response.header);
                Ok(response)
            }
            other => panic!("a put was answered with {other:?}"),
        }
    }

    /// Deletes keys.
    ///
    /// # Errors
    /// What is wrong with the request, or why its outcome is not known.
    pub async fn delete_range(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, ApiError> {
        validate::delete_range(&request)?;
        match self.propose(Request::DeleteRange(request)).await? {
            Response::DeleteRange(mut response) => {
                self.complete(&mut response.header);
                Ok(response)
            }
            other => panic!("a deletion was answered with {other:?}"),
        }
    }

    /// Carries out a transaction. One that cannot write is evaluated here, and without a quorum if all that
    /// it does is to read serializably.
    ///
    /// # Errors
    /// What is wrong with the request, or why its outcome is not known.
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, ApiError> {
        validate::txn(&request, self.limits.max_txn_ops)?;
        let mut response = if is_read_only(&request) {
            if !is_serializable(&request) {
                self.backend.read_index().await?;
            }
            let state = self.backend.state();
            let mut needs = vec![Needs::User];
            auth::txn_needs(&request, &mut needs);
            self.permit(&state, needs)?;
            state.kv().read_txn(&request)?
        } else {
            match self.propose(Request::Txn(request)).await? {
                Response::Txn(response) => response,
                other => panic!("a transaction was answered with {other:?}"),
            }
        };
        self.complete(&mut response.header);
        Ok(response)
    }

    /// Forgets history. A `physical` compaction is answered once this member has freed the memory.
    ///
    /// # Errors
    /// [`ApiError::Compacted`], [`ApiError::FutureRevision`], or why the outcome is not known.
    pub async fn compact(&self, request: CompactionRequest) -> Result<CompactionResponse, ApiError> {
        let mut response = match self.propose(Request::Compaction(request)).await? {
            Response::Compaction(response) => response,
            other => panic!("a compaction was answered with {other:?}"),
        };
        while request.physical && !self.backend.state().kv().compaction_done() {
            tokio::time::sleep(SCRUB_POLL).await;
        }
        self.complete(&mut response.header);
        Ok(response)
    }

    /// Replicates a client's request, unless it is too large, or the store is.
    pub(super) async fn propose(&self, request: Request) -> Result<Response, ApiError> {
        if request.encoded_len() + ENVELOPE_BYTES > self.limits.max_request_bytes {
            return Err(ApiError::RequestTooLarge);
        }
        let cost = alarm::cost_bytes(&request);
        if cost > 0 && self.limits.quota_bytes.is_some_and(|quota| self.backend.size_bytes() + cost > quota) {
            self.raise_no_space().await;
            return Err(ApiError::NoSpace);
        }
        self.backend.propose_as(request, self.proposer()?).await
    }

    /// Tells the cluster that this member is full, unless it knows.
    async fn raise_no_space(&self) {
        let member_id = self.backend.status().id.0;
        let known = self.backend.state().alarms().list(AlarmType::Nospace);
        if known.iter().any(|alarm| alarm.member_id == member_id) {
            return;
        }
        tracing::warn!(quota_bytes = self.limits.quota_bytes, "the store has reached its quota");
        let (action, alarm) = (AlarmAction::Activate.into(), AlarmType::Nospace.into());
        let raise = Request::Alarm(AlarmRequest { action, member_id, alarm });
        if let Err(error) = self.backend.propose(raise).await {
            tracing::warn!(?error, "cannot raise the alarm; the next write that is refused tries again");
        }
    }
}

/// Whether all operations are serializable reads, and there is one. etcd says yes to a transaction that
/// only compares, and answers it from a state that may be old; nobody asked it to, so here it is confirmed.
fn is_serializable(request: &TxnRequest) -> bool {
    let serializable = |op: &RequestOp| match &op.request {
        Some(request_op::Request::RequestRange(range)) => range.serializable,
        Some(request_op::Request::RequestTxn(nested)) => is_serializable(nested),
        Some(request_op::Request::RequestPut(_) | request_op::Request::RequestDeleteRange(_)) | None => false,
    };
    let mut ops = request.success.iter().chain(&request.failure).peekable();
    ops.peek().is_some() && ops.all(serializable)
}

#[tonic::async_trait]
impl<B: Backend> Kv for Api<B> {
    async fn range(
        &self,
        request: tonic::Request<RangeRequest>,
    ) -> Result<tonic::Response<RangeResponse>, Status> {
        Ok(tonic::Response::new(self.range(request.into_inner()).await?))
    }

    async fn put(&self, request: tonic::Request<PutRequest>) -> Result<tonic::Response<PutResponse>, Status> {
        Ok(tonic::Response::new(self.put(request.into_inner()).await?))
    }

    async fn delete_range(
        &self,
        request: tonic::Request<DeleteRangeRequest>,
    ) -> Result<tonic::Response<DeleteRangeResponse>, Status> {
        Ok(tonic::Response::new(self.delete_range(request.into_inner()).await?))
    }

    async fn txn(&self, request: tonic::Request<TxnRequest>) -> Result<tonic::Response<TxnResponse>, Status> {
        Ok(tonic::Response::new(self.txn(request.into_inner()).await?))
    }

    async fn compact(
        &self,
        request: tonic::Request<CompactionRequest>,
    ) -> Result<tonic::Response<CompactionResponse>, Status> {
        Ok(tonic::Response::new(self.compact(request.into_inner()).await?))
    }
}
