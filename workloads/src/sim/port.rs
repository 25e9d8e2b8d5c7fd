//! Where clients meet a simulated member: its API, in place of a connection.

use super::{door::Door, time::SimTime};
use crate::driver::{Answer, Clock, DriverError, Port, Responses};
use server::{
    api::{Api, Limits},
    error::ApiError,
    proto::etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest,
        LeaseGrantResponse, LeaseRevokeRequest, LeaseRevokeResponse, PutRequest, PutResponse, RangeRequest,
        RangeResponse, TxnRequest, TxnResponse, WatchRequest, WatchResponse,
    },
};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::Status;

/// A member's front: which door is open behind it changes with every life of the member. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Front(Arc<Mutex<Option<Arc<Api<Door>>>>>);

impl Front {
    /// Opens it.
    pub(super) fn open(&self, door: Door) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::new(Api::new(door, Limits::default())));
    }

    /// The API, where the member takes requests.
    fn api(&self) -> Result<Arc<Api<Door>>, DriverError> {
        let api = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        api.filter(|api| api.backend().is_serving())
            .ok_or_else(|| DriverError::Refused { text: "simulated: not serving".into() })
    }
}

/// The API of a member, as the driver's client sees it.
pub(super) struct SimPort {
    front: Front,
    time: SimTime,
    /// How long a call may take.
    deadline: Duration,
}

impl SimPort {
    pub(super) fn new(front: Front, time: SimTime, deadline: Duration) -> SimPort {
        SimPort { front, time, deadline }
    }

    fn call<T: Send + 'static, F: Future<Output = Result<T, ApiError>> + Send + 'static>(
        &self,
        call: impl FnOnce(Arc<Api<Door>>) -> F,
    ) -> Answer<T> {
        let api = match self.front.api() {
            Ok(api) => api,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        let answer = call(api);
        let (clock, deadline) = (self.clock(), self.deadline);
        Box::pin(async move {
            match clock.timeout_at(clock.now() + deadline, answer).await {
                Some(answer) => answer.map_err(|error| DriverError::from_status(&Status::from(error))),
                None => Err(DriverError::Deadline {
                    after_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
                }),
            }
        })
    }
}

impl Port for SimPort {
    fn range(&self, request: RangeRequest) -> Answer<RangeResponse> {
        self.call(|api| async move { api.range(request).await })
    }

    fn put(&self, request: PutRequest) -> Answer<PutResponse> {
        self.call(|api| async move { api.put(request).await })
    }

    fn delete_range(&self, request: DeleteRangeRequest) -> Answer<DeleteRangeResponse> {
        self.call(|api| async move { api.delete_range(request).await })
    }

    fn txn(&self, request: TxnRequest) -> Answer<TxnResponse> {
        self.call(|api| async move { api.txn(request).await })
    }

    fn compact(&self, request: CompactionRequest) -> Answer<CompactionResponse> {
        // Memory is freed by the world's ticks, not while a client waits.
        self.call(|api| async move { api.compact(CompactionRequest { physical: false, ..request }).await })
    }

    fn lease_grant(&self, request: LeaseGrantRequest) -> Answer<LeaseGrantResponse> {
        self.call(|api| async move {
            // Chosen here: the server would draw one.
            let id = if request.id == 0 { api.backend().fresh_lease() } else { request.id };
            api.lease_grant(LeaseGrantRequest { id, ..request }).await
        })
    }

    fn lease_revoke(&self, request: LeaseRevokeRequest) -> Answer<LeaseRevokeResponse> {
        self.call(|api| async move { api.lease_revoke(request).await })
    }

    fn lease_keep_alive(&self, id: i64) -> Answer<i64> {
        self.call(|api| async move {
            let answers = api.lease_renew(vec![id]).await?;
            Ok(answers.first().map_or(0, |answer| answer.ttl))
        })
    }

    fn watch(&self, requests: mpsc::Receiver<WatchRequest>) -> Result<Responses, DriverError> {
        let api = self.front.api()?;
        let requests = ReceiverStream::new(requests).map(Ok);
        let answers = Box::pin(api.watch(Box::pin(requests)));
        Ok(Responses::Here(Box::pin(Watching { api, answers })))
    }

    fn clock(&self) -> Clock {
        Clock::Virtual(Arc::new(self.time.clone()))
    }
}

/// A stream of watches. Whoever listens to a member that dies is cut off.
struct Watching {
    api: Arc<Api<Door>>,
    answers: Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>,
}

impl Stream for Watching {
    type Item = Result<WatchResponse, DriverError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.api.backend().is_stopped() {
            return Poll::Ready(Some(Err(DriverError::Lost { text: "simulated: the member died".into() })));
        }
        let answer = self.answers.as_mut().poll_next(context);
        answer.map(|answer| answer.map(|answer| answer.map_err(|status| DriverError::from_status(&status))))
    }
}
