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
    /// Something is queued that is not to wait.
    urgent: bool,
    /// Whoever takes will come before long by itself: what can wait need not wake it.
    expected: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Queue<T> {
        Queue {
            state: Mutex::new(State { items: Vec::new(), weight: 0, urgent: false, expected: false }),
            wake: Condvar::new(),
        }
    }

    /// Queues something, however much is queued.
    pub(super) fn push(&self, item: T) {
        let mut state = self.state.lock();
        state.items.push(item);
        state.urgent = true;
        drop(state);
        self.wake.notify_one();
    }

    /// Queues something unless the queue's weight would pass `max`.
    pub(super) fn offer(&self, item: T, weight: usize, max: usize) -> Result<(), T> {
        self.add(item, weight, max, true)
    }

    /// The same with something that can wait while the taker is expected.
    pub(super) fn offer_patiently(&self, item: T, weight: usize, max: usize) -> Result<(), T> {
        self.add(item, weight, max, false)
    }

    fn add(&self, item: T, weight: usize, max: usize, urgent: bool) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.weight + weight > max {
            return Err(item);
        }
        state.weight += weight;
        state.items.push(item);
        state.urgent |= urgent;
        let wakes = urgent || !state.expected;
        drop(state);
        if wakes {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes everything, into the empty `items`; waits for something until `deadline`, if there is one. `expected`
    /// says that something urgent is sure to come: until then, or the deadline, what can wait does.
    pub(super) fn take(&self, items: &mut Vec<T>, deadline: Option<Instant>, expected: bool) {
        let mut state = self.state.lock();
        state.expected = expected;
        while !state.urgent && (expected || state.items.is_empty()) {
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
        (state.weight, state.urgent, state.expected) = (0, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread, time::Duration};

    const MAX: usize = 10;

    fn taken(queue: &Queue<u32>, deadline: Option<Instant>, expected: bool) -> Vec<u32> {
        let mut items = Vec::new();
        queue.take(&mut items, deadline, expected);
        items
    }

    #[test]
    fn what_can_wait_waits_for_what_cannot_and_no_longer_than_the_deadline() {
        let queue = Queue::new();
        queue.offer_patiently(1, 1, MAX).unwrap();
        assert_eq!(taken(&queue, None, false), [1], "nobody is expected: it is taken at once");
        queue.offer_patiently(2, 1, MAX).unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(taken(&queue, Some(soon), true), [2]);
        assert!(Instant::now() >= soon, "it waited");
        queue.offer_patiently(3, 1, MAX).unwrap();
        queue.push(4);
        assert_eq!(taken(&queue, None, true), [3, 4]);
        queue.offer(5, MAX, MAX).unwrap();
        assert_eq!(queue.offer_patiently(6, 1, MAX), Err(6), "it is full");
        assert_eq!(taken(&queue, None, true), [5]);
    }

    #[test]
    fn a_taker_that_sleeps_is_woken_by_what_is_urgent_and_gets_all_there_is() {
        let queue = Arc::new(Queue::new());
        let taker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || taken(&queue, None, true)
        });
        while !queue.state.lock().expected {
            thread::yield_now();
        }
        queue.offer_patiently(1, 1, MAX).unwrap();
        queue.offer(2, 1, MAX).unwrap();
        assert_eq!(taker.join().unwrap(), [1, 2]);
    }
}
