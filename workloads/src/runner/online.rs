//! The check that goes on while the load does: a thread beside a recorder, which ends the load at the first anomaly.
//!
//! It never slows the load: if it cannot follow, it ends, and the check of the whole history decides alone.

use super::stop::Stop;
use crate::{
    recorder::Recorder,
    report::{Anomaly, Check, Conclusion},
    scenario::WorkloadName,
};
use checker::{
    Cancel, Options,
    online::{Check as Judge, KeyValues, Registers, Seen, Sets},
};
use std::{
    io,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

/// Events that may wait for the check: some seconds of a fast load.
const EVENTS_MAX: usize = 1 << 16;
/// Configurations that the search of one window may hold.
const STATES_MAX: usize = 200_000;
/// Longer than any load.
const NO_LIMIT: Duration = Duration::from_secs(u32::MAX as u64);

/// A check under way.
pub(super) struct Online {
    recorder: Arc<Recorder>,
    cancel: Cancel,
    thread: JoinHandle<(Seen, Option<String>)>,
    decided_by: &'static str,
}

/// What it has seen of a workload.
#[derive(Clone, Debug, Default)]
pub(super) struct OnlineOutcome {
    seen: Seen,
    anomaly: Option<String>,
    decided_by: &'static str,
    /// Whether it could follow to the end.
    followed: bool,
}

impl Online {
    /// Begins to check what `recorder` writes to a store at revision `base`; `None` for a workload that cannot be checked
    /// while it goes on. At the first anomaly `stop` is told.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn begin(
        workload: WorkloadName,
        recorder: &Arc<Recorder>,
        base: i64,
        stop: Stop,
    ) -> io::Result<Option<Online>> {
        let cancel = Cancel::default();
        let options = Options {
            time_limit: NO_LIMIT,
            states_max: STATES_MAX,
            cancel: cancel.clone(),
            ..Options::default()
        };
        let (mut judge, decided_by): (Box<dyn Judge>, _) = match workload {
            WorkloadName::Register => (Box::new(Registers::new(&options)), "windows between moments of rest"),
            WorkloadName::Kv => (Box::new(KeyValues::new(base)), "order of revisions"),
            WorkloadName::Set => (Box::new(Sets::new()), "chain of reads"),
            WorkloadName::Append
            | WorkloadName::Bank
            | WorkloadName::Election
            | WorkloadName::Lease
            | WorkloadName::Lock
            | WorkloadName::LockUnfenced
            | WorkloadName::Txn
            | WorkloadName::Watch => return Ok(None),
        };
        let (tap, events) = mpsc::sync_channel(EVENTS_MAX);
        let check = move || {
            let mut anomaly = None;
            for event in events {
                if let Some(sentence) = judge.event(&event) {
                    anomaly.get_or_insert(sentence);
                    stop.stop();
                    break;
                }
            }
            (judge.seen(), anomaly)
        };
        let thread = thread::Builder::new().name("online".into()).spawn(check)?;
        recorder.tap(tap);
        Ok(Some(Online { recorder: Arc::clone(recorder), cancel, thread, decided_by }))
    }

    /// Ends the check. What it has not looked at yet is left to the check of the whole history.
    pub(super) fn end(self) -> OnlineOutcome {
        let followed = self.recorder.untap();
        if !followed {
            self.cancel.cancel();
        }
        // A check that panicked has seen nothing.
        let (seen, anomaly) = self.thread.join().unwrap_or_default();
        OnlineOutcome { seen, followed: followed || anomaly.is_some(), anomaly, decided_by: self.decided_by }
    }
}

impl OnlineOutcome {
    /// The check among those of the workload, if it found something or has judged all; else why not, for a note.
    pub(super) fn check(&self) -> Result<Check, String> {
        let Seen { decided, held_max, given_up } = &self.seen;
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let mut check = Check {
            name: "online".into(),
            decided_by: self.decided_by.into(),
            counts: [("decided".into(), *decided), ("held_max".into(), count(*held_max))].into(),
            ..Check::default()
        };
        if let Some(sentence) = &self.anomaly {
            check.verdict = Conclusion::Anomaly;
            let (kind, sentence) = ("not-linearizable".into(), sentence.clone());
            check.anomalies.push(Anomaly { kind, sentence, ..Anomaly::default() });
            return Ok(check);
        }
        if !self.followed {
            return Err(format!("it could not follow the load after {decided} operations"));
        }
        if !given_up.is_empty() {
            let few: Vec<&str> = given_up.iter().map(String::as_str).take(3).collect();
            let more = if given_up.len() > few.len() { ", ..." } else { "" };
            return Err(format!(
                "{} parts were too busy or had too many operations of unknown outcome ({}{more}); {decided} operations on \
                 others were decided",
                given_up.len(),
                few.join(", ")
            ));
        }
        Ok(check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::history::event::{Header, VERSION, What};
    use serde_json::{Value, json};

    fn recorder(dir: &tempfile::TempDir) -> Arc<Recorder> {
        let header = Header {
            v: VERSION,
            seed: 1,
            scenario: "register".into(),
            faults: Vec::new(),
            system: "assay".into(),
            nodes: 1,
            clock: "monotonic_ns".into(),
        };
        Arc::new(Recorder::create(&dir.path().join("history.jsonl"), &header).unwrap())
    }

    fn operation(recorder: &Recorder, f: &str, value: Value, answer: Value, rev: Option<i64>) {
        let (f, key, p) = (f.to_string(), Some("k".to_string()), 1);
        recorder.append(What::Invoke { p, node: None, f: f.clone(), key: key.clone(), value }).unwrap();
        recorder.append(What::Ok { p, f, key, value: answer, rev }).unwrap();
    }

    #[tokio::test]
    async fn the_load_is_told_to_stop_at_the_first_anomaly() {
        let dir = tempfile::tempdir().unwrap();
        let (recorder, stop) = (recorder(&dir), Stop::default());
        let online =
            Online::begin(WorkloadName::Register, &recorder, 1, stop.clone()).unwrap().expect("a check");
        operation(&recorder, "write", json!(1), Value::Null, Some(2));
        operation(&recorder, "write", json!(2), Value::Null, Some(3));
        operation(
            &recorder,
            "read",
            Value::Null,
            json!({"value": 1, "mod_revision": 2, "version": 1}),
            Some(3),
        );
        stop.stopped().await;
        let check = online.end().check().expect("it found something");
        assert_eq!(check.verdict, Conclusion::Anomaly);
        let sentence = &check.anomalies[0].sentence;
        assert!(sentence.contains("operations on k") && sentence.contains("read"), "{sentence}");
    }

    #[test]
    fn what_was_judged_to_the_end_is_valid_and_what_was_not_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (recorder, stop) = (recorder(&dir), Stop::default());
        let online =
            Online::begin(WorkloadName::Register, &recorder, 1, stop.clone()).unwrap().expect("a check");
        operation(&recorder, "write", json!(1), Value::Null, Some(2));
        operation(
            &recorder,
            "read",
            Value::Null,
            json!({"value": 1, "mod_revision": 2, "version": 1}),
            Some(2),
        );
        let outcome = online.end();
        let check = outcome.check().expect("all was judged");
        assert_eq!(
            (check.verdict, check.counts["decided"], stop.is_stopped()),
            (Conclusion::Valid, 2, false)
        );
        let slow = OnlineOutcome { followed: false, ..outcome.clone() };
        assert!(slow.check().is_err_and(|why| why.contains("could not follow")));
        let seen = Seen { given_up: ["k".to_string()].into(), ..outcome.seen.clone() };
        let busy = OnlineOutcome { seen, ..outcome };
        assert!(busy.check().is_err_and(|why| why.contains("1 parts were too busy")));
        assert!(Online::begin(WorkloadName::Bank, &recorder, 1, stop).unwrap().is_none());
    }
}
