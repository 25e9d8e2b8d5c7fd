//! Being told to stop: Ctrl-C, or SIGTERM.

use std::sync::Arc;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Whether the run has been told to stop. Clones are one.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<u32>>);

impl Default for Stop {
    fn default() -> Stop {
        Stop(Arc::new(watch::Sender::new(0)))
    }
}

impl Stop {
    /// Asks for the stop.
    pub fn stop(&self) {
        self.0.send_modify(|times| *times += 1);
    }

    /// Whether it was asked for.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Returns when it is asked for, at once if it was.
    pub async fn stopped(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|times| *times > 0).await;
    }

    /// From now on a Ctrl-C or a SIGTERM asks for the stop instead of ending this process; each says
    /// `notice`, since what was begun (healing, ending processes) is bounded and goes on whatever comes.
    ///
    /// # Errors
    /// When the handlers cannot be put in place.
    pub fn on_signals(&self, notice: impl Fn(u32) + Send + 'static) -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = self.clone();
        tokio::spawn(async move {
            for times in 1.. {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                notice(times);
                stop.stop();
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_hears_of_it_and_so_does_who_comes_late() {
        let stop = Stop::default();
        assert!(!stop.is_stopped());
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.stopped().await }
        });
        stop.stop();
        stop.stop();
        waiting.await.unwrap();
        stop.stopped().await;
        assert!(stop.is_stopped());
    }
}
