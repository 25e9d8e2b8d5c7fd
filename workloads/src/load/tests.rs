//! The generator against servers whose behaviour is known.

use super::{
    Action, Behaviour, Bench, BenchResults, Client, Endpoint, Interval, Load, Mix, NullServer, Plan,
    Workload, drive, http2::Failure, statistics,
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

fn endpoint(server: &NullServer) -> Endpoint {
    Endpoint::parse(&server.address().to_string()).expect("an address")
}

fn open(per_s: f64) -> Load {
    Load::Open { shape: per_s.to_string().parse().expect("a rate"), arrivals: Default::default() }
}

fn plan(server: &NullServer, mix: &str, load: Load, duration: Duration) -> Plan {
    let workload =
        Workload { mix: mix.parse::<Mix>().expect("a mix"), ..Workload::named("mix").expect("known") };
    Plan::new(vec![endpoint(server)], workload, load, duration)
}

/// Runs it, and gives everything in one.
fn run(plan: &Plan) -> Interval {
    let mut sum = Interval::new(0, plan.workload.mix.0.len());
    drive(plan, &AtomicBool::new(false), |interval| sum.add_serial(&interval));
    sum
}

fn ms(ns: u64) -> u64 {
    ns / 1_000_000
}

#[test]
fn all_that_is_due_is_done_once_whatever_the_number_of_workers() {
    let server = NullServer::start(Behaviour::Echo).unwrap();
    for workers in [1, 3] {
        let before = server.calls();
        let mut plan = plan(&server, "get=1,put=1", open(1000.0), Duration::from_secs(1));
        plan.workers = workers;
        let sum = run(&plan);
        assert_eq!((sum.ok(), sum.failed()), (1000, 0), "{:?}", sum.error);
        assert_eq!(server.calls() - before, 1000);
        assert_eq!(sum.lag.len(), 1000);
        assert!(sum.tallies.iter().all(|tally| tally.ok > 400));
    }
}

#[test]
fn clients_of_a_closed_loop_wait_for_their_answers() {
    let server = NullServer::start(Behaviour::Queue { per_s: 1000.0, saved: Duration::ZERO }).unwrap();
    let load = Load::Closed { clients: 5, operations_max: Some(500) };
    let sum = run(&plan(&server, "put", load, Duration::from_secs(60)));
    assert_eq!((sum.ok(), sum.in_flight_max), (500, 5));
    // Each waits for itself and the four before it.
    let p50 = sum.tallies[0].response.value_at_quantile(0.5);
    assert!(p50 > 4_000_000, "{p50} ns");
}

#[test]
fn operations_of_several_calls_are_one_operation() {
    let server = NullServer::start(Behaviour::Echo).unwrap();
    let sum = run(&plan(&server, "rmw", open(500.0), Duration::from_secs(1)));
    assert_eq!((sum.ok(), sum.failed(), server.calls()), (500, 0, 1000));
}

#[test]
fn errors_are_counted_by_kind_and_stay_in_the_latency() {
    let server = NullServer::start(Behaviour::Status(14)).unwrap();
    let sum = run(&plan(&server, "put", open(500.0), Duration::from_secs(1)));
    assert_eq!((sum.ok(), sum.failed()), (0, 500));
    assert_eq!(sum.tallies[0].errors.get(&Failure::Status(14)), Some(&500));
    assert_eq!(sum.tallies[0].response.len(), 500);
}

#[test]
fn servers_that_are_gone_or_silent_or_speak_garbage_are_counted_against() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = NullServer::start(Behaviour::Silent).unwrap();
    let garbage = NullServer::start(Behaviour::Garbage).unwrap();
    for (address, text) in [(gone, "refused"), (silent.address(), ""), (garbage.address(), "HTTP/2")] {
        let mut plan = plan(&silent, "put", open(100.0), Duration::from_secs(1));
        plan.endpoints = vec![Endpoint::parse(&address.to_string()).unwrap()];
        plan.deadline = Duration::from_millis(300);
        let sum = run(&plan);
        assert_eq!((sum.ok(), sum.failed()), (0, 100));
        assert_eq!(sum.tallies[0].errors.get(&Failure::NotSent), Some(&100));
        assert!(sum.error.unwrap_or_default().contains(text));
        assert!(ms(sum.tallies[0].response.min()) >= 299, "what was never sent took its deadline");
    }
}

#[test]
fn a_hung_call_ends_at_its_deadline() {
    let stall = Behaviour::Stall { after: Duration::ZERO, lasts: Duration::from_secs(600) };
    let server = NullServer::start(stall).unwrap();
    let mut plan = plan(&server, "put", open(200.0), Duration::from_secs(1));
    plan.deadline = Duration::from_millis(400);
    let sum = run(&plan);
    assert_eq!((sum.ok(), sum.failed()), (0, 200));
    assert!(sum.tallies[0].errors.contains_key(&Failure::Deadline), "{:?}", sum.tallies[0].errors);
}

#[test]
fn a_server_that_says_goodbye_is_connected_to_again() {
    let server = NullServer::start(Behaviour::Leaves { after: 20 }).unwrap();
    // With one call at a time on a connection no more than one is sent after a goodbye.
    let load = Load::Closed { clients: 2, operations_max: Some(1000) };
    let mut plan = plan(&server, "put", load, Duration::from_secs(60));
    plan.connections = 2;
    let sum = run(&plan);
    assert_eq!(sum.ok() + sum.failed(), 1000);
    assert!(sum.ok() > 900, "{} of 1000, {:?}", sum.ok(), sum.tallies[0].errors);
}

#[test]
fn a_load_that_is_told_to_stop_ends_and_keeps_what_it_has() {
    let server = NullServer::start(Behaviour::Echo).unwrap();
    let plan = Plan {
        interval: Duration::from_millis(100),
        ..plan(&server, "put", open(1000.0), Duration::from_secs(600))
    };
    let stop = AtomicBool::new(false);
    let mut ok = 0;
    drive(&plan, &stop, |interval| {
        ok += interval.ok();
        stop.store(interval.index >= 4, Ordering::Relaxed);
    });
    assert!(ok > 100, "{ok}");
}

#[test]
fn an_update_reads_what_it_was_too_late_for_and_tries_again() {
    // The null server says neither that a transaction succeeded nor what is there: it ends after so many calls.
    let server = NullServer::start(Behaviour::Echo).unwrap();
    let load = Load::Closed { clients: 1, operations_max: Some(1) };
    let plan = plan(&server, Action::Update.name(), load, Duration::from_secs(60));
    let sum = run(&plan);
    assert_eq!(sum.ok() + sum.failed(), 1);
    assert_eq!(server.calls(), 201);
}

/// The raw client and tonic's, on a server with one queue of 500 operations per second: ten clients wait 20 ms each,
/// and longer where the machine is busy with other things.
#[test]
fn the_raw_client_and_an_ordinary_one_agree() {
    let mut p50_ms = Vec::new();
    for client in [Client::Raw, Client::Tonic] {
        let server = NullServer::start(Behaviour::Queue { per_s: 500.0, saved: Duration::ZERO }).unwrap();
        let load = Load::Closed { clients: 10, operations_max: Some(500) };
        let mut plan = plan(&server, "get=1,put=1", load, Duration::from_secs(60));
        plan.workload = std::sync::Arc::new(Workload { preload: false, ..(*plan.workload).clone() });
        let bench = Bench { plan, warmup: Duration::ZERO, client, watched: Vec::new() };
        let (results, sum) =
            bench.run(None, BenchResults::default(), &AtomicBool::new(false), |_| {}).unwrap();
        assert_eq!((sum.ok(), sum.failed(), server.calls()), (500, 0, 500), "{client}: {:?}", sum.error);
        assert_eq!(results.all.response.count, 500);
        p50_ms.push(results.all.response.p50_ms);
    }
    assert!(p50_ms.iter().all(|ms| *ms > 18.0), "{p50_ms:?}: nobody is served before his turn");
}

/// /dev/full takes no octet.
#[test]
fn what_cannot_be_written_is_told_all_the_same() {
    let server = NullServer::start(Behaviour::Echo).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join("series.csv")).unwrap();
    let load = Load::Closed { clients: 2, operations_max: Some(100) };
    let plan = Plan {
        workload: std::sync::Arc::new(Workload::named("put").unwrap()),
        ..plan(&server, "put", load, Duration::from_secs(60))
    };
    let bench = Bench { plan, warmup: Duration::ZERO, client: Client::Raw, watched: Vec::new() };
    let outcome = bench.run(Some(dir.path()), BenchResults::default(), &AtomicBool::new(false), |_| {});
    let (results, _) = outcome.unwrap();
    assert_eq!(results.all.ok, 100);
    assert!(results.invalid.iter().any(|reason| reason.contains("are not whole")), "{:?}", results.invalid);
}

/// A whole run with its files, and a comparison of it with itself.
#[test]
fn a_run_leaves_files_that_can_be_compared() {
    let server = NullServer::start(Behaviour::Echo).unwrap();
    let mut plan = plan(&server, "get=1,put=1", open(500.0), Duration::from_secs(4));
    plan.workload = std::sync::Arc::new(Workload { key_count: 100, ..(*plan.workload).clone() });
    let bench = Bench { plan, warmup: Duration::from_secs(1), client: Client::Raw, watched: Vec::new() };
    let dir = tempfile::tempdir().unwrap();
    let (results, _) =
        bench.run(Some(dir.path()), BenchResults::default(), &AtomicBool::new(false), |_| {}).unwrap();
    assert_eq!(server.calls(), 100 + 2000, "every key is written once before");
    // What was due in the warm-up and came late counts too.
    assert!((1500..=2000).contains(&results.all.ok), "{}", results.all.ok);
    assert_eq!(results.rows.iter().map(|row| row.ok).sum::<u64>(), 2000);
    for file in ["results.json", "intervals.hlog", "series.csv", "series.jsonl", "put-response.hgrm"] {
        assert!(dir.path().join(file).metadata().unwrap().len() > 0, "{file}");
    }
    let (run, read) = statistics::Run::read(dir.path()).unwrap();
    assert_eq!(read.all.ok, results.all.ok);
    assert!((run.value(statistics::Metric::Throughput) - results.per_s).abs() < 1.0, "{}", results.per_s);
    let same = std::slice::from_ref(&run);
    let compared = statistics::compare(same, same, Default::default());
    assert!(compared.iter().all(|one| (one.ratio - 1.0).abs() < 1e-9 && one.p > 0.5), "{compared:?}");
}
