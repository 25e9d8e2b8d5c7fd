//! Something that goes on for as long as a fault is under way.

use super::strike::FaultError;
use std::{fmt, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// A task that is told when to end.
pub(super) struct Repeating<T> {
    ended: watch::Sender<bool>,
    task: Option<JoinHandle<T>>,
}

impl<T> fmt::Debug for Repeating<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeating").finish_non_exhaustive()
    }
}

/// The task's own view of when to end.
pub(super) struct Until(watch::Receiver<bool>);

impl Until {
    /// Waits; returns early, with false, when it is time to end.
    pub(super) async fn wait(&mut self, time: Duration) -> bool {
        // An error says that whoever would tell is gone: then it is time to end too.
        tokio::time::timeout(time, self.0.wait_for(|&ended| ended)).await.is_err()
    }

    /// Whether to go on.
    pub(super) fn goes_on(&self) -> bool {
        !*self.0.borrow()
    }
}

impl<T: Send + 'static> Repeating<T> {
    /// Starts the task.
    pub(super) fn start<F>(work: impl FnOnce(Until) -> F) -> Repeating<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (ended, receiver) = watch::channel(false);
        Repeating { ended, task: Some(tokio::spawn(work(Until(receiver)))) }
    }

    /// Ends the task, and gives what it came to.
    pub(super) async fn end(&mut self) -> Result<T, FaultError> {
        self.ended.send_replace(true);
        self.outcome().await
    }

    /// Waits until the task has ended by itself.
    pub(super) async fn outcome(&mut self) -> Result<T, FaultError> {
        let Some(task) = self.task.take() else {
            return Err(FaultError::NotUndone("it was undone before".to_owned()));
        };
        task.await.map_err(|error| FaultError::NotUndone(error.to_string()))
    }
}
