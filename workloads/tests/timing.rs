//! What is measured against what is true, where time itself is the question. In a program of their own, so that no
//! other test takes the processor meanwhile; a run whose generator was late, which it says of itself, is made again.

use std::{
    sync::{Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};
use workloads::load::{
    Behaviour, Bench, BenchResults, Client, Endpoint, Load, NullServer, Plan, Probe, Workload, search,
};

/// How late the generator may be at the 99th percentile, in ms, and how often a run is made again.
const LAG_MS_MAX: f64 = 10.0;
const TRIES: usize = 6;

/// One at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Puts at a constant rate on a server of its own, without a warm-up.
fn measure(behaviour: Behaviour, per_s: f64, duration: Duration, in_flight_max: usize) -> BenchResults {
    let mut tries = 0;
    loop {
        let server = NullServer::start(behaviour).unwrap();
        let endpoint = Endpoint::parse(&server.address().to_string()).unwrap();
        let load = Load::Open { shape: per_s.to_string().parse().unwrap(), arrivals: Default::default() };
        let mut plan = Plan::new(vec![endpoint], Workload::named("put").unwrap(), load, duration);
        plan.in_flight_max = in_flight_max;
        // Late is late here, and no failure.
        plan.deadline = Duration::from_secs(60);
        let bench = Bench { plan, warmup: Duration::ZERO, client: Client::Raw, watched: Vec::new() };
        let (results, _) = bench.run(None, BenchResults::default(), &AtomicBool::new(false), |_| {}).unwrap();
        tries += 1;
        let lag_ms = results.generator.lag.p99_ms;
        if lag_ms < LAG_MS_MAX || tries == TRIES {
            return results;
        }
        eprintln!("{per_s}/s, try {tries}: the generator was late by {lag_ms:.1} ms");
    }
}

/// A server that is stopped for 1 s in a run of 10 s at 1,000/s: with a few calls under way at a time, hardly any
/// service time shows it, and a tenth of the response times do.
#[test]
fn response_time_shows_what_service_time_omits() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let stall = Behaviour::Stall { after: Duration::from_secs(4), lasts: Duration::from_secs(1) };
    let results = measure(stall, 1000.0, Duration::from_secs(10), 8);
    let put = &results.ops["put"];
    assert_eq!((put.ok, results.all.failed), (10_000, 0));
    let (response, service) = (put.response.p99_ms, put.service.p99_ms);
    assert!((800.0..1500.0).contains(&response), "p99 of response time: {response} ms");
    assert!(service * 4.0 < response, "p99 of service time: {service} ms, of response time: {response} ms");
    assert!(put.service.max_ms > 800.0, "some calls were under way when it stopped");
    assert!(results.backlog_max > 800, "{}", results.backlog_max);
}

/// A search through sockets, on a server with one queue whose knee is known.
///
/// The median is what is bounded, and the server makes up for pauses: whatever else the machine does delays what waits
/// just then, where too high a rate delays everything more and more.
#[test]
fn the_knee_of_a_server_is_found_under_real_load() {
    const KNEE_PER_S: f64 = 1000.0;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Behaviour::Queue { per_s: KNEE_PER_S, saved: Duration::from_secs(1) };
    let slo = "p50<50ms,errors<0.1%".parse().unwrap();
    let found = search(&slo, 0.8 * KNEE_PER_S, 1e5, |rate, longer| {
        let duration = Duration::from_secs(if longer { 6 } else { 3 });
        Some(Probe::of(rate, &measure(server, rate, duration, 100_000)))
    });
    let told = |probe: &Probe| (probe.rate, probe.per_s, probe.response.p50_ms, probe.kept);
    let tried: Vec<_> = found.probes.iter().map(told).collect();
    let rate = found.rate.unwrap_or_else(|| panic!("no rate was found: {tried:?}"));
    assert!((rate / KNEE_PER_S - 1.0).abs() < 0.03, "found {rate}, the knee is {KNEE_PER_S}: {tried:?}");
}
