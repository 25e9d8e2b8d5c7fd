//! Raft, and somebody who may write down what goes in and what comes out.

use raft::{Input, Raft, StepError, ready::Ready};
use std::{fmt::Debug, ops::Deref};

/// Writes down what a core takes and gives out, in order. With the state that it started from that is all
/// there is to know of it: equal cores that get equal inputs stay equal.
pub trait Recorder: Debug + Send {
    /// The core is about to take this.
    fn input(&mut self, input: &Input);

    /// The core gave this out.
    fn turn(&mut self, ready: &Ready);
}

/// A core that may be recorded.
#[derive(Debug)]
pub(super) struct Traced {
    raft: Raft,
    recorder: Option<Box<dyn Recorder>>,
}

impl Traced {
    pub(super) fn new(raft: Raft) -> Traced {
        Traced { raft, recorder: None }
    }

    pub(super) fn record(&mut self, recorder: Box<dyn Recorder>) {
        self.recorder = Some(recorder);
    }

    pub(super) fn step(&mut self, input: Input) -> Result<(), StepError> {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(&input);
        }
        self.raft.step(input)
    }

    pub(super) fn ready(&mut self) -> Ready {
        let ready = self.raft.ready();
        if let Some(recorder) = &mut self.recorder {
            recorder.turn(&ready);
        }
        ready
    }
}

impl Deref for Traced {
    type Target = Raft;

    fn deref(&self) -> &Raft {
        &self.raft
    }
}
