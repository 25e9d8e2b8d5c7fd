//! `cargo bench -p assay-checker --bench isolation`: what the isolation checks cost, beside their rivals' figures.
//!
//! Times are CPU times of this process, on histories that are already in memory; memory is the peak that a check
//! adds to the input. With `ASSAY_HISTORIES` naming a folder of Elle's histories, `elle/huge-scc.edn` is judged,
//! too. Rivals were measured on two shared cores: Elle 0.2.8-SNAPSHOT with a warm JVM and the history in memory,
//! adya 0.1.0 and AWDIT 0.2.1 with parsing.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use checker::budget::Budget;
use checker::decode;
use checker::history::OpId;
use checker::history::import::file;
use checker::isolation::cycles::{Found, cycles};
use checker::isolation::dependencies::of_lists;
use checker::isolation::lists::Versions;
use checker::isolation::txns::{Lists, Span};
use checker::isolation::weak::{Sessions, Weak};
use checker::watch::{self, Act, Asked, Event, EventKind, Log, Past, Response, Seen, Stopped, Watch, Write};
use cpu_time::ThreadTime;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// CPU time of this thread, ms.
fn cpu_ms() -> f64 {
    ThreadTime::now().as_duration().as_secs_f64() * 1e3
}

/// A line of `/proc/self/status`, in bytes.
fn memory(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(name)).expect(name);
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") * 1024.0
}

/// What work takes: CPU time in ms, and bytes beyond what was there before.
fn measured<T>(work: impl FnOnce() -> T) -> (T, f64, f64) {
    // Forgets the old peak; where that is not allowed, the peak is too high and never too low.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let (before, started) = (memory("VmRSS"), cpu_ms());
    let result = black_box(work());
    (result, cpu_ms() - started, (memory("VmHWM") - before).max(0.0))
}

/// Transactions of one to four steps on ten lists of at most 32 elements, by `processes` processes. `stale` in
/// ten thousand read an old snapshot and append all the same.
fn list_append(txns: usize, processes: u64, stale: u32) -> Lists {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut lists = Lists::default();
    let mut active: Vec<(u32, Vec<i64>)> = Vec::new();
    let mut fresh = 0_u64;
    let mut key = |lists: &mut Lists| {
        fresh += 1;
        lists.txns.key(&Arc::from(fresh.to_string()))
    };
    for _ in 0..10 {
        active.push((key(&mut lists), Vec::new()));
    }
    let mut old = active.clone();
    for at in 0..txns {
        if at % 20 == 0 {
            old.clone_from(&active);
        }
        let place = 10 * at as u64;
        // A transaction is open for about as many others as there are other processes.
        let returned = place + 10 * rng.random_range(1..processes) + 5;
        let span = Span { id: OpId(at as u32), process: at as u64 % processes, invoked: place, returned };
        lists.txns.begin(span);
        let snapshot = stale > 0 && rng.random_ratio(stale, 10_000);
        for _ in 0..rng.random_range(1..5) {
            let chosen = rng.random_range(0..active.len());
            if rng.random() {
                if active[chosen].1.len() == 32 {
                    active[chosen] = (key(&mut lists), Vec::new());
                }
                let (key, list) = &mut active[chosen];
                let element = list.len() as i64 + 1;
                list.push(element);
                lists.append(*key, element);
            } else if snapshot && old[chosen].0 == active[chosen].0 {
                lists.read(old[chosen].0, &old[chosen].1);
            } else {
                lists.read(active[chosen].0, &active[chosen].1);
            }
        }
    }
    lists
}

fn judge(lists: &Lists) -> (usize, Found) {
    let budget = Budget::endless();
    let versions = Versions::new(lists, &budget).expect("no end");
    let graph = of_lists(lists, &versions, &budget).expect("no end");
    (versions.wrong.len(), cycles(&graph, &budget).expect("no end"))
}

fn lists() {
    println!(
        "list-append, strict serializability (targets: 1,000,000 in 3 s and 300 B each; invalid at most 2x)"
    );
    println!("{:>10} {:>10} {:>9} {:>10} {:>8}  verdict", "txns", "CPU ms", "us/txn", "B/txn", "Mtxn/s");
    let mut at_most = 0.0;
    for (txns, stale) in [(1_000, 0), (10_000, 0), (100_000, 0), (1_000_000, 0), (1_000_000, 100)] {
        let lists = list_append(txns, 10, stale);
        let ((wrong, found), ms, bytes) = measured(|| judge(&lists));
        let each = txns as f64;
        let kinds: Vec<String> =
            found.cycles.iter().map(|cycle| format!("{:?}/{:?}", cycle.shape, cycle.order)).collect();
        println!(
            "{txns:>10} {ms:>10.1} {:>9.3} {:>10.0} {:>8.2}  {} components, {wrong} wrong {}",
            ms * 1e3 / each,
            bytes / each,
            each / ms / 1e3,
            found.components,
            kinds.join(" "),
        );
        assert_eq!(found.components == 0, stale == 0, "histories without stale reads are serializable");
        if txns == 1_000_000 && stale == 0 {
            at_most = ms;
            println!(
                "           Elle, 1,000,000: 31,700 ms, 6,300 B/txn: {:.0} times as long",
                31_700.0 / ms
            );
            println!("           adya, 200,000: 1,900 ms, 3,440 B/txn: {:.0} times as long", 9_500.0 / ms);
        } else if stale > 0 {
            println!("           invalid / valid: {:.2}", ms / at_most);
        }
    }
}

fn huge_component() {
    let Some(folder) = std::env::var_os("ASSAY_HISTORIES") else { return };
    let (_, history) = file::read(&Path::new(&folder).join("elle/huge-scc.edn")).expect("it is read");
    let decoded = decode::append(&history);
    let lists = Lists::new(&decoded.calls, &decoded.failed, |id| history.operation(id).process);
    let ((wrong, found), ms, _) = measured(|| judge(&lists));
    println!("\nhuge-scc.edn (target: 100 ms): {ms:.1} ms, {} components, {wrong} wrong:", found.components);
    for cycle in &found.cycles {
        println!("  {:?}/{:?} of {} transactions", cycle.shape, cycle.order, cycle.edges.len());
    }
    println!("  Elle: 3,660 ms, and a time-out in the search; adya: 110 ms with parsing");
}

/// Transactions of about five reads and writes of 1,000 registers, causally consistent by construction: a session
/// sees what is behind a point that moves on.
fn sessions(events: usize, sessions: usize) -> (Sessions, usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let keys = 1_000_u32;
    let txns = events / 5;
    let mut history = Sessions::new(keys as usize);
    let initial = txns as u32;
    let mut newest = vec![initial; keys as usize];
    for _ in 0..txns {
        let session = rng.random_range(0..sessions);
        let (mut reads, mut writes): (Vec<(u32, u32)>, Vec<u32>) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let key = rng.random_range(0..keys);
            if rng.random() && !writes.contains(&key) {
                writes.push(key);
            } else if !writes.contains(&key) {
                reads.push((key, newest[key as usize]));
            }
        }
        let txn = history.push(session, reads, writes.clone());
        writes.iter().for_each(|key| newest[*key as usize] = txn);
    }
    (history, txns)
}

fn weak() {
    println!(
        "\n1,000,000 events, 1,000 sessions, 1,000 registers (targets: as AWDIT, which parses too; causal in 2 GiB)"
    );
    let (history, txns) = sessions(1_000_000, 1_000);
    let levels = [
        (Weak::ReadCommitted, "AWDIT 410-630 ms, 131 MB"),
        (Weak::ReadAtomic, "AWDIT 1,240 ms, 240 MB"),
        (Weak::Causal, "AWDIT gave up at 8 GB"),
    ];
    for (level, awdit) in levels {
        let (judged, ms, bytes) = measured(|| history.judge(level, &Budget::endless()).expect("no end"));
        assert!(judged.cycle.is_empty(), "{level:?} holds by construction");
        println!(
            "{level:?}: {ms:.0} ms, {:.0} MB beyond the input, {} demands on {txns} transactions; {awdit}",
            bytes / 1e6,
            judged.demands.len()
        );
    }
}

/// A watch of everything on each of five members, each with all events of a store of 100 keys.
fn watches() {
    const EVENTS: i64 = 200_000;
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    // By key: creation, last write and version, while it is there.
    let mut keys: Vec<Option<Past>> = vec![None; 100];
    let (mut writes, mut responses): (Vec<Write>, Vec<Response>) = (Vec::new(), Vec::new());
    for at in 0..EVENTS {
        let (rev, number) = (at + 2, rng.random_range(0..keys.len()));
        let key = format!("w{number}");
        let prev = keys[number].take();
        let there = prev.as_ref().map_or((rev, 0), |prev| (prev.create_revision, prev.version));
        let deletes = prev.is_some() && rng.random_ratio(1, 5);
        let act =
            if deletes { Act::Delete { key: key.clone() } } else { Act::Put { key: key.clone(), value: at } };
        let (create_revision, version) = if deletes { (0, 0) } else { (there.0, there.1 + 1) };
        if !deletes {
            keys[number] = Some(Past { value: at, create_revision, mod_revision: rev, version });
        }
        let kind = if deletes { EventKind::Delete } else { EventKind::Put };
        let value = (!deletes).then_some(at);
        let event = Event { kind, key, value, create_revision, mod_revision: rev, version, prev };
        responses.push(Response { rev, events: vec![event], fragment: false });
        let done = Some((rev, vec![true]));
        writes.push(Write { id: OpId(at as u32), acts: vec![act], done, failed: false });
    }
    let asked = Asked { key: "w".into(), end: "x".into(), from: 2, prev_kv: true, ..Asked::default() };
    let seen = Seen { created: 1, responses, stopped: Stopped::Enough };
    let members: Vec<Seen> = vec![seen; 5];
    let all: Vec<Watch<'_>> =
        (0..).zip(&members).map(|(n, seen)| Watch { id: OpId(n), asked: &asked, seen }).collect();
    let (broken, ms, bytes) = measured(|| {
        let log = Log::new(&writes, &all, Vec::new());
        all.iter().map(|watch| watch::judge(watch, &log).len()).sum::<usize>()
    });
    assert_eq!(broken, 0, "the watches keep every guarantee");
    println!(
        "\nwatch: 1,000,000 events over 5 members, every guarantee (target: 3,000 ms): {ms:.0} ms, {:.0} MB beyond the \
         input",
        bytes / 1e6
    );
}

/// Each part runs in a process of its own, so that no part finds memory that another one left.
fn main() {
    let parts: [(&str, fn()); 4] =
        [("lists", lists), ("huge", huge_component), ("weak", weak), ("watches", watches)];
    let asked = std::env::args().nth(1).filter(|name| parts.iter().any(|(part, _)| part == name));
    if let Some((_, part)) = parts.iter().find(|(name, _)| asked.as_deref() == Some(*name)) {
        return part();
    }
    for (name, _) in parts {
        let this = std::env::current_exe().expect("a program has a path");
        let status = std::process::Command::new(this).arg(name).status().expect("it starts again");
        assert!(status.success(), "{name}: {status}");
    }
}
