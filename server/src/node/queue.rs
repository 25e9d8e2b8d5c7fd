//! Hands things to a thread that takes all there are at once: what piles up while it works is its next turn.

use parking_lot::{Condvar, Mutex};
use std::time::Instant;

/// A bounded queue with one taker.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: Vec<T>,
    weight: usize,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Queue<T> {
        Queue { state: Mutex::new(State { items: Vec::new(), weight: 0 }), wake: Condvar::new() }
    }

    /// Queues something, however much is queued.
    pub(super) fn push(&self, item: T) {
        let mut state = self.state.lock();
        state.items.push(item);
        drop(state);
        self.wake.notify_one();
    }

    /// Queues something unless the queue's weight would pass `max`.
    pub(super) fn offer(&self, item: T, weight: usize, max: usize) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.weight + weight > max {
            return Err(item);
        }
        state.weight += weight;
        state.items.push(item);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Takes everything, into the empty `items`; waits for something until `deadline`, if there is one.
    pub(super) fn take(&self, items: &mut Vec<T>, deadline: Option<Instant>) {
        let mut state = self.state.lock();
        while state.items.is_empty() {
            match deadline {
                None => self.wake.wait(&mut state),
                Some(deadline) => {
                    if self.wake.wait_until(&mut state, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        std::mem::swap(&mut state.items, items);
        state.weight = 0;
    }
}
