//! A history of the operations on some keys of a load, for the checkers: what `assay run` records of all of its own.
//!
//! Every write to such a key carries a number of its own in its value, and every read tells whose value it found. The
//! history is one of the workload `register`. Left out: what a load does beside puts and reads of single keys.

use super::http2::{Answer, Failure};
use crate::recorder::Recorder;
use checker::history::event::{OpError, ProcessId, What};
use serde_json::{Value, json};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Where the history goes, shared by all who act.
pub struct Trace {
    recorder: Arc<Recorder>,
    /// Keys with a lower number are recorded.
    keys: u64,
    process: AtomicU64,
    value: AtomicU64,
    /// Why the history is incomplete.
    failed: Mutex<Option<io::Error>>,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// A call that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Reads.
    Read {
        /// Whether an old state will do.
        serializable: bool,
    },
    /// Writes a value of this number.
    Write(u64),
}

impl Act {
    fn f(self) -> &'static str {
        match self {
            Act::Read { .. } => "read",
            Act::Write(_) => "write",
        }
    }

    fn value(self) -> Value {
        match self {
            Act::Read { serializable: false } => Value::Null,
            Act::Read { serializable: true } => json!({ "serializable": true }),
            Act::Write(value) => json!(value),
        }
    }
}

impl Trace {
    /// Records the keys with numbers below `keys`.
    pub fn new(recorder: Arc<Recorder>, keys: u64) -> Trace {
        let (process, value) = (AtomicU64::new(0), AtomicU64::new(1));
        Trace { recorder, keys, process, value, failed: Mutex::new(None) }
    }

    /// How many keys are recorded.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// A process that has not acted yet.
    pub fn process(&self) -> ProcessId {
        self.process.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of a value that nobody has written yet.
    pub fn value(&self) -> u64 {
        self.value.fetch_add(1, Ordering::Relaxed)
    }

    /// Why the history is incomplete, if it is.
    pub fn failure(&self) -> Option<io::Error> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Records that a process begins.
    pub fn invoke(&self, p: ProcessId, node: &str, key: &str, act: Act) {
        self.append(What::Invoke {
            p,
            node: Some(node.to_owned()),
            f: act.f().to_owned(),
            key: Some(key.to_owned()),
            value: act.value(),
        });
    }

    /// Records what came of it. True when that is certain, so that the process may act again.
    pub fn complete(&self, p: ProcessId, key: &str, act: Act, outcome: &Result<Answer, Failure>) -> bool {
        let (f, key) = (act.f().to_owned(), Some(key.to_owned()));
        let what = match outcome {
            Ok(answer) => {
                let value = match act {
                    Act::Write(_) => Value::Null,
                    Act::Read { .. } if answer.mod_revision == 0 => Value::Null,
                    Act::Read { .. } => json!({ "value": answer.tag, "mod_revision": answer.mod_revision }),
                };
                What::Ok { p, f, key, value, rev: Some(answer.revision) }
            }
            Err(failure) => {
                let error = OpError { kind: failure.kind(), text: String::new() };
                // A read has no effect, whatever became of it.
                if matches!(act, Act::Read { .. }) || failure.is_without_effect() {
                    What::Fail { p, f, key, error }
                } else {
                    What::Info { p, f, key, error }
                }
            }
        };
        let certain = !matches!(what, What::Info { .. });
        self.append(what);
        certain
    }

    fn append(&self, what: What) {
        if let Err(error) = self.recorder.append(what) {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

/// A call that is under way.
#[derive(Clone, Debug)]
struct Open {
    process: ProcessId,
    line: usize,
    key: String,
    act: Act,
}

/// One worker's part of a trace. A process keeps to one connection, and so to one member.
#[derive(Debug)]
pub(super) struct Tracer {
    trace: Arc<Trace>,
    /// Processes that may act, by connection.
    free: Vec<Vec<ProcessId>>,
    open: Vec<Option<Open>>,
    vacant: Vec<u32>,
}

impl Tracer {
    pub(super) fn new(trace: Arc<Trace>, lines: usize) -> Tracer {
        Tracer { trace, free: vec![Vec::new(); lines], open: Vec::new(), vacant: Vec::new() }
    }

    /// Whether calls on this key are recorded.
    pub(super) fn covers(&self, key: u64) -> bool {
        key < self.trace.keys
    }

    /// The number of a value that nobody has written yet.
    pub(super) fn value(&self) -> u64 {
        self.trace.value()
    }

    /// Records a call on a connection; what is given is not 0, and names the call when it has ended.
    pub(super) fn invoke(&mut self, line: usize, node: &str, key: &[u8], act: Act) -> u32 {
        let process = self.free[line].pop().unwrap_or_else(|| self.trace.process());
        let key = String::from_utf8_lossy(key).into_owned();
        self.trace.invoke(process, node, &key, act);
        let open = Some(Open { process, line, key, act });
        match self.vacant.pop() {
            Some(at) => {
                self.open[at as usize] = open;
                at + 1
            }
            None => {
                self.open.push(open);
                u32::try_from(self.open.len()).expect("fewer calls are under way than 2^32")
            }
        }
    }

    /// Records the end of a call; 0 is one that is not recorded.
    pub(super) fn complete(&mut self, call: u32, outcome: &Result<Answer, Failure>) {
        let Some(at) = call.checked_sub(1) else { return };
        let Some(Open { process, line, key, act }) = self.open[at as usize].take() else { return };
        self.vacant.push(at);
        if self.trace.complete(process, &key, act, outcome) {
            self.free[line].push(process);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::{
        History,
        history::event::{Header, VERSION},
    };

    fn traced(dir: &std::path::Path) -> (Arc<Trace>, std::path::PathBuf) {
        let path = dir.join("history.jsonl");
        let header = Header {
            v: VERSION,
            seed: 1,
            scenario: "register".into(),
            faults: Vec::new(),
            system: "none".into(),
            nodes: 1,
            clock: "monotonic_ns".into(),
        };
        (Arc::new(Trace::new(Arc::new(Recorder::create(&path, &header).unwrap()), 10)), path)
    }

    #[test]
    fn a_process_acts_again_only_when_its_outcome_is_certain() {
        let dir = tempfile::tempdir().unwrap();
        let (trace, path) = traced(dir.path());
        let mut tracer = Tracer::new(trace, 2);
        let write = |tracer: &mut Tracer, line| {
            let value = tracer.value();
            tracer.invoke(line, "n1", b"k", Act::Write(value))
        };
        let first = write(&mut tracer, 0);
        tracer.complete(first, &Ok(Answer { revision: 5, ..Answer::default() }));
        let lost = write(&mut tracer, 0);
        tracer.complete(lost, &Err(Failure::Lost));
        let read = tracer.invoke(0, "n1", b"k", Act::Read { serializable: false });
        tracer.complete(read, &Ok(Answer { revision: 6, mod_revision: 6, tag: 2, ..Answer::default() }));
        let other = tracer.invoke(1, "n2", b"k", Act::Read { serializable: false });
        tracer.complete(other, &Err(Failure::Status(14)));
        tracer.complete(0, &Err(Failure::Lost));
        assert!(tracer.covers(9) && !tracer.covers(10));
        drop(tracer);
        let history = History::load(&path).unwrap();
        let processes: Vec<ProcessId> =
            history.operations().iter().map(|operation| operation.process).collect();
        // The second write used the first one's process, and nobody uses that again.
        assert_eq!(processes, [0, 0, 1, 2]);
        let report = checker::check(&history, &checker::Options::default());
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        assert!(report.results.iter().all(|result| result.verdict.anomalies().is_empty()));
    }

    #[test]
    fn a_read_of_what_was_overwritten_before_it_began_is_an_anomaly() {
        let dir = tempfile::tempdir().unwrap();
        let (trace, path) = traced(dir.path());
        let mut tracer = Tracer::new(trace, 1);
        for revision in 1..=40 {
            let value = tracer.value();
            let call = tracer.invoke(0, "n1", b"k", Act::Write(value));
            tracer.complete(call, &Ok(Answer { revision, ..Answer::default() }));
        }
        let read = tracer.invoke(0, "n1", b"k", Act::Read { serializable: false });
        tracer.complete(read, &Ok(Answer { revision: 40, mod_revision: 3, tag: 3, ..Answer::default() }));
        drop(tracer);
        let report = checker::check(&History::load(&path).unwrap(), &checker::Options::default());
        assert!(matches!(report.verdict, checker::Verdict::Anomaly(_)), "{:?}", report.verdict);
    }
}
