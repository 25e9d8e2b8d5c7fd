//! Simulated clients: the operations of a workload, each as a future that the world polls.

use super::{
    port::{Front, SimPort},
    time::SimTime,
};
use crate::{
    driver::Client,
    workload::{Completion, Workload},
};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

type Doing = Pin<Box<dyn Future<Output = (Completion, Client)> + Send>>;

/// One client, of one member.
pub(super) struct Process {
    /// Its number in the history; another after an operation of unknown outcome.
    pub(super) number: u64,
    /// The place of its member.
    pub(super) member: usize,
    client: Option<Client>,
    doing: Option<Doing>,
    /// Names its operation; no other has the same.
    pub(super) serial: u64,
    /// How the operation under way is recorded.
    pub(super) f: &'static str,
    pub(super) key: Option<String>,
}

impl Process {
    pub(super) fn new(
        number: u64,
        member: usize,
        front: &Front,
        time: &SimTime,
        deadline: Duration,
    ) -> Process {
        let port = SimPort::new(front.clone(), time.clone(), deadline);
        Process {
            number,
            member,
            client: Some(Client::of_port(Box::new(port), deadline)),
            doing: None,
            serial: 0,
            f: "",
            key: None,
        }
    }

    pub(super) fn is_free(&self) -> bool {
        self.client.is_some()
    }

    /// Begins an operation.
    pub(super) fn begin<W: Workload>(&mut self, workload: &Arc<W>, op: W::Op, serial: u64) {
        let mut client = self.client.take().expect("a free process is chosen");
        let workload = Arc::clone(workload);
        self.serial = serial;
        self.doing = Some(Box::pin(async move {
            let completion = workload.execute(&op, client.start_operation()).await;
            (completion, client)
        }));
    }

    /// Goes on as far as it can.
    pub(super) fn poll(&mut self) -> Option<Completion> {
        let mut context = Context::from_waker(Waker::noop());
        match self.doing.as_mut()?.as_mut().poll(&mut context) {
            Poll::Pending => None,
            Poll::Ready((completion, client)) => {
                self.doing = None;
                self.client = Some(client);
                Some(completion)
            }
        }
    }
}
