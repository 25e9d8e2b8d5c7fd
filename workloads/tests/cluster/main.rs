//! Clusters and faults, on real processes in real networks.
//!
//! The system under test is a stand-in that this program itself plays when it is called `etcd` (`fake`), or
//! the real one where `ASSAY_ETCD_BIN` names the folder of its programs. Cases that need network namespaces
//! are left out, with a line that says why, where the machine does not allow them.
//!
//! This is a program of its own rather than a set of `#[test]` functions since it enters namespaces, which
//! must happen before any thread is made. Like the usual harness it takes words that select cases.
mod cases;
mod fake;
mod inside;
mod outer;
mod setup;

use std::{env, path::Path, process::exit, time::Instant};

/// A case's name, and what it does.
type Case = (&'static str, fn());

const CASES: &[Case] = &[
    ("local_nodes_are_killed_paused_and_cut", cases::local_basics),
    ("local_clusters_run_side_by_side", cases::side_by_side),
    ("local_plan_of_all_faults", cases::local_all_faults),
    ("local_plan_of_overlapping_faults", cases::local_overlapping_faults),
    ("a_stop_undoes_what_is_active", cases::stop_heals),
    ("a_crash_is_told_once", cases::crash),
    ("a_fault_that_cannot_be_proved_is_undone_and_told", cases::unproved),
    ("programs_that_do_not_serve", cases::bad_programs),
    ("local_nodes_die_with_the_harness", outer::local_dies),
    ("netns_plan_of_all_faults", outer::netns_all_faults),
    ("netns_plan_of_all_faults_as_nobody", outer::netns_all_faults_as_nobody),
    ("netns_rules_are_those_of_all_active_cuts", outer::netns_rules),
    ("netns_vanishes_with_the_outermost_process", outer::netns_dies),
    ("netns_signals_go_in_and_the_exit_status_comes_out", outer::netns_signals),
];

fn main() {
    let mut arguments = env::args();
    let own = arguments.next().unwrap_or_default();
    if Path::new(&own).file_name().is_some_and(|name| name == "etcd") {
        exit(fake::main());
    }
    let arguments: Vec<String> = arguments.collect();
    if let Some(part) = arguments.first().and_then(|first| first.strip_prefix("--part=")) {
        exit(inside::main(part, Path::new(&arguments[1])));
    }
    if arguments.iter().any(|argument| argument == "--list") {
        CASES.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let words: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut failed = Vec::new();
    for (name, case) in CASES {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            let start = Instant::now();
            let outcome = std::panic::catch_unwind(case);
            let said = if outcome.is_ok() { "ok" } else { "FAILED" };
            println!("test {name} ... {said} ({:.1} s)", start.elapsed().as_secs_f64());
            if outcome.is_err() {
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        println!("failed: {failed:?}");
        exit(101);
    }
}
