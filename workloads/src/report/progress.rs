//! Live progress: one line that is drawn again on a terminal, a line now and then elsewhere.

use super::results::Counts;
use crate::{
    recorder::{Record, Recorder},
    workload::Completion,
};
use checker::history::event::What;
use serde_json::Value;
use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Counts a workload's operations while they go on.
#[derive(Debug, Default)]
pub struct Tally {
    invoked: AtomicU64,
    ok: AtomicU64,
    fail: AtomicU64,
    info: AtomicU64,
    malformed: AtomicU64,
}

impl Tally {
    /// An operation begins.
    pub fn invoked(&self) {
        self.invoked.fetch_add(1, Relaxed);
    }

    /// An operation ended.
    pub fn completed(&self, completion: &Completion) {
        let (count, error) = match completion {
            Completion::Ok { .. } => (&self.ok, None),
            Completion::Fail(error) => (&self.fail, Some(error)),
            Completion::Info(error) => (&self.info, Some(error)),
        };
        count.fetch_add(1, Relaxed);
        if error.is_some_and(|error| error.kind == "malformed") {
            self.malformed.fetch_add(1, Relaxed);
        }
    }

    /// What ended so far.
    pub fn counts(&self) -> Counts {
        Counts { ok: self.ok.load(Relaxed), fail: self.fail.load(Relaxed), info: self.info.load(Relaxed) }
    }

    /// Answers that broke the API's contract.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Relaxed)
    }
}

/// Shows how the run goes, on stderr.
pub struct Progress {
    shared: Arc<Shared>,
    ticker: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

struct Shared {
    start: Instant,
    terminal: bool,
    quiet: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    doing: String,
    tallies: Vec<Arc<Tally>>,
    active: Vec<String>,
    /// When what is being done will be over, where that is known.
    ends: Option<Instant>,
    /// How many operations had ended, at the last few looks.
    looks: VecDeque<(Instant, u64)>,
    /// Whether a line is drawn on the terminal that must be wiped before the next.
    drawn: bool,
}

/// Between two drawings on a terminal.
const REDRAW: Duration = Duration::from_millis(200);
/// Between two lines elsewhere.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// The rate that is shown is that of so long.
const RATE_OVER: Duration = Duration::from_secs(2);
/// Of a terminal that does not tell.
const WIDTH_DEFAULT: usize = 100;

impl Progress {
    /// Shows progress from `start` on; not at all if `quiet`.
    pub fn new(start: Instant, quiet: bool) -> Progress {
        let terminal = io::stderr().is_terminal();
        let shared = Arc::new(Shared { start, terminal, quiet, state: Mutex::default() });
        let (stop, stopped) = mpsc::channel();
        let period = if terminal { REDRAW } else { LINE_EVERY };
        let thread = std::thread::Builder::new().name("progress".into()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                    shared.tick();
                }
            }
        });
        // Without a thread there are fewer lines, and nothing else is missing.
        let ticker = thread.ok().map(|thread| (stop, thread));
        Progress { shared, ticker }
    }

    /// What is being done now; operations are counted from `tallies`.
    pub fn phase(&self, doing: &str, tallies: Vec<Arc<Tally>>) {
        self.begin(doing, tallies, None);
    }

    /// The same for what lasts for a known time.
    pub fn phase_of(&self, doing: &str, tallies: Vec<Arc<Tally>>, lasts: Duration) {
        self.begin(doing, tallies, Some(Instant::now() + lasts));
    }

    fn begin(&self, doing: &str, tallies: Vec<Arc<Tally>>, ends: Option<Instant>) {
        let mut state = self.shared.lock();
        state.doing = doing.to_string();
        state.tallies = tallies;
        state.ends = ends;
        state.looks.clear();
        drop(state);
        if !self.shared.terminal {
            self.shared.tick();
        }
    }

    /// Something worth a line of its own.
    pub fn note(&self, text: &str) {
        self.shared.note(text);
    }

    /// Writes to all `recorders`, and shows what happens to the cluster.
    pub fn watch(&self, recorders: Vec<Arc<Recorder>>) -> Watched {
        Watched { recorders, shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            // A ticker that panicked has nothing more to show.
            let _ = thread.join();
        }
        self.shared.wipe(&mut self.shared.lock());
    }
}

/// Writes what happens to the cluster to the histories made on it, and shows it.
pub struct Watched {
    recorders: Vec<Arc<Recorder>>,
    shared: Arc<Shared>,
}

impl Record for Watched {
    fn record(&self, what: What) -> io::Result<()> {
        match &what {
            What::NemesisStart { f, fault, value, .. } => {
                let text = describe(f, value);
                self.shared.note(&format!("fault {fault}: {text}"));
                self.shared.lock().active.push(f.clone());
            }
            What::NemesisEnd { f, fault, .. } => {
                self.shared.note(&format!("fault {fault}: {f} healed"));
                let mut state = self.shared.lock();
                if let Some(index) = state.active.iter().position(|active| active == f) {
                    state.active.remove(index);
                }
            }
            What::NemesisError { f, fault, error } => {
                self.shared.note(&format!("fault {fault}: {f} FAILED: {error}"));
            }
            What::Invoke { .. }
            | What::Ok { .. }
            | What::Fail { .. }
            | What::Info { .. }
            | What::Observe { .. }
            | What::Phase { .. } => {}
        }
        self.recorders.record(what)
    }
}

/// A fault in a few words: its name, and whom it hit.
pub(super) fn describe(f: &str, value: &Value) -> String {
    let Value::Object(fields) = value else {
        return if value.is_null() { f.to_string() } else { format!("{f} {}", plain(value)) };
    };
    // The nemesis says which fault of its family it was, and its nodes or groups; the rest is in the report.
    let name = fields.get("fault").and_then(Value::as_str).unwrap_or(f);
    match fields.get("groups").or_else(|| fields.get("nodes")) {
        Some(hit) => format!("{name} {}", plain(hit)),
        None => name.to_string(),
    }
}

/// JSON without quotes around what needs none.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| match value {
                Value::Object(_) => format!("{name}({})", plain(value)),
                _ => format!("{name}={}", plain(value)),
            };
            fields.iter().map(field).collect::<Vec<String>>().join(" ")
        }
        other => other.to_string(),
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, text: &str) {
        if self.quiet {
            return;
        }
        let mut state = self.lock();
        self.wipe(&mut state);
        // Progress that nobody can read is no reason to end a run.
        let _ = writeln!(io::stderr(), "{:7.1}s  {text}", self.start.elapsed().as_secs_f64());
        if self.terminal {
            self.draw(&mut state);
        }
    }

    fn tick(&self) {
        if self.quiet {
            return;
        }
        let mut state = self.lock();
        if self.terminal {
            self.wipe(&mut state);
            self.draw(&mut state);
        } else if !state.doing.is_empty() {
            let line = self.line(&mut state);
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    fn draw(&self, state: &mut State) {
        if !state.doing.is_empty() {
            // A line that wraps could not be wiped.
            let width =
                terminal_size::terminal_size_of(io::stderr()).map_or(WIDTH_DEFAULT, |(w, _)| w.0.into());
            let line: String = self.line(state).chars().take(width.saturating_sub(1)).collect();
            let _ = write!(io::stderr(), "{line}");
            state.drawn = true;
        }
    }

    fn wipe(&self, state: &mut State) {
        if state.drawn {
            let _ = write!(io::stderr(), "\r\x1b[K");
            state.drawn = false;
        }
    }

    fn line(&self, state: &mut State) -> String {
        let now = Instant::now();
        let mut line = format!("{:7.1}s  {}", self.start.elapsed().as_secs_f64(), state.doing);
        if let Some(left) = state.ends.and_then(|ends| ends.checked_duration_since(now)) {
            line.push_str(&format!(", {} s left", left.as_secs()));
        }
        if !state.tallies.is_empty() {
            let sum = state.tallies.iter().fold(Counts::default(), |sum, tally| sum.plus(tally.counts()));
            let rate = rate(&mut state.looks, now, sum.total());
            line.push_str(&format!("  {} ok, {} fail, {} info{rate}", sum.ok, sum.fail, sum.info));
        }
        if !state.active.is_empty() {
            line.push_str(&format!("  [{}]", state.active.join(", ")));
        }
        line
    }
}

/// Operations per second, by the looks of the last [`RATE_OVER`], to which this one is added.
fn rate(looks: &mut VecDeque<(Instant, u64)>, now: Instant, total: u64) -> String {
    looks.push_back((now, total));
    // One that is older stays, for the time between two looks may be longer.
    while looks.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= RATE_OVER) {
        looks.pop_front();
    }
    let (at, before) = looks[0];
    let passed = now.duration_since(at);
    if passed.is_zero() {
        return String::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "operations of a few seconds")]
    let per_s = total.saturating_sub(before) as f64 / passed.as_secs_f64();
    format!(" ({per_s:.0}/s)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fault_is_told_in_a_few_words() {
        for (value, want) in [
            (Value::Null, "kill"),
            (json!(["n1", "n2"]), "kill [n1 n2]"),
            (json!({"fault": "kill-leader", "leader": "n1", "nodes": ["n1"]}), "kill-leader [n1]"),
            (json!({"groups": [["n1"], ["n2", "n3"]]}), "kill [[n1] [n2 n3]]"),
            (json!({"other": 1}), "kill"),
        ] {
            assert_eq!(describe("kill", &value), want);
        }
    }

    #[test]
    fn a_proof_is_told_without_json() {
        let proof = json!({ "n2": { "ended": "signal: 9", "pid": 7 }, "after_ms": 5 });
        assert_eq!(plain(&proof), "after_ms=5 n2(ended=signal: 9 pid=7)");
    }

    #[test]
    fn a_tally_counts_every_outcome() {
        use checker::history::event::OpError;
        let tally = Tally::default();
        let error = |kind: &str| OpError { kind: kind.into(), text: String::new() };
        tally.completed(&Completion::Ok { value: Value::Null, rev: None });
        tally.completed(&Completion::Fail(error("refused")));
        tally.completed(&Completion::Info(error("malformed")));
        assert_eq!(tally.counts(), Counts { ok: 1, fail: 1, info: 1 });
        assert_eq!(tally.malformed(), 1);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (mut looks, start) = (VecDeque::new(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(rate(&mut looks, at(0), 0), "");
        assert_eq!(rate(&mut looks, at(500), 50), " (100/s)");
        assert_eq!(rate(&mut looks, at(1000), 100), " (100/s)");
        // Whatever was long ago no longer counts.
        for ms in (1500..6000).step_by(500) {
            rate(&mut looks, at(ms), 100);
        }
        assert_eq!(rate(&mut looks, at(6000), 100), " (0/s)");
        assert!(looks.len() < 8, "{}", looks.len());
    }
}
