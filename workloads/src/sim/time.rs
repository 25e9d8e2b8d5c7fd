//! Virtual time, as everything in a simulation sees it.

use super::plan::Micros;
use crate::driver::VirtualTime;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Virtual time. Clones are the same one.
#[derive(Clone)]
pub(super) struct SimTime(Arc<Inner>);

struct Inner {
    now_us: AtomicU64,
    /// Stands for time 0 where code wants an `Instant`: only differences are ever looked at.
    origin: Instant,
    /// Times at which whoever was polled last wants to be polled again.
    wakes: Mutex<Vec<Micros>>,
}

impl SimTime {
    pub(super) fn new() -> SimTime {
        let inner = Inner { now_us: AtomicU64::new(0), origin: Instant::now(), wakes: Mutex::default() };
        SimTime(Arc::new(inner))
    }

    pub(super) fn set(&self, now: Micros) {
        self.0.now_us.store(now, Relaxed);
    }

    pub(super) fn us(&self) -> Micros {
        self.0.now_us.load(Relaxed)
    }

    pub(super) fn instant(&self) -> Instant {
        self.0.origin + Duration::from_micros(self.us())
    }

    /// Asks for whatever is being polled to be polled at `at`, too.
    pub(super) fn wake(&self, at: Micros) {
        self.0.wakes.lock().unwrap_or_else(PoisonError::into_inner).push(at);
    }

    /// What was asked for since the last call.
    pub(super) fn take_wakes(&self) -> Vec<Micros> {
        std::mem::take(&mut self.0.wakes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl VirtualTime for SimTime {
    fn now(&self) -> Duration {
        Duration::from_micros(self.us())
    }

    fn wake_at(&self, at: Duration) {
        // Rounded up: at that time it must be over.
        self.wake(u64::try_from(at.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX));
    }
}
