//! Cases that need no namespace, and those that the namespaces' cases share.

use crate::setup::{Bench, runtime, spec};
use checker::history::event::What;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::oneshot;
use workloads::{
    cluster::{Block, Cluster, ClusterError, Kind, Link, NodeIndex, Probe, ProcessState, System},
    nemesis::{self, FaultSet, Options, Outcome, Pace, Plan, Summary},
};

const N1: NodeIndex = NodeIndex(0);
const N2: NodeIndex = NodeIndex(1);
const N3: NodeIndex = NodeIndex(2);

async fn start(kind: Kind, nodes: usize, dir: &Path) -> Arc<Cluster> {
    match Cluster::start(spec(kind, nodes, dir)).await {
        Ok(cluster) => Arc::new(cluster),
        Err(error) => panic!("the cluster does not start: {error}"),
    }
}

pub(crate) fn local_basics() {
    let bench = Bench::new();
    runtime().block_on(basics(Kind::Local, bench.dir()));
}

/// Kill, pause and cut by hand, each looked at from outside.
pub(crate) async fn basics(kind: Kind, dir: &Path) {
    let cluster = start(kind, 3, dir).await;
    assert!(cluster.leader().await.is_some());

    let ended = cluster.kill(N2).await.expect("killed").expect("it ran");
    assert!(ended.status.contains("SIGKILL"), "{ended:?}");
    assert!(cluster.refuses(N2).await, "a port without a process refuses");
    assert_eq!(cluster.kill(N2).await.expect("nothing to do"), None);
    cluster.start_node(N2).await.expect("started again");
    cluster.wait_ready(Duration::from_secs(20)).await.expect("all serve again");
    assert!(!cluster.refuses(N2).await);

    let ProcessState::Paused { pid } = cluster.pause(N3).await.expect("paused") else { panic!("not paused") };
    cluster.status(N3).await.expect_err("a stopped process does not answer");
    assert_eq!(cluster.resume(N3).await.expect("resumed"), ProcessState::Running { pid });
    cluster.wait_ready(Duration::from_secs(20)).await.expect("it answers again");
    cluster.pause(N3).await.expect("paused");
    assert!(cluster.kill(N3).await.expect("killed").is_some(), "a stopped process can be ended");
    cluster.resume(N3).await.expect("nothing to resume is no error");

    cuts(&cluster).await;
    assert_eq!(cluster.state(N3).await, ProcessState::Killed);
    cluster.heal().await.expect("healed");
    cluster.wait_ready(Duration::from_secs(20)).await.expect("all serve after healing");
    assert_eq!(cluster.crashes().await, [], "nothing ended by itself");
    let log = fs::read_to_string(&cluster.node(N2).log).expect("a log");
    assert_eq!(log.matches("--- start ").count(), 3, "one mark a start: {log}");
}

/// Overlapping cuts, while one node does not run.
async fn cuts(cluster: &Cluster) {
    let (there, back) = (Link::new(N1, N2), Link::new(N2, N1));
    let probe = async |link| cluster.probe(link).await.expect("a probe");
    assert_eq!(probe(there).await, Probe::Arrived);
    cluster.cut(1, BTreeMap::from([(there, Block::Payload)])).await.expect("cut");
    assert_eq!(probe(there).await, Probe::Lost, "the handshake passes, the payload does not");
    assert_eq!(probe(back).await, Probe::Arrived, "the other way is open");
    let before = cluster.dropped().await.expect("counters").get(&there).copied();
    assert!(before.is_some_and(|count| count > 0), "{before:?}");

    let both = BTreeMap::from([(there, Block::Packets), (back, Block::Packets)]);
    cluster.cut(2, both.clone()).await.expect("cut");
    assert_ne!(probe(there).await, Probe::Arrived);
    assert_ne!(probe(back).await, Probe::Arrived);
    assert_eq!(
        probe(Link::new(N1, N3)).await,
        Probe::Arrived,
        "others are untouched, and so is one without process"
    );
    cluster.status(N2).await.expect("clients reach a node that is cut off");
    // A restart does not lose the rules.
    cluster.kill(N2).await.expect("killed");
    cluster.start_node(N2).await.expect("started");
    assert_ne!(probe(there).await, Probe::Arrived, "still cut after a restart");
    assert_eq!(cluster.blocked().await, both);

    cluster.mend(2).await.expect("mended");
    assert_eq!(probe(there).await, Probe::Lost, "the first cut is still there");
    assert_eq!(probe(back).await, Probe::Arrived);
    cluster.mend(1).await.expect("mended");
    assert_eq!(probe(there).await, Probe::Arrived);
    let after = cluster.dropped().await.expect("counters").get(&there).copied();
    assert!(after >= before, "counters outlive the rules: {before:?}, then {after:?}");
}

pub(crate) fn side_by_side() {
    let (one, other) = (Bench::new(), Bench::new());
    runtime().block_on(async {
        let (one, other) = tokio::join!(start(Kind::Local, 3, one.dir()), start(Kind::Local, 3, other.dir()));
        let urls: BTreeSet<_> =
            one.nodes().iter().chain(other.nodes()).map(|node| &node.client_url).collect();
        assert_eq!(urls.len(), 6);
        one.kill(N1).await.expect("killed");
        other.status(N1).await.expect("the other cluster has nothing to do with it");
    });
}

/// Faults that ask nothing of the system but to run: what stands in for etcd here can do no more.
pub(crate) const PROCESSES_AND_LINKS: &str = "kill-leader,kill-follower,kill-lagging,kill-one,kill-minority,\
     kill-majority,kill-all,kill-loop,stop,pause,vanish,partition,cpu,memory";

/// A plan of the named faults, fast: of each once, or of what comes up in a while where they overlap.
fn plan(seed: u64, faults: &str, nodes: usize, overlap: usize) -> Plan {
    let faults = FaultSet::parse(faults).expect("known faults").for_nodes(nodes).0;
    let pace = Pace { fault_ms: 100..=250, gap_ms: 20..=80 };
    let time_limit = Duration::from_millis(if overlap == 1 { 60_000 } else { 3000 });
    let mut plan = Plan::draw(&Options { seed, time_limit, faults, pace, overlap });
    if overlap == 1 {
        let mut drawn = BTreeSet::new();
        plan.faults.retain(|planned| drawn.insert(planned.fault));
        for (planned, at) in plan.faults.iter_mut().zip(0..) {
            planned.start_ms = 200 * at;
        }
    }
    plan.time_limit_ms = 120_000;
    plan
}

/// Carries out a plan of fast faults, and sees that each was proved and undone.
pub(crate) async fn carry_out(kind: Kind, faults: &str, overlap: usize, dir: &Path) {
    let cluster = start(kind, 5, dir).await;
    let plan = plan(11, faults, 5, overlap);
    let (summary, events) = run(&plan, &cluster, std::future::pending()).await;
    assert_eq!(summary.doubts(), Vec::<String>::new(), "{events:#?}");
    let mut seen = BTreeSet::new();
    for Outcome { planned, result } in &summary.outcomes {
        match result {
            nemesis::Result::Proved { start_ms, end_ms } => {
                assert!(end_ms - start_ms >= planned.duration_ms, "{planned:?} from {start_ms} to {end_ms}");
                seen.insert(planned.fault);
            }
            nemesis::Result::Skipped if overlap > 1 => {}
            other => panic!("{planned:?} came to {other:?}"),
        }
    }
    if overlap == 1 {
        assert_eq!(seen, FaultSet::parse(faults).expect("known").iter().collect(), "every fault came up");
    }
    assert_paired(&events);
    assert_healed(&cluster).await;
}

/// Runs a plan and collects its events.
async fn run(plan: &Plan, cluster: &Arc<Cluster>, stop: impl Future<Output = ()>) -> (Summary, Vec<What>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink: nemesis::Sink = {
        let events = Arc::clone(&events);
        Arc::new(move |what| events.lock().expect("no panic in the sink").push(what))
    };
    let summary = nemesis::run(plan, Arc::clone(cluster), sink, stop).await;
    let events = events.lock().expect("no panic in the sink").clone();
    (summary, events)
}

/// Every start has a proof, and an end of the same number with a proof.
fn assert_paired(events: &[What]) {
    let mut open = BTreeMap::new();
    for event in events {
        match event {
            What::NemesisStart { f, fault, value, proof } => {
                assert!(proof.is_object() && value.is_object(), "{event:?}");
                assert_eq!(open.insert(*fault, f.clone()), None);
            }
            What::NemesisEnd { f, fault, proof } => {
                assert!(proof.is_object(), "{event:?}");
                assert_eq!(open.remove(fault).as_ref(), Some(f));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(open.is_empty(), "never ended: {open:?}");
}

async fn assert_healed(cluster: &Cluster) {
    assert!(cluster.blocked().await.is_empty());
    for node in cluster.indexes() {
        assert!(matches!(cluster.state(node).await, ProcessState::Running { .. }), "{node}");
    }
    cluster.wait_ready(Duration::from_secs(20)).await.expect("all serve");
}

pub(crate) fn local_all_faults() {
    let bench = Bench::new();
    runtime().block_on(carry_out(Kind::Local, PROCESSES_AND_LINKS, 1, bench.dir()));
}

pub(crate) fn local_overlapping_faults() {
    let bench = Bench::new();
    runtime().block_on(carry_out(Kind::Local, PROCESSES_AND_LINKS, 3, bench.dir()));
}

pub(crate) fn stop_heals() {
    let bench = Bench::new();
    runtime().block_on(async {
        let cluster = start(Kind::Local, 3, bench.dir()).await;
        let mut plan = plan(5, "partition-one,pause-one", 3, 2);
        for planned in &mut plan.faults {
            planned.duration_ms = 60_000;
        }
        let (begun, both) = oneshot::channel();
        let begun = Mutex::new((0, Some(begun)));
        let sink: nemesis::Sink = Arc::new(move |what| {
            let mut begun = begun.lock().expect("no panic in the sink");
            begun.0 += usize::from(matches!(what, What::NemesisStart { .. }));
            if begun.0 == 2
                && let Some(tell) = begun.1.take()
            {
                tell.send(()).expect("the stop is waited for");
            }
        });
        let stop = async { both.await.expect("two faults begin") };
        let summary = nemesis::run(&plan, Arc::clone(&cluster), sink, stop).await;
        assert!(summary.stopped);
        assert_eq!(summary.heal_errors, Vec::<String>::new());
        assert_eq!(summary.proved().values().sum::<usize>(), 2, "both were undone: {summary:?}");
        assert_healed(&cluster).await;
    });
}

pub(crate) fn crash() {
    let bench = Bench::new();
    runtime().block_on(async {
        let cluster = start(Kind::Local, 3, bench.dir()).await;
        let ProcessState::Running { pid } = cluster.state(N2).await else { panic!("n2 runs") };
        let own = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
        let plan = plan(1, "pause-leader", 3, 1);
        let stop = async {
            nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGABRT).expect("our own child");
            let gone = async || matches!(cluster.state(N2).await, ProcessState::Exited { .. });
            while !gone().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (summary, _) = run(&plan, &cluster, stop).await;
        assert_eq!(summary.crashes.len(), 1, "{summary:?}");
        assert_eq!(summary.crashes[0].node, "n2", "{summary:?}");
        assert_healed(&cluster).await;
        assert_eq!(cluster.crashes().await.len(), 1, "told once, although it runs again");
    });
}

pub(crate) fn unproved() {
    let bench = Bench::new();
    runtime().block_on(async {
        let cluster = start(Kind::Local, 3, bench.dir()).await;
        let ProcessState::Running { pid } = cluster.state(N2).await else { panic!("n2 runs") };
        let own = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
        nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGTERM).expect("our own child");
        while !matches!(cluster.state(N2).await, ProcessState::Exited { .. }) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut plan = plan(1, "kill-all", 3, 1);
        plan.faults.truncate(1);
        let (summary, events) = run(&plan, &cluster, std::future::pending()).await;
        let [Outcome { result: nemesis::Result::Failed { error }, .. }] = &summary.outcomes[..] else {
            panic!("a kill of what does not run is no kill: {summary:?}")
        };
        assert!(error.contains("n2 did not run"), "{error}");
        assert!(matches!(&events[..], [What::NemesisError { fault: 0, .. }]), "{events:?}");
        assert!(summary.doubts().iter().any(|doubt| doubt.contains("kill-all")), "{summary:?}");
        assert_healed(&cluster).await;
    });
}

pub(crate) fn bad_programs() {
    let bench = Bench::new();
    let fails = |script: Option<&str>| {
        let dir = bench.dir().join("bad");
        fs::create_dir_all(&dir).expect("a folder");
        let program = dir.join("etcd");
        if let Some(script) = script {
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a script");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("our own file");
        }
        let mut spec = spec(Kind::Local, 3, bench.dir());
        spec.system = System::Etcd { dir };
        spec.start_timeout = Duration::from_millis(300);
        let error = runtime().block_on(Cluster::start(spec)).expect_err("it cannot start");
        (error.is_usage(), error.to_string(), matches!(error, ClusterError::Exited { .. }))
    };
    const VERSION: &str = "[ \"$1\" = --version ] && { echo etcd Version: 9.9.9; exit 0; };";
    for (script, usage, say, why) in [
        (None, true, "cannot be run", "no program"),
        (Some("echo no such option >&2; exit 2"), true, "no such option", "no version"),
        (Some("echo hello"), true, "instead of a version", "another program"),
        (Some(&*format!("{VERSION} echo out of luck >&2; exit 7")), false, "out of luck", "ends at once"),
        (Some(&*format!("{VERSION} echo thinking; exec sleep 60")), false, "thinking", "never serves"),
    ] {
        let (is_usage, text, exited) = fails(script);
        assert!(text.contains(say), "{why}: {text}");
        assert_eq!(is_usage, usage, "{why}: {text}");
        assert_eq!(exited, why == "ends at once", "{why}: {text}");
    }
    for nodes in [0, 100] {
        let error = runtime().block_on(Cluster::start(spec(Kind::Local, nodes, bench.dir())));
        assert!(error.expect_err("no such cluster").is_usage());
    }
}
