//! `assay bench --suite`: fixed sets of measurements, side by side in one run.

use super::{
    args::{BenchArgs, Suite},
    generator,
    session::stop_on_signals,
    target::{Place, Target},
};
use crate::{
    cli::{Failure, Format, UNKNOWN, out, print},
    cluster::System,
    load::{Bench, BenchResults, Client, Endpoint, Load, Machine, Plan, Sampler, Workload},
};
use serde::Serialize;
use std::{
    fmt::Write as _,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Clients of the closed loops.
const CLIENTS: [usize; 4] = [1, 16, 100, 1000];
/// How long each is measured, and warmed up.
pub(super) const MEASURED: Duration = Duration::from_secs(4);
pub(super) const WARMUP: Duration = Duration::from_secs(1);
/// Keys with values of 256 B that every cluster is given first: its memory, size on disk and restart are compared at
/// equal data.
const WRITTEN: u64 = 200_000;
/// Fewer clients than this to a worker, and the worker is never what is waited for.
const CLIENTS_A_WORKER: usize = 16;
/// How long a cluster may take to serve again after all of it was killed.
const RESTART_LIMIT: Duration = Duration::from_secs(60);

/// One number of one system.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cell {
    nodes: usize,
    what: String,
    clients: usize,
    system: String,
    per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    server_cpu_us: f64,
    /// Share of the machine that neither servers nor generator took.
    others: f64,
    failed: u64,
    invalid: Vec<String>,
}

/// What a cluster is once it holds [`WRITTEN`] keys.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Footprint {
    nodes: usize,
    system: String,
    memory_mib: f64,
    data_mib: f64,
    restart_s: f64,
}

pub(super) fn run(suite: Suite, args: &BenchArgs) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let stop = Arc::new(AtomicBool::new(false));
    runtime.block_on(stop_on_signals(&stop))?;
    match suite {
        Suite::Generator => generator::run(args.etcd_client.as_deref(), args.format, &stop),
        Suite::Etcd => {
            let systems = [
                System::Assay { program: std::env::current_exe()?, plant: None },
                match Target::parse("--suite etcd: --system", "etcd", args.etcd_bin.as_deref(), 1)? {
                    Target::Start { system, .. } => system,
                    Target::Running(_) => {
                        return Err(Failure::Usage("--suite etcd starts etcd itself".into()));
                    }
                },
            ];
            let dir = out::make(args.out.as_deref(), "suite")?;
            etcd(&runtime, &systems, &dir, args.format, &stop)
        }
    }
}

/// Which workload with how many clients, on a cluster that runs.
pub(super) fn closed(
    endpoints: Vec<Endpoint>,
    workload: &str,
    clients: usize,
    client: Client,
) -> Result<Bench, Failure> {
    let mut workload = Workload::named(workload).map_err(Failure::Unknown)?;
    workload.preload = false;
    let load = Load::Closed { clients, operations_max: None };
    let mut plan = Plan::new(endpoints, workload, load, WARMUP + MEASURED);
    // As etcd's own figures have it: about thirty clients a connection at most.
    plan.connections = (clients / 12).clamp(1, 32);
    Ok(Bench { plan, warmup: WARMUP, client, watched: Vec::new() })
}

/// The same from as many threads as have work, a core each at most: one cannot load what takes more requests than it
/// can send.
fn spread(endpoints: Vec<Endpoint>, workload: &str, clients: usize) -> Result<Bench, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut bench = closed(endpoints, workload, clients, Client::Raw)?;
    bench.plan.workers = (clients / CLIENTS_A_WORKER).clamp(1, cores);
    Ok(bench)
}

/// Both systems run at the same time, and are measured in turns: what else the machine does changes with time, and
/// strikes both alike. The one that is not measured has nothing to do but heartbeats.
fn etcd(
    runtime: &tokio::runtime::Runtime,
    systems: &[System; 2],
    dir: &Path,
    format: Format,
    stop: &Arc<AtomicBool>,
) -> Result<u8, Failure> {
    let (mut cells, mut footprints) = (Vec::new(), Vec::new());
    for nodes in [1, 3] {
        let mut places = Vec::new();
        let outcome: Result<(), Failure> = (|| {
            for system in systems {
                let target = Target::Start { system: system.clone(), nodes };
                let place_dir = dir.join(format!("{system}-{nodes}"));
                places.push(runtime.block_on(Place::make(&target, &place_dir, None, stop))?);
            }
            for (place, system) in places.iter().zip(systems) {
                let _ = writeln!(std::io::stderr(), "{system:>6} x{nodes}  {WRITTEN} keys, then a restart");
                write(runtime, place, stop)?;
                footprints.push(footprint(runtime, place, nodes, system)?);
            }
            measure(runtime, &places, nodes, systems, stop, &mut cells)
        })();
        let mut crashes = Vec::new();
        for place in places {
            crashes.extend(runtime.block_on(place.end()));
        }
        outcome?;
        if let Some(crash) = crashes.into_iter().next() {
            return Err(Failure::Unknown(crash));
        }
    }
    let json = serde_json::json!({"machine": Machine::here(), "cells": cells, "footprints": footprints});
    let json = format!("{json:#}\n");
    std::fs::write(dir.join("suite.json"), &json)?;
    match format {
        Format::Text => print(&table(&cells, &footprints))?,
        Format::Json => print(&json)?,
    }
    let invalid: Vec<&String> = cells.iter().flat_map(|cell| &cell.invalid).collect();
    for reason in &invalid {
        let _ = writeln!(std::io::stderr(), "INVALID: {reason}");
    }
    Ok(if invalid.is_empty() { 0 } else { UNKNOWN })
}

fn measure(
    runtime: &tokio::runtime::Runtime,
    places: &[Place],
    nodes: usize,
    systems: &[System; 2],
    stop: &AtomicBool,
    cells: &mut Vec<Cell>,
) -> Result<(), Failure> {
    let mut turn = 0;
    for what in ["put", "range", "range-serializable"] {
        for clients in CLIENTS {
            // First and second, second and first.
            let order = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
            turn += 1;
            for at in order {
                let cell = cell(runtime, &places[at], nodes, &systems[at], what, clients, stop)?;
                let _ = writeln!(
                    std::io::stderr(),
                    "{:>6} x{nodes}  {what:<20}{clients:>5} clients {:>10.0}/s  p50 {:>8.2}  p99 {:>8.2} ms  \
                     {:>6.1} us CPU, others {:.0} %",
                    cell.system,
                    cell.per_s,
                    cell.p50_ms,
                    cell.p99_ms,
                    cell.server_cpu_us,
                    cell.others * 100.0
                );
                cells.push(cell);
            }
        }
    }
    Ok(())
}

/// Measures one system once.
fn cell(
    runtime: &tokio::runtime::Runtime,
    place: &Place,
    nodes: usize,
    system: &System,
    what: &str,
    clients: usize,
    stop: &AtomicBool,
) -> Result<Cell, Failure> {
    let endpoints = runtime.block_on(place.endpoints(false))?;
    let mut bench = spread(endpoints, what, clients)?;
    bench.watched = runtime.block_on(place.watched());
    let base = BenchResults { machine: Machine::here(), ..BenchResults::default() };
    let (results, _) = bench
        .run(None, base, stop, |_| {})
        .map_err(|error| Failure::Unknown(format!("{system}, {nodes} node(s), {what}: {error}")))?;
    stopped(stop)?;
    Ok(Cell {
        nodes,
        what: what.to_owned(),
        clients,
        system: system.to_string(),
        per_s: results.per_s,
        p50_ms: results.all.response.p50_ms,
        p99_ms: results.all.response.p99_ms,
        server_cpu_us: results.server_cpu_us_per_op.unwrap_or(0.0),
        others: results.others_share.unwrap_or(0.0),
        failed: results.all.failed,
        invalid: results.invalid,
    })
}

/// Gives a cluster its first puts: [`WRITTEN`] keys.
fn write(runtime: &tokio::runtime::Runtime, place: &Place, stop: &AtomicBool) -> Result<(), Failure> {
    let mut bench = spread(runtime.block_on(place.endpoints(false))?, "put", CLIENTS[CLIENTS.len() - 1])?;
    bench.plan.workload =
        Arc::new(Workload { preload: true, key_count: WRITTEN, ..(*bench.plan.workload).clone() });
    bench.prepare(stop).map_err(|error| Failure::Unknown(error.to_string()))?;
    stopped(stop)
}

/// An error if the suite was told to stop.
fn stopped(stop: &AtomicBool) -> Result<(), Failure> {
    match stop.load(Ordering::Relaxed) {
        true => Err(Failure::Unknown("told to stop before the suite was over".into())),
        false => Ok(()),
    }
}

/// Looks at the cluster after the first puts, kills all of it, and sees how long it takes to serve again.
fn footprint(
    runtime: &tokio::runtime::Runtime,
    place: &Place,
    nodes: usize,
    system: &System,
) -> Result<Footprint, Failure> {
    let seen = Sampler::start(runtime.block_on(place.watched())).stop();
    let last = || seen.values().filter_map(|usages| usages.last());
    let memory_mib: f64 = last().map(|usage| usage.memory_mib).sum();
    let data_mib: f64 = last().map(|usage| usage.data_mib).sum();
    let Place::Cluster(cluster) = place else {
        return Err(Failure::Unknown("only a cluster that was started can be restarted".into()));
    };
    let unknown = |error: crate::cluster::ClusterError| Failure::Unknown(error.to_string());
    let restart_s = runtime.block_on(async {
        for index in cluster.indexes() {
            cluster.kill(index).await.map_err(unknown)?;
        }
        let start = Instant::now();
        for index in cluster.indexes() {
            cluster.start_node(index).await.map_err(unknown)?;
        }
        cluster.wait_ready(RESTART_LIMIT).await.map_err(unknown)?;
        Ok::<f64, Failure>(start.elapsed().as_secs_f64())
    })?;
    Ok(Footprint { nodes, system: system.to_string(), memory_mib, data_mib, restart_s })
}

/// Both systems side by side, in Markdown.
fn table(cells: &[Cell], footprints: &[Footprint]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "| nodes | operation | clients | assay /s | etcd /s | ratio | assay p50 / p99 ms | etcd p50 / p99 ms | CPU us/op assay | etcd | ratio | others' CPU |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for ours in cells.iter().filter(|cell| cell.system == "assay") {
        let same = |cell: &&Cell| {
            cell.system == "etcd"
                && (cell.nodes, &cell.what, cell.clients) == (ours.nodes, &ours.what, ours.clients)
        };
        let Some(theirs) = cells.iter().find(same) else { continue };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.0} | {:.0} | {:.2} | {:.2} / {:.2} | {:.2} / {:.2} | {:.1} | {:.1} | {:.2} | {:.0}, {:.0} % |",
            ours.nodes,
            ours.what,
            ours.clients,
            ours.per_s,
            theirs.per_s,
            ours.per_s / theirs.per_s.max(f64::MIN_POSITIVE),
            ours.p50_ms,
            ours.p99_ms,
            theirs.p50_ms,
            theirs.p99_ms,
            ours.server_cpu_us,
            theirs.server_cpu_us,
            theirs.server_cpu_us / ours.server_cpu_us.max(f64::MIN_POSITIVE),
            ours.others * 100.0,
            theirs.others * 100.0
        );
    }
    let _ = writeln!(
        out,
        "\n{WRITTEN} keys with values of 256 B, before the operations above:\n\n\
         | nodes | system | memory of all nodes MiB | data of all nodes MiB | restart s |\n|---|---|---|---|---|"
    );
    for one in footprints {
        let _ = writeln!(
            out,
            "| {} | {} | {:.0} | {:.0} | {:.2} |",
            one.nodes, one.system, one.memory_mib, one.data_mib, one.restart_s
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_sets_the_systems_side_by_side() {
        let cell = |system: &str, per_s| Cell {
            nodes: 3,
            what: "put".into(),
            clients: 16,
            system: system.into(),
            per_s,
            p50_ms: 1.0,
            p99_ms: 2.0,
            server_cpu_us: 10.0,
            others: 0.1,
            failed: 0,
            invalid: Vec::new(),
        };
        let table = table(&[cell("assay", 3000.0), cell("etcd", 1000.0)], &[]);
        assert!(table.contains("| 3 | put | 16 | 3000 | 1000 | 3.00 |"), "{table}");
    }
}
