//! What workloads take for the time: the machine's, or that of a simulation.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, OnceLock},
    task::Poll,
    time::Duration,
};
use tokio::time::Instant;

/// Where the machine's time begins, for workloads.
static ORIGIN: OnceLock<Instant> = OnceLock::new();
/// What a clock shows at its beginning: times long before that can be told.
const BEGINNING: Duration = Duration::from_secs(1_000);

/// A simulation's time.
pub trait VirtualTime: Send + Sync {
    /// What has passed since its beginning.
    fn now(&self) -> Duration;

    /// Whatever is being polled wants to be polled at this time, too.
    fn wake_at(&self, at: Duration);
}

/// A clock. It never goes back, and 0 is long ago when it begins.
#[derive(Clone)]
pub enum Clock {
    /// The machine's.
    Machine,
    /// A simulation's.
    Virtual(Arc<dyn VirtualTime>),
}

impl Clock {
    /// The time.
    pub fn now(&self) -> Duration {
        BEGINNING
            + match self {
                Clock::Machine => ORIGIN.get_or_init(Instant::now).elapsed(),
                Clock::Virtual(time) => time.now(),
            }
    }

    /// Waits until a time.
    pub async fn sleep_until(&self, at: Duration) {
        let at = at.saturating_sub(BEGINNING);
        match self {
            Clock::Machine => {
                let origin = *ORIGIN.get_or_init(Instant::now);
                tokio::time::sleep_until(origin + at).await;
            }
            Clock::Virtual(time) => {
                time.wake_at(at);
                poll_fn(|_| if time.now() >= at { Poll::Ready(()) } else { Poll::Pending }).await;
            }
        }
    }

    /// Waits for so long.
    pub async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }

    /// What a future comes to; `None` if it does not until a time.
    pub async fn timeout_at<F: Future>(&self, at: Duration, future: F) -> Option<F::Output> {
        let (mut future, mut over) = (pin!(future), pin!(self.sleep_until(at)));
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => over.as_mut().poll(context).map(|()| None),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::atomic::{AtomicU64, Ordering::Relaxed},
        task::{Context, Waker},
    };

    #[derive(Default)]
    struct Seconds(AtomicU64);

    impl VirtualTime for Seconds {
        fn now(&self) -> Duration {
            Duration::from_secs(self.0.load(Relaxed))
        }

        fn wake_at(&self, _: Duration) {}
    }

    #[test]
    fn a_future_is_waited_for_until_its_time_is_over() {
        let time = Arc::new(Seconds::default());
        let clock = Clock::Virtual(time.clone());
        let mut context = Context::from_waker(Waker::noop());
        let never = clock.timeout_at(clock.now() + Duration::from_secs(3), std::future::pending::<()>());
        let mut never = pin!(never);
        assert!(never.as_mut().poll(&mut context).is_pending());
        time.0.store(3, Relaxed);
        assert_eq!(never.as_mut().poll(&mut context), Poll::Ready(None));
        let mut at_once = pin!(clock.timeout_at(Duration::ZERO, std::future::ready(7)));
        assert_eq!(at_once.as_mut().poll(&mut context), Poll::Ready(Some(7)));
    }
}
