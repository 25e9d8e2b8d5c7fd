//! `assay model --validate`: replays what the raft cores of real members took, and judges what they gave out.

use super::{Failure, UNKNOWN, model::cpu_s, print};
use bytes::Bytes;
use checker::raft_invariants::Observer;
use raft::{Raft, ready::Mark};
use server::trace::{Reader, Record, Start, TraceError, digest};
use std::{
    collections::BTreeMap,
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
    /// Marks of turns, by number: what the trace calls them.
    marks: BTreeMap<u64, Mark>,
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
    /// Turns, and what was applied.
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
        Record::Start(start) => *core = Some(begin(*start)?),
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
            let mark = core.marks.get(&number).copied();
            let mark = mark
                .ok_or_else(|| Stop::Broken(format!("turn {number} is durable and was never given out")))?;
            core.marks.retain(|known, _| *known >= number);
            let _ = core.raft.step(raft::Input::Persisted(mark));
            saw(core, observer, look)?;
        }
        Record::Turn { mark, digest: wanted } => {
            let Some(core) = core else { return Ok(()) };
            let ready = core.raft.ready();
            core.marks.insert(ready.mark().number(), ready.mark());
            if (ready.mark().number(), digest(&ready)) != (mark, wanted) {
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
    Ok(Core { raft, marks: BTreeMap::new() })
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
    use raft::{Config, Durable, Input, Membership, NodeId};
    use server::{replica::Recorder as _, trace::Writer};

    /// The trace of a cluster of one, which writes `command`, as a whole file.
    fn trace(dir: &Path, command: &'static [u8]) -> Bytes {
        let path = dir.join("trace");
        let config = Config::new(NodeId(1), 7);
        let durable = Durable::bootstrap(Membership::of_voters([NodeId(1)]));
        let mut writer = Writer::open(&path, &config, &durable).unwrap();
        let mut raft = Raft::new(config, durable).unwrap();
        let mut turns = 0;
        let mut step = |input: Input| {
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
        };
        step(Input::Campaign);
        step(Input::Propose(Bytes::from_static(command)));
        drop(writer);
        loop {
            let bytes = Bytes::from(fs::read(&path).unwrap());
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
