//! From events to operations, faults, observations and phases.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::event::{Event, Header, OpError, ProcessId, What};
use super::file::{ReadError, Reader, Torn};
use super::lint::{Problem, ProblemKind};
use super::operation::{Fault, Moment, OpId, Operation, Outcome};

/// What a member said of itself, in the runner's own observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// When it was written.
    pub at: Moment,
    /// The member.
    pub node: String,
    /// What was observed: `status`, `hashkv`, ...
    pub f: String,
    /// What it said.
    pub value: Value,
}

/// A phase of the run and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Where.
    pub at: Moment,
    /// Its name: `load`, `heal`, `final`.
    pub f: String,
}

/// A whole history: the events of a run, paired.
///
/// Building one never fails: whatever is wrong with the events is kept in [`History::problems`], and no
/// check calls a history with problems valid.
#[derive(Clone, Debug)]
pub struct History {
    header: Header,
    operations: Vec<Operation>,
    faults: Vec<Fault>,
    observations: Vec<Observation>,
    phases: Vec<Phase>,
    problems: Vec<Problem>,
    torn: Option<Torn>,
    events: u64,
}

impl History {
    /// Pairs events that are in memory.
    pub fn new(header: Header, events: impl IntoIterator<Item = Event>) -> History {
        let mut builder = Builder::new(header);
        for (n, event) in events.into_iter().enumerate() {
            // Line 1 is the header's.
            builder.push(n as u64 + 2, event);
        }
        builder.finish()
    }

    /// Reads a history from a file. A torn last line is kept apart, in [`History::torn`].
    ///
    /// # Errors
    /// [`ReadError`], with the line, where the file cannot be read or a line cannot be understood.
    pub fn load(path: &Path) -> Result<History, ReadError> {
        History::read(Reader::open(path)?.accept_torn())
    }

    /// Reads a history to its end.
    ///
    /// # Errors
    /// [`ReadError`], with the line, where the input cannot be read or a line cannot be understood.
    pub fn read(mut reader: Reader<impl BufRead>) -> Result<History, ReadError> {
        let mut builder = Builder::new(reader.header().clone());
        while let Some((line, event)) = reader.next_event()? {
            builder.push(line, event);
        }
        builder.torn = reader.torn().cloned();
        Ok(builder.finish())
    }

    /// The same history as one of another workload: for one that does not say, or says it wrongly.
    #[must_use]
    pub fn with_scenario(mut self, scenario: &str) -> History {
        self.header.scenario = scenario.to_owned();
        self
    }

    /// What the run was.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The operations, in order of invocation; `operations()[id.index()]` has the id `id`.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operation of a number.
    pub fn operation(&self, id: OpId) -> &Operation {
        &self.operations[id.index()]
    }

    /// The faults, in the order in which they took effect.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What members said of themselves, in order.
    pub fn observations(&self) -> &[Observation] {
        &self.observations
    }

    /// The store's revision when the load began, where the runner noted it: the `revision` of an observation
    /// `base`.
    pub fn base_revision(&self) -> Option<i64> {
        let base = self.observations.iter().find(|observation| observation.f == "base")?;
        // What is no revision of a store is no beginning.
        base.value.get("revision")?.as_i64().filter(|revision| (1..1 << 60).contains(revision))
    }

    /// The phases, in order.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// What is wrong with the events themselves.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The torn last line of the file, if it had one.
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The faults that were active between two times, in nanoseconds.
    pub fn faults_between(&self, from_t: u64, to_t: u64) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(move |fault| fault.overlaps(from_t, to_t))
    }
}

/// Pairs events one after the other.
#[derive(Debug)]
pub struct Builder {
    history: History,
    torn: Option<Torn>,
    open: FxHashMap<ProcessId, OpId>,
    /// Processes that must not act again, with the line of their `info`.
    gone: FxHashMap<ProcessId, u64>,
    open_faults: BTreeMap<u64, usize>,
    last_t: u64,
}

/// How a completion says that its operation ended.
struct Completion {
    process: ProcessId,
    f: String,
    key: Option<String>,
    end: End,
}

enum End {
    Ok(Value, Option<i64>),
    Fail(OpError),
    Info(OpError),
}

impl Builder {
    /// Begins a history.
    pub fn new(header: Header) -> Builder {
        Builder {
            history: History {
                header,
                operations: Vec::new(),
                faults: Vec::new(),
                observations: Vec::new(),
                phases: Vec::new(),
                problems: Vec::new(),
                torn: None,
                events: 0,
            },
            torn: None,
            open: FxHashMap::default(),
            gone: FxHashMap::default(),
            open_faults: BTreeMap::new(),
            last_t: 0,
        }
    }

    /// Takes the next event; `line` is where it stands in its file.
    pub fn push(&mut self, line: u64, event: Event) {
        self.check_order(line, &event);
        let at = Moment { i: self.history.events, t: event.t };
        self.history.events += 1;
        match event.what {
            What::Invoke { p, node, f, key, value } => {
                self.invoke(line, Invocation { at, process: p, node, f, key, value });
            }
            What::Ok { p, f, key, value, rev } => {
                self.complete(line, at, Completion { process: p, f, key, end: End::Ok(value, rev) });
            }
            What::Fail { p, f, key, error } => {
                self.complete(line, at, Completion { process: p, f, key, end: End::Fail(error) });
            }
            What::Info { p, f, key, error } => {
                self.complete(line, at, Completion { process: p, f, key, end: End::Info(error) });
            }
            What::NemesisStart { f, fault, value, proof } => {
                let started =
                    Fault { number: fault, f, value, start: at, end: None, proof, errors: Vec::new() };
                self.open_faults.insert(fault, self.history.faults.len());
                self.history.faults.push(started);
            }
            What::NemesisEnd { fault, .. } => match self.open_faults.remove(&fault) {
                Some(index) => self.history.faults[index].end = Some(at),
                None => self.problem(line, ProblemKind::FaultEndsUnstarted { fault }),
            },
            What::NemesisError { f, fault, error } => self.fault_error(at, f, fault, error),
            What::Observe { node, f, value } => {
                self.history.observations.push(Observation { at, node, f, value });
            }
            What::Phase { f } => self.history.phases.push(Phase { at, f }),
        }
    }

    /// The header, for who knows only at the end what to write there.
    pub fn header_mut(&mut self) -> &mut Header {
        &mut self.history.header
    }

    /// The operations so far, for who reads a history of another form.
    pub(crate) fn operations_mut(&mut self) -> &mut [Operation] {
        &mut self.history.operations
    }

    /// Ends the history: operations without completion are indeterminate.
    pub fn finish(mut self) -> History {
        self.history.torn = self.torn;
        self.history
    }

    fn check_order(&mut self, line: u64, event: &Event) {
        let want = self.history.events;
        if event.i != want {
            self.problem(line, ProblemKind::Gap { want, found: event.i });
        }
        if event.t < self.last_t {
            self.problem(line, ProblemKind::TimeGoesBack { before_ns: self.last_t, now_ns: event.t });
        }
        self.last_t = self.last_t.max(event.t);
    }

    fn invoke(&mut self, line: u64, invocation: Invocation) {
        let Invocation { at, process, node, f, key, value } = invocation;
        if let Some(&since) = self.gone.get(&process) {
            self.problem(line, ProblemKind::ActsAfterInfo { process, since_line: since });
        }
        let id = OpId(u32::try_from(self.history.operations.len()).unwrap_or(u32::MAX));
        if let Some(open) = self.open.insert(process, id) {
            self.problem(line, ProblemKind::TwoAtOnce { process, open });
        }
        let outcome = Outcome::Info { at: None, error: None };
        self.history.operations.push(Operation { id, process, node, f, key, value, invoked: at, outcome });
    }

    fn complete(&mut self, line: u64, at: Moment, completion: Completion) {
        let Completion { process, f, key, end } = completion;
        if matches!(end, End::Info(_)) {
            self.gone.insert(process, line);
        }
        let Some(id) = self.open.remove(&process) else {
            self.problem(line, ProblemKind::CompletionWithoutInvocation { process });
            return;
        };
        let operation = &mut self.history.operations[id.index()];
        operation.outcome = match end {
            End::Ok(value, rev) => Outcome::Ok { at, value, rev },
            End::Fail(error) => Outcome::Fail { at, error },
            End::Info(error) => Outcome::Info { at: Some(at), error: Some(error) },
        };
        if operation.f != f || operation.key != key {
            let invoked = format!("{} {}", operation.f, operation.key.as_deref().unwrap_or("-"));
            let completed = format!("{f} {}", key.as_deref().unwrap_or("-"));
            self.problem(line, ProblemKind::CompletesAnother { process, invoked, completed });
        }
    }

    fn fault_error(&mut self, at: Moment, f: String, number: u64, error: String) {
        match self.open_faults.get(&number) {
            Some(&index) => self.history.faults[index].errors.push(error),
            // It never took effect: an instant in the picture, with what went wrong.
            None => self.history.faults.push(Fault {
                number,
                f,
                value: Value::Null,
                start: at,
                end: Some(at),
                proof: Value::Null,
                errors: vec![error],
            }),
        }
    }

    fn problem(&mut self, line: u64, kind: ProblemKind) {
        self.history.problems.push(Problem { line: Some(line), kind });
    }
}

struct Invocation {
    at: Moment,
    process: ProcessId,
    node: Option<String>,
    f: String,
    key: Option<String>,
    value: Value,
}
