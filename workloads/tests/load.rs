//! Loads against a server of this repository in this process: streams, leases, encryption, users, and histories.

use server::{
    api::{self, Limits},
    auth::Principal,
    backend::Backend,
    fake::Fake,
    metrics::Metrics,
    proto::{
        etcdserverpb::{
            AuthEnableRequest, AuthUserAddRequest, AuthUserGrantRoleRequest, auth_client::AuthClient,
        },
        internal::command::Request,
    },
    tls::{Accept, Own, Tls},
};
use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::{net::TcpListener, runtime::Runtime};
use workloads::{
    load::{
        Bench, BenchResults, Client, Endpoint, Interval, Load, Plan, Security, Trace, Watching, Workload,
    },
    recorder::Recorder,
};

/// A server on a port of its own, for as long as the value lives.
struct Store {
    runtime: Runtime,
    address: SocketAddr,
    fake: Fake,
}

fn store_with(tls: Option<Arc<Tls>>) -> Store {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let (address, fake) = (listener.local_addr().unwrap(), Fake::new());
    let limits = Limits { bcrypt_cost: 4, ..Limits::default() };
    let app = api::app(fake.clone(), limits, Arc::new(Metrics::default()));
    runtime.spawn(api::serve_with(listener, app, tls, std::future::pending()));
    Store { runtime, address, fake }
}

fn store() -> Store {
    store_with(None)
}

impl Store {
    fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&self.address.to_string()).unwrap()
    }

    fn revision(&self) -> i64 {
        self.fake.state().kv().revision()
    }
}

fn bench(endpoint: Endpoint, workload: Workload, clients: usize, operations: u64) -> Bench {
    let load = Load::Closed { clients, operations_max: Some(operations) };
    let plan = Plan::new(vec![endpoint], workload, load, Duration::from_secs(60));
    Bench { plan, warmup: Duration::ZERO, client: Client::Raw, watched: Vec::new() }
}

fn run(bench: &Bench) -> (BenchResults, Interval) {
    let (results, sum) = bench.run(None, BenchResults::default(), &AtomicBool::new(false), |_| {}).unwrap();
    assert_eq!(results.error, None);
    (results, sum)
}

fn small(name: &str) -> Workload {
    Workload { key_count: 50, ..Workload::named(name).unwrap() }
}

#[test]
fn every_watch_sees_every_put_with_its_times() {
    let store = store();
    for client in [Client::Raw, Client::Tonic] {
        let watching = Watching { streams: 3, per_stream: 4, whole: true, prev_kv: true };
        let workload = Workload { watching: Some(watching), ..small("watch-latency") };
        let (results, _) = run(&Bench { client, ..bench(store.endpoint(), workload, 4, 200) });
        assert_eq!((results.all.ok, results.all.failed), (200, 0), "events are no operations");
        let events = &results.ops["watch-event"];
        assert_eq!(events.ok, 200 * 12, "{client}: {:?}", results.invalid);
        assert!(events.response.max_ms < 60_000.0 && events.response.p50_ms > 0.0, "{events:?}");
        // An event is sent to nobody before its put was.
        assert!(events.response.p50_ms >= events.service.p50_ms);
    }
}

#[test]
fn watches_of_one_key_each_see_that_key() {
    let store = store();
    let watching = Watching { streams: 2, per_stream: 25, whole: false, prev_kv: false };
    let workload = Workload { watching: Some(watching), ..small("watch") };
    let (results, _) = run(&bench(store.endpoint(), workload, 4, 300));
    // Fifty watches of fifty keys: each put is seen by just one.
    assert_eq!(results.ops["watch-event"].ok, 300, "{:?}", results.invalid);
}

#[test]
fn leases_are_renewed_and_the_past_is_replayed() {
    let store = store();
    for (name, operation) in [("lease-keepalive", "lease-keepalive"), ("watch-get", "watch-get")] {
        let (results, _) = run(&bench(store.endpoint(), small(name), 8, 160));
        assert_eq!((results.ops[operation].ok, results.all.failed), (160, 0), "{name}");
    }
    // Eight writes of the key that is watched, and nothing else.
    assert_eq!(store.revision(), 1 + 8);
}

#[test]
fn a_store_in_this_process_takes_puts_without_a_server() {
    let mut bench = bench(store().endpoint(), small("mvcc-put"), 1, 5000);
    bench.plan.endpoints.clear();
    let (results, _) = run(&bench);
    assert_eq!((results.ops["put"].ok, results.all.failed), (5000, 0));
    assert!(results.generator.cpu_us_per_op > 0.0);
}

#[test]
fn the_load_of_an_api_server_lists_watches_leases_and_compacts() {
    let store = store();
    let workload = Workload { compact_every: Some(Duration::from_millis(50)), ..small("kubernetes") };
    // Far more revisions than are kept.
    let (results, _) = run(&bench(store.endpoint(), workload, 8, 4000));
    assert_eq!(results.all.failed, 0, "{:?}", results.ops);
    for name in ["update", "get", "list", "insert", "delete", "event", "watch-event"] {
        assert!(results.ops[name].ok > 0, "no {name}");
    }
    assert!(results.compactions > 0 && results.invalid.iter().all(|why| !why.contains("compact")));
    let state = store.fake.state();
    // As many as were asked for at a time before there was one.
    assert!((1..=8).contains(&state.leases().len()), "events share leases: {}", state.leases().len());
    assert!(state.kv().compact_revision() > 1, "history is forgotten");
}

#[test]
fn an_encrypted_server_is_driven_and_one_that_cannot_be_trusted_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let made =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let cert = write("cert.pem", made.cert.pem());
    let key = write("key.pem", made.signing_key.serialize_pem());
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let foreign = write("foreign.pem", other.cert.pem());
    let store = store_with(Some(Arc::new(tls(&cert, &key))));
    let url = format!("https://{}", store.address);
    let trusting = |ca: &Path| Security { ca: Some(ca.to_path_buf()), ..Security::default() };
    let takes_any = Security { takes_any: true, ..Security::default() };
    for security in [trusting(&cert), takes_any] {
        for client in [Client::Raw, Client::Tonic] {
            let endpoint = Endpoint::secure(&url, &security).unwrap();
            // Values larger than what is encrypted at a time.
            let workload = Workload { values: "uniform:1-100000".parse().unwrap(), ..small("ycsb-a") };
            let workload = Workload { mix: "put=1,get=1".parse().unwrap(), ..workload };
            let (results, _) = run(&Bench { client, ..bench(endpoint, workload, 8, 300) });
            assert_eq!((results.all.ok, results.all.failed), (300, 0), "{client}");
        }
    }
    let endpoint = Endpoint::secure(&url, &trusting(&foreign)).unwrap();
    let mut refused = bench(endpoint, small("put"), 1, 2);
    refused.plan.duration = Duration::from_secs(1);
    let (results, _) = refused.run(None, BenchResults::default(), &AtomicBool::new(false), |_| {}).unwrap();
    assert_eq!(results.all.ok, 0);
    assert!(results.error.unwrap_or_default().contains("certificate"), "it says why");
    let none = Endpoint::secure(&url, &Security::default()).unwrap_err();
    assert!(none.contains("--cacert"), "{none}");
}

fn tls(cert: &Path, key: &Path) -> Tls {
    Tls::open(Accept::anybody(Own { cert: cert.into(), key: key.into() }), false).unwrap()
}

#[test]
fn a_user_is_let_in_with_a_token_and_nobody_without() {
    let store = store();
    let url = format!("http://{}", store.address);
    store.runtime.block_on(async {
        let mut auth = AuthClient::connect(url).await.unwrap();
        let user =
            AuthUserAddRequest { name: "root".into(), password: "secret".into(), ..Default::default() };
        auth.user_add(user).await.unwrap();
        let grant = AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
        auth.user_grant_role(grant).await.unwrap();
        auth.auth_enable(AuthEnableRequest {}).await.unwrap();
    });
    let mut endpoint = store.endpoint();
    let wrong = store.runtime.block_on(endpoint.log_in("root", "guess")).unwrap_err();
    assert!(wrong.contains("root") && wrong.contains("authentication failed"), "{wrong}");
    let nobody = bench(endpoint.clone(), small("put"), 1, 5);
    let (results, _) = nobody.run(None, BenchResults::default(), &AtomicBool::new(false), |_| {}).unwrap();
    assert_eq!((results.all.ok, results.all.failed), (0, 5), "{:?}", results.all.errors);
    store.runtime.block_on(endpoint.log_in("root", "secret")).unwrap();
    for (client, name) in [(Client::Raw, "put"), (Client::Tonic, "put"), (Client::Raw, "watch-latency")] {
        let (results, _) = run(&Bench { client, ..bench(endpoint.clone(), small(name), 4, 100) });
        assert_eq!((results.all.ok, results.all.failed), (100, 0), "{client} {name}");
    }
}

fn header() -> checker::history::event::Header {
    checker::history::event::Header {
        v: checker::history::event::VERSION,
        seed: 1,
        scenario: "register".into(),
        faults: Vec::new(),
        system: "fake".into(),
        nodes: 1,
        clock: "monotonic_ns".into(),
    }
}

/// Not all that is written is recorded.
fn shared() -> checker::Options {
    checker::Options { shared_store: true, ..checker::Options::default() }
}

#[test]
fn a_history_of_some_keys_is_recorded_at_load_and_is_valid() {
    let store = store();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.jsonl");
    let recorder = Arc::new(Recorder::create(&path, &header()).unwrap());
    let trace = Arc::new(Trace::new(recorder, 20));
    let workload = Workload { mix: "get=2,put=2,rmw=1,get-serializable=1".parse().unwrap(), ..small("mix") };
    let mut bench = bench(store.endpoint(), workload, 16, 4000);
    bench.plan.workers = 2;
    bench.prepare(&AtomicBool::new(false)).unwrap();
    store.runtime.block_on(trace.first_writes(&bench.plan)).unwrap();
    bench.plan.trace = Some(Arc::clone(&trace));
    let (results, _) = run(&bench);
    assert_eq!((results.all.ok, results.all.failed), (4000, 0));
    store.runtime.block_on(trace.last_reads(&bench.plan)).unwrap();
    assert!(trace.failure().is_none());
    drop((bench, trace));
    let history = checker::History::load(&path).unwrap();
    // Two in five keys, and a first write and a last read of each.
    assert!(history.operations().len() > 1000, "{}", history.operations().len());
    let report = checker::check(&history, &shared());
    assert!(report.verdict.is_valid(), "{:?} {:?}", report.verdict, report.problems);
}

/// Other writers to the keys are noticed: the check is of what was really there.
#[test]
fn a_write_that_nobody_recorded_makes_a_history_invalid() {
    let store = store();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.jsonl");
    let trace = Arc::new(Trace::new(Arc::new(Recorder::create(&path, &header()).unwrap()), 50));
    let workload = Workload { preload: false, ..small("put") };
    let mut bench = bench(store.endpoint(), workload, 4, 500);
    store.runtime.block_on(trace.first_writes(&bench.plan)).unwrap();
    bench.plan.trace = Some(Arc::clone(&trace));
    run(&bench);
    let stranger = server::proto::etcdserverpb::PutRequest {
        key: "bench/0000000007".into(),
        value: "something else".into(),
        ..Default::default()
    };
    store.runtime.block_on(store.fake.propose_as(Request::Put(stranger), Principal::Nobody)).unwrap();
    store.runtime.block_on(trace.last_reads(&bench.plan)).unwrap();
    drop((bench, trace));
    let report = checker::check(&checker::History::load(&path).unwrap(), &shared());
    assert!(!report.verdict.is_valid(), "a value of nobody's was read");
}
