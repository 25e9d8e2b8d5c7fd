//! Requests that wait for their outcome, by number.

use crate::{error::ApiError, replica::Answers, state_machine::Outcome};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

/// How a request is told what it came to.
pub(super) enum Waiter {
    /// A proposal.
    Proposal(oneshot::Sender<Outcome>),
    /// A linearizable read.
    Read(oneshot::Sender<Result<(), ApiError>>),
}

impl Waiter {
    fn refuse(self, why: ApiError) {
        // Who gave up waiting is not there to hear it.
        match self {
            Waiter::Proposal(sender) => drop(sender.send(Err(why))),
            Waiter::Read(sender) => drop(sender.send(Err(why))),
        }
    }
}

/// All requests that wait.
#[derive(Default)]
pub(super) struct Waiters(Mutex<FxHashMap<u64, Waiter>>);

impl Waiters {
    pub(super) fn add(&self, number: u64, waiter: Waiter) {
        self.0.lock().insert(number, waiter);
    }

    pub(super) fn remove(&self, number: u64) {
        self.0.lock().remove(&number);
    }

    pub(super) fn refuse(&self, refused: Vec<(u64, ApiError)>) {
        if refused.is_empty() {
            return;
        }
        let mut waiters = self.0.lock();
        for (number, why) in refused {
            if let Some(waiter) = waiters.remove(&number) {
                waiter.refuse(why);
            }
        }
    }

    pub(super) fn serve_reads(&self, numbers: Vec<u64>) {
        if numbers.is_empty() {
            return;
        }
        let mut waiters = self.0.lock();
        for number in numbers {
            if let Some(Waiter::Read(sender)) = waiters.remove(&number) {
                let _ = sender.send(Ok(()));
            }
        }
    }

    /// Answers, and leaves `answers` empty.
    pub(super) fn answer(&self, answers: &mut Answers) {
        if !answers.outcomes.is_empty() {
            let mut waiters = self.0.lock();
            for (number, outcome) in answers.outcomes.drain(..) {
                if let Some(Waiter::Proposal(sender)) = waiters.remove(&number) {
                    let _ = sender.send(outcome);
                }
            }
        }
        self.serve_reads(std::mem::take(&mut answers.reads));
    }

    /// Drops all: whoever waits learns that the server stops.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}
