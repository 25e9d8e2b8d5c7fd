//! What checks of linearizability cost, beside what others' cost.
//!
//! `cargo bench -p assay-checker --bench linearizability [-- FILTER [SIZE]]` prints the table. Porcupine's and Knossos's
//! figures are of their last releases on a like machine; stateright's tester runs here, on what it can finish. With
//! `ASSAY_HISTORIES` naming a folder of published histories, Porcupine's are measured too. Time is CPU time.
mod published;
mod registers;
mod stores;
mod table;

use std::time::Duration;

use checker::Options;
use checker::budget::Budget;
use checker::linearizability::{Call, Decision, Layer, decide_parts, split, stateright};
use checker::revision::{self, Beginning, Outcome, Stamp};
use checker::spec::SequentialSpec;
use checker::spec::kv::KvOp;
use checker::spec::register::Register;

use registers::Load;
use table::{Answer, Rival, gave_up, head, line, took};

const TIME_MAX: Duration = Duration::from_secs(60);

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let filter = args.next().unwrap_or_default();
    let only = args.next().and_then(|size| size.parse().ok());
    let wanted = |name: &str| name.contains(&filter);
    if wanted("unique") {
        unique();
    }
    if wanted("values") {
        few_values();
    }
    if wanted("store") {
        revisions(only);
    }
    if wanted("published") {
        published::all();
    }
    if wanted("stateright") {
        against_stateright();
    }
}

fn budget() -> Budget {
    Budget::new(&Options { time_limit: TIME_MAX, ..Options::default() })
}

fn decide<S: SequentialSpec>(spec: &S, calls: Vec<Call<S::Op>>) -> Answer {
    let parts = split(spec, calls);
    let decisions = decide_parts(spec, &parts, 1, &budget());
    let by = decisions.iter().map(|decided| decided.by).max().map_or("nothing", Layer::name);
    let mut decisions = decisions.into_iter().map(|decided| decided.decision);
    let worst = decisions.find(|decision| !matches!(decision, Decision::Legal));
    let answer = match worst {
        None => "valid".to_owned(),
        Some(Decision::Illegal(_)) => "anomaly".to_owned(),
        Some(Decision::Undecided { stop, done }) => format!("unknown ({stop:?} after {done})"),
        Some(Decision::Legal) => unreachable!("only what is not legal was looked for"),
    };
    Answer { answer, by: by.to_owned() }
}

fn register(name: &str, load: Load, rival: Rival) -> f64 {
    let calls = registers::make(load, 7);
    let Load { operations, clients, .. } = load;
    let name = format!("{name}, {clients} clients{}", if load.bad { ", one bad read" } else { "" });
    line(&name, operations, rival, || decide(&Register::default(), calls))
}

/// Sizes that show how the cost grows.
const SIZES: [usize; 4] = [1000, 10_000, 100_000, 1_000_000];

/// Tells what an operation costs at each size, and over the logarithm of it.
fn growth(ms: [f64; SIZES.len()]) {
    let each = SIZES.iter().zip(ms).filter(|(_, ms)| !ms.is_nan()).map(|(size, ms)| {
        let us = ms * 1e3 / *size as f64;
        format!("{size}: {us:.3} us ({:.4} us over log2 n)", us / (*size as f64).log2())
    });
    println!("an operation of {}", each.collect::<Vec<_>>().join(", "));
}

fn unique() {
    head("Registers, each value written once");
    let load = |operations, clients, info_one_in| Load {
        operations,
        clients,
        values: None,
        info_one_in,
        bad: false,
    };
    let stuck = gave_up("Porcupine", 60_000.0, "no answer");
    for clients in [20, 30, 50, 100] {
        register("unique", load(2000, clients, 0), stuck);
    }
    register("unique", load(10_000, 10, 0), took("Porcupine", 2100.0));
    register("unique", load(100_000, 10, 0), Rival { name: "Porcupine", ms: None, said: "out of 13 GB" });
    growth(SIZES.map(|size| register("unique", load(size, 50, 1000), table::NONE)));
    register("unique", Load { bad: true, ..load(1_000_000, 50, 1000) }, table::NONE);
}

fn few_values() {
    head("Registers of values 0 to 4");
    let load = |operations, clients, bad| Load { operations, clients, values: Some(5), info_one_in: 0, bad };
    let memory = Rival { name: "Porcupine", ms: None, said: "out of 13 GB" };
    let stuck = gave_up("Porcupine", 60_000.0, "no answer");
    register("values 0-4", load(1000, 10, false), took("Porcupine", 20.0));
    register("values 0-4", load(1000, 10, true), took("Porcupine", 370.0));
    register("values 0-4", load(10_000, 10, false), took("Porcupine", 450.0));
    register("values 0-4", load(10_000, 10, true), took("Porcupine", 30_000.0));
    register("values 0-4", load(100_000, 10, false), memory);
    register("values 0-4", load(100_000, 10, true), memory);
    register("values 0-4", load(2000, 20, false), took("Porcupine", 7800.0));
    for clients in [30, 50, 100] {
        register("values 0-4", load(2000, clients, false), stuck);
    }
    for clients in [20, 30] {
        register("values 0-4", load(2000, clients, true), table::NONE);
    }
}

/// `only`: the one size to measure, for a profile.
fn revisions(only: Option<usize>) {
    head("Stores with revisions: puts, deletes, ranges, transactions; 2 % of the writes without an answer");
    growth(SIZES.map(|operations| {
        if only.is_some_and(|only| only != operations) {
            return f64::NAN;
        }
        let calls = stores::make(operations, 100, 2, 7);
        line("store, 100 clients", operations, table::NONE, || by_revision(&calls))
    }));
}

/// What a check of a store does, from typed operations on.
fn by_revision(calls: &[Call<KvOp>]) -> Answer {
    let steps = revision::from_kv(calls, &[]).expect("every answer has a revision");
    let stamps: Vec<Stamp> = steps
        .iter()
        .filter(|step| step.rev > 0)
        .map(|step| Stamp {
            id: step.id,
            process: 0,
            rev: step.rev,
            write: step.is_write(),
            stale_allowed: false,
            invoked: step.invoked,
            returned: step.returned,
        })
        .collect();
    let ordered = revision::backwards(&stamps).is_empty() && revision::twice(&stamps).is_empty();
    let beginning = Beginning { revision: None, shared: false };
    let answer = match revision::replay(&steps, beginning, &budget()) {
        Outcome::Fits(_) if ordered => "valid".to_owned(),
        Outcome::Fits(_) | Outcome::Wrong(..) => "anomaly".to_owned(),
        Outcome::Undecided(stop, done) => format!("unknown ({stop:?} after {done})"),
    };
    Answer { answer, by: "order of revisions".to_owned() }
}

fn against_stateright() {
    head("Beside stateright's tester, in the same run");
    for (operations, clients) in [(16, 3), (24, 4), (40, 4)] {
        let load = Load { operations, clients, values: Some(5), info_one_in: 0, bad: false };
        let calls = registers::make(load, 11);
        let spec = Register::default();
        let started = std::time::Instant::now();
        let budget = Budget::new(&Options { time_limit: Duration::from_secs(20), ..Options::default() });
        let theirs = stateright::decide(&spec, &calls, &budget);
        // It works on a thread of its own.
        let ms = started.elapsed().as_secs_f64() * 1e3;
        let rival = match theirs {
            Ok(_) => took("stateright", ms),
            Err(_) => gave_up("stateright", ms, "no answer"),
        };
        let name = format!("values 0-4, {clients} clients");
        line(&name, operations, rival, || decide(&spec, calls));
    }
}
