//! `assay model --validate`: replays what the raft cores of real members took, and judges what they gave out.

use super::{Failure, UNKNOWN, model::cpu_s, print};
use bytes::Bytes;
use checker::raft_invariants::Observer;
use raft::{
    Message, Raft,
    ready::{Mark, Saved, Storage, Write},
};
use server::trace::{Reader, Record, Start, TraceError, digest};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// Exit status for a broken promise.
const ANOMALY: u8 = 1;

/// What the traces of a cluster came to.
#[derive(Debug, Default)]
struct Judged {
    records: u64,
    starts: u64,
    turns: u64,
    /// Broken promises, each with its place.
    broken: Vec<String>,
    /// What is not known, and why.
    unknown: Vec<String>,
}

/// A core that is replayed.
struct Core {
    raft: Raft,
    /// Turns that are not known to be durable, by number, which is what the trace calls them.
    turns: BTreeMap<u64, Given>,
}

/// What a turn may still bring about.
struct Given {
    mark: Mark,
    /// Sent once the turn is durable.
    after: Vec<Message>,
}

/// The disk of a replay: what the trace calls durable is.
struct Nowhere;

impl Storage for Nowhere {
    type Error = Infallible;

    fn save(&mut self, _: &Write) -> Result<(), Infallible> {
        Ok(())
    }
}

pub(super) fn validate(files: &[PathBuf]) -> Result<u8, Failure> {
    let mut traces = Vec::new();
    for file in files {
        let bytes = fs::read(file).map_err(|error| {
            Failure::Usage(format!("{}: {error}; name files of `assay-server --trace`", file.display()))
        })?;
        traces.push((file.as_path(), Bytes::from(bytes)));
    }
    let before = cpu_s();
    let judged =
        judge(&traces).map_err(|(file, error)| Failure::Usage(format!("{}: {error}", file.display())))?;
    let cpu = cpu_s() - before;
    let Judged { records, starts, turns, broken, unknown } = &judged;
    let text: String = broken.iter().chain(unknown).map(|line| format!("{line}\n")).collect();
    print(&format!(
        "{text}{records} records of {} members, {starts} starts, {turns} turns in {cpu:.2} CPU-seconds: {:.3} ms for a \
         hundred\n",
        files.len(),
        cpu * 1e5 / (*records).max(1) as f64
    ))?;
    if !broken.is_empty() {
        return Ok(ANOMALY);
    }
    if !unknown.is_empty() || *starts == 0 {
        return Ok(UNKNOWN);
    }
    print("every turn is what the core gives out, and every promise is kept\n")?;
    Ok(0)
}

/// Replays all traces twice: what was committed must be known before leaders are judged by it.
fn judge<'a>(traces: &[(&'a Path, Bytes)]) -> Result<Judged, (&'a Path, TraceError)> {
    let mut observer = Observer::new();
    let mut first = Judged::default();
    for (file, bytes) in traces {
        replay(file, bytes, &mut observer, Look::Applied, &mut first).map_err(|error| (*file, error))?;
    }
    if first.broken.is_empty() {
        let mut second = Judged::default();
        for (file, bytes) in traces {
            replay(file, bytes, &mut observer, Look::Leaders, &mut second).map_err(|error| (*file, error))?;
        }
        first.broken = second.broken;
    }
    Ok(first)
}

/// What is judged in a pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Turns, what was applied, and what was promised to others and known again after a restart.
    Applied,
    /// Leaders.
    Leaders,
}

fn replay(
    file: &Path,
    bytes: &Bytes,
    observer: &mut Observer,
    look: Look,
    judged: &mut Judged,
) -> Result<(), TraceError> {
    let mut reader = Reader::new(bytes.clone())?;
    let mut core: Option<Core> = None;
    let name = file.display();
    loop {
        let offset = reader.offset();
        let Some(record) = reader.record()? else { break };
        judged.records += 1;
        judged.starts += u64::from(matches!(record, Record::Start(_)));
        judged.turns += u64::from(matches!(record, Record::Turn { .. }));
        // A broken invariant of the core is a panic there, and a finding here.
        let taken = catch_unwind(AssertUnwindSafe(|| take(record, &mut core, observer, look)));
        match taken {
            Ok(Ok(())) => {}
            Ok(Err(Stop::Unknown(why))) => judged.unknown.push(format!("{name}, offset {offset}: {why}")),
            Ok(Err(Stop::Broken(why))) => {
                judged.broken.push(format!("{name}, offset {offset}: {why}"));
                core = None;
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()));
                let text = text.unwrap_or_default();
                judged.broken.push(format!("{name}, offset {offset}: an invariant is broken: {text}"));
                core = None;
            }
        }
    }
    Ok(())
}

enum Stop {
    Broken(String),
    /// From here to the member's next start.
    Unknown(String),
}

fn take(record: Record, core: &mut Option<Core>, observer: &mut Observer, look: Look) -> Result<(), Stop> {
    match record {
        Record::Start(start) => {
            let begun = begin(*start)?;
            if look == Look::Applied {
                observer.started(&begun.raft.view()).map_err(|why| Stop::Broken(why.to_string()))?;
            }
            *core = Some(begun);
        }
        Record::Gap(lost) => {
            *core = None;
            return Err(Stop::Unknown(format!(
                "{lost} records were left out, since the disk was too slow; nothing is known up to the next start"
            )));
        }
        Record::Input(input) => {
            let Some(core) = core else { return Ok(()) };
            // A refusal is an answer like any other: what follows from it shows in the next turn.
            let _ = core.raft.step(input);
            saw(core, observer, look)?;
        }
        Record::Persisted(number) => {
            let Some(core) = core else { return Ok(()) };
            let Some(Given { mark, .. }) = core.turns.get(&number) else {
                return Err(Stop::Broken(format!("turn {number} is durable and was never given out")));
            };
            let mark = *mark;
            for Given { after, .. } in core.turns.range_mut(..=number).map(|(_, given)| given) {
                promise(std::mem::take(after), observer, look)?;
            }
            core.turns.retain(|known, _| *known >= number);
            let _ = core.raft.step(raft::Input::Persisted(mark));
            saw(core, observer, look)?;
        }
        Record::Turn { mark, digest: wanted } => {
            let Some(core) = core else { return Ok(()) };
            let mut ready = core.raft.ready();
            let number = ready.mark().number();
            if (number, digest(&ready)) != (mark, wanted) {
                return Err(Stop::Broken(format!(
                    "the core gives out another turn {mark} than the member did: {ready:?}"
                )));
            }
            if look == Look::Applied {
                let (id, term) = (core.raft.id(), core.raft.term());
                for entry in &ready.committed {
                    observer.applied(id, term, entry, None).map_err(|why| Stop::Broken(why.to_string()))?;
                }
            }
            promise(std::mem::take(&mut ready.messages), observer, look)?;
            let Ok(Saved { messages, mark }) = ready.save(&mut Nowhere);
            // One with nothing to write has the number of the turn before it.
            core.turns
                .entry(number)
                .or_insert_with(|| Given { mark, after: Vec::new() })
                .after
                .extend(messages);
        }
    }
    Ok(())
}

/// Messages leave the member.
fn promise(messages: Vec<Message>, observer: &mut Observer, look: Look) -> Result<(), Stop> {
    if look == Look::Applied {
        for message in messages {
            observer.sent(&message).map_err(|why| Stop::Broken(why.to_string()))?;
        }
    }
    Ok(())
}

fn begin(start: Start) -> Result<Core, Stop> {
    let Start { version, config, durable } = start;
    let own = env!("CARGO_PKG_VERSION");
    if version != own {
        return Err(Stop::Unknown(format!(
            "version {version} wrote it, and this is {own}: validate it with that one"
        )));
    }
    let raft =
        Raft::new(config, durable).map_err(|error| Stop::Broken(format!("it cannot start: {error}")))?;
    Ok(Core { raft, turns: BTreeMap::new() })
}

fn saw(core: &Core, observer: &mut Observer, look: Look) -> Result<(), Stop> {
    if look == Look::Leaders {
        observer.saw(&core.raft.view()).map_err(|why| Stop::Broken(why.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::{Body, Config, Durable, Input, LogIndex, Membership, NodeId, Term};
    use server::{replica::Recorder as _, trace::Writer};

    /// The trace of a cluster of one, which writes `command`, as a whole file.
    fn trace(dir: &Path, command: &'static [u8]) -> Bytes {
        let path = dir.join("trace");
        let config = Config::new(NodeId(1), 7);
        let durable = Durable::bootstrap(Membership::of_voters([NodeId(1)]));
        let mut writer = Writer::open(&path, &config, &durable).unwrap();
        let mut raft = Raft::new(config, durable).unwrap();
        let mut turns = step(&mut writer, &mut raft, Input::Campaign);
        turns += step(&mut writer, &mut raft, Input::Propose(Bytes::from_static(command)));
        drop(writer);
        whole(&path, turns)
    }

    /// Has a core take an input, and trace what follows; gives the number of turns.
    fn step(writer: &mut Writer, raft: &mut Raft, input: Input) -> usize {
        let mut turns = 0;
        writer.input(&input);
        raft.step(input).unwrap();
        while raft.has_ready() {
            let ready = raft.ready();
            writer.turn(&ready);
            let persisted = Input::Persisted(ready.mark());
            writer.input(&persisted);
            raft.step(persisted).unwrap();
            turns += 1;
        }
        turns
    }

    /// The file, once its thread has written so many turns.
    fn whole(path: &Path, turns: usize) -> Bytes {
        loop {
            let bytes = Bytes::from(fs::read(path).unwrap());
            let mut reader = Reader::new(bytes.clone()).unwrap();
            let mut marks = 0;
            while let Some(record) = reader.record().unwrap() {
                marks += usize::from(matches!(record, Record::Persisted(_)));
            }
            if marks == turns {
                return bytes;
            }
            std::thread::yield_now();
        }
    }

    fn broken(traces: &[Bytes]) -> Vec<String> {
        let traces: Vec<(&Path, Bytes)> =
            traces.iter().map(|bytes| (Path::new("t"), bytes.clone())).collect();
        judge(&traces).expect("whole traces").broken
    }

    #[test]
    fn a_trace_replays_and_two_that_contradict_each_other_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let (one, two) = (trace(dir.path(), b"a"), trace(other.path(), b"b"));
        assert_eq!(broken(std::slice::from_ref(&one)), [""; 0]);
        // The same member with the same entry twice is no contradiction; with another one it is.
        assert_eq!(broken(&[one.clone(), one.clone()]), [""; 0]);
        let found = broken(&[one, two]);
        assert!(found.iter().any(|line| line.contains("state machine safety")), "{found:?}");
    }

    #[test]
    fn a_member_that_forgot_its_vote_is_found_when_it_starts_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        let config = Config::new(NodeId(1), 7);
        let fresh = || Durable::bootstrap(Membership::of_voters([1, 2, 3].map(NodeId)));
        let mut writer = Writer::open(&path, &config, &fresh()).unwrap();
        let mut raft = Raft::new(config.clone(), fresh()).unwrap();
        let body = Body::Vote { last_index: LogIndex::ZERO, last_term: Term::ZERO, transfer: false };
        let asked = Message { from: NodeId(2), to: NodeId(1), term: Term(1), body };
        let turns = step(&mut writer, &mut raft, Input::Receive(asked));
        assert_eq!(raft.vote(), Some(NodeId(2)));
        drop(writer);
        assert_eq!(broken(&[whole(&path, turns)]), [""; 0]);
        let mut kept = fresh();
        (kept.hard_state.term, kept.hard_state.vote) = (Term(1), Some(NodeId(2)));
        for (start, promise) in [(kept, None), (fresh(), Some("durable before sent"))] {
            drop(Writer::open(&path, &config, &start).unwrap());
            let found = broken(&[whole(&path, turns)]);
            assert_eq!(found.len(), usize::from(promise.is_some()), "{found:?}");
            assert!(found.iter().zip(promise).all(|(line, promise)| line.contains(promise)), "{found:?}");
        }
    }

    #[test]
    fn a_turn_that_the_core_does_not_give_out_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = trace(dir.path(), b"a");
        // Another command under the same digests: the record's checksum is made to match.
        let at = bytes
            .windows(2)
            .rposition(|window| window == [1, b'a'])
            .or_else(|| bytes.iter().rposition(|byte| *byte == b'a'));
        let at = at.expect("the command is in it");
        let mut changed = bytes.to_vec();
        let place = changed[at..].iter().position(|byte| *byte == b'a').expect("it is there") + at;
        changed[place] = b'z';
        let changed = mend(changed);
        let found = broken(&[Bytes::from(changed)]);
        assert!(found.iter().any(|line| line.contains("another turn")), "{found:?}");
    }

    /// Makes all checksums match.
    fn mend(mut bytes: Vec<u8>) -> Vec<u8> {
        let mut at = 16;
        while at < bytes.len() {
            let len = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            let crc = server::trace::checksum(&bytes[at + 8..at + 8 + len]);
            bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
            at += 8 + len;
        }
        bytes
    }
}
