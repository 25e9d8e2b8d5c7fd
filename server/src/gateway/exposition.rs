//! The metrics in Prometheus' text format, under the names that etcd's dashboards know.
//!
//! Only what means the same here is shown under etcd's name. Numbers that the server knows anyhow are read
//! when they are asked for; the rest was counted where it happened.

use crate::{
    api::{CLUSTER_VERSION, ETCD_VERSION, METHODS, MethodCounters},
    backend::Backend,
    metrics::{Histogram, Metrics},
    mvcc::Store,
};
use nix::sys::resource::{Resource, getrlimit};
use raft::types::Role;
use std::{
    fmt::{Arguments, Display, Write as _},
    time::{SystemTime, UNIX_EPOCH},
};
use tonic::Code;

/// Renders all metrics. `quota_bytes` is the store's limit; `health` counts the probes of `/health` that passed and that did not.
pub(super) fn render<B: Backend>(
    backend: &B,
    metrics: &Metrics,
    counters: &MethodCounters,
    health: [u64; 2],
    quota_bytes: Option<u64>,
) -> String {
    let mut page = Page(String::with_capacity(32 * 1024));
    raft(&mut page, backend, metrics);
    store(&mut page, backend);
    watches(&mut page, backend, metrics);
    network(&mut page, metrics);
    disk(&mut page, metrics);
    // As etcd, which shows 0 for no limit.
    let quota = quota_bytes.unwrap_or_default();
    page.one("etcd_server_quota_backend_bytes", "gauge", "Bytes that the store may take", quota);
    page.one("etcd_server_health_success", "counter", "Probes of /health that passed", health[0]);
    page.one("etcd_server_health_failures", "counter", "Probes of /health that did not pass", health[1]);
    grpc(&mut page, counters);
    process(&mut page);
    page.0
}

fn raft<B: Backend>(page: &mut Page, backend: &B, metrics: &Metrics) {
    let node = backend.status();
    page.labelled(
        "etcd_server_version",
        "The release whose behaviour is followed",
        "server_version",
        ETCD_VERSION,
    );
    let minor = CLUSTER_VERSION.rsplit_once('.').map_or(CLUSTER_VERSION, |(minor, _)| minor);
    page.labelled("etcd_cluster_version", "What all members speak", "cluster_version", minor);
    page.labelled("etcd_server_id", "This member", "server_id", &format!("{:x}", node.id.0));
    let has_leader = u64::from(node.leader.is_some());
    let is_leader = u64::from(node.role == Role::Leader);
    let failed_reads = metrics.read_indexes_failed.get();
    for (name, kind, help, value) in [
        ("has_leader", "gauge", "Whether a leader is known", has_leader),
        ("is_leader", "gauge", "Whether this member leads", is_leader),
        ("is_learner", "gauge", "Whether this member has no vote", u64::from(node.is_learner)),
        ("proposals_committed_total", "gauge", "Last entry known to be committed", node.committed.0),
        ("proposals_applied_total", "gauge", "Last entry applied", node.applied.0),
        ("proposals_pending", "gauge", "Proposals without an outcome", metrics.proposals_pending.get()),
        ("proposals_failed_total", "counter", "Proposals refused or late", metrics.proposals_failed.get()),
        ("leader_changes_seen_total", "counter", "Leaders seen", metrics.leader_changes_seen.get()),
        ("read_indexes_failed_total", "counter", "Linearizable reads refused or late", failed_reads),
        ("slow_apply_total", "counter", "Batches applied in 100 ms or more", metrics.slow_apply.get()),
        (
            "snapshot_apply_in_progress_total",
            "gauge",
            "State images of a leader that are being taken over",
            metrics.image_installs.get(),
        ),
        ("heartbeat_send_failures_total", "counter", "Messages not sent", metrics.peer_send_failures.get()),
    ] {
        page.one(&format!("etcd_server_{name}"), kind, help, value);
    }
}

fn store<B: Backend>(page: &mut Page, backend: &B) {
    let (revision, compacted, size, in_use, auth_revision, written) = {
        let state = backend.state();
        let (kv, auth) = (state.kv(), state.auth());
        let sizes = (Store::EMPTY_BYTES + kv.size_bytes(), Store::EMPTY_BYTES + kv.size_in_use_bytes());
        (kv.revision(), kv.compact_revision(), sizes.0, sizes.1, auth.revision, kv.written())
    };
    page.one("etcd_mvcc_put_total", "counter", "Puts carried out here", written.puts);
    page.one("etcd_mvcc_delete_total", "counter", "Deletions carried out here", written.deletes);
    page.one("etcd_debugging_auth_revision", "gauge", "Revision of users and roles", auth_revision);
    page.one("etcd_mvcc_db_total_size_in_bytes", "gauge", "Bytes held", size);
    page.one("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge", "Bytes held and reachable", in_use);
    page.one("etcd_debugging_mvcc_current_revision", "gauge", "Newest revision", revision);
    page.one("etcd_debugging_mvcc_compact_revision", "gauge", "Revision of the last compaction", compacted);
}

fn watches<B: Backend>(page: &mut Page, backend: &B, metrics: &Metrics) {
    let hub = backend.hub();
    let (watchers, overflows) = hub.load();
    let (retained, slow) = (hub.retained_bytes(), hub.slow_count());
    for (name, kind, help, value) in [
        ("watch_stream_total", "gauge", "Streams of watches", hub.streams.get()),
        ("watcher_total", "gauge", "Watches", watchers as u64 + slow),
        ("slow_watcher_total", "gauge", "Watches that read history", slow),
        ("events_total", "counter", "Events that watches were told of or passed by", hub.events.get()),
    ] {
        page.one(&format!("etcd_debugging_mvcc_{name}"), kind, help, value);
    }
    page.one("assay_watch_overflows_total", "counter", "Watches sent back to read history", overflows);
    page.one("assay_watch_retained_bytes", "gauge", "Bytes of events that streams wait to send", retained);
    for (name, help, value) in [
        ("granted", "Leases granted", metrics.leases_granted.get()),
        ("revoked", "Leases revoked or run out", metrics.leases_revoked.get()),
    ] {
        page.one(&format!("etcd_debugging_lease_{name}_total"), "counter", help, value);
    }
    page.one("assay_time_seconds", "gauge", "Time of day here, in seconds since 1970", time_of_day());
    page.one("assay_leases", "gauge", "Leases that exist", backend.state().leases().len());
}

/// What this process takes for the time: a clock that is wrong shows beside the scraper's own.
fn time_of_day() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Bytes of connections, with what HTTP/2 and TLS add, where etcd's counts leave that out.
fn network(page: &mut Page, metrics: &Metrics) {
    let (received, sent) = (metrics.client_received_bytes.get(), metrics.client_sent_bytes.get());
    page.one("etcd_network_client_grpc_received_bytes_total", "counter", "Bytes from clients", received);
    page.one("etcd_network_client_grpc_sent_bytes_total", "counter", "Bytes to clients", sent);
    let peers = metrics.peers.all();
    page.family("etcd_network_peer_sent_bytes_total", "counter", "Bytes to a peer");
    for (peer, traffic) in &peers {
        let to = format!("{:x}", peer.0);
        page.sample("etcd_network_peer_sent_bytes_total", &[("To", &to)], traffic.sent.get());
    }
    page.family("etcd_network_peer_received_bytes_total", "counter", "Bytes from a peer");
    for (peer, traffic) in &peers {
        let from = format!("{:x}", peer.0);
        page.sample("etcd_network_peer_received_bytes_total", &[("From", &from)], traffic.received.get());
    }
    let round_trip = "etcd_network_peer_round_trip_time_seconds";
    page.family(round_trip, "histogram", "How long a peer takes to answer");
    for (peer, traffic) in &peers {
        let to = format!("{:x}", peer.0);
        page.buckets(round_trip, &[("To", &to)], &traffic.round_trips);
    }
}

fn disk(page: &mut Page, metrics: &Metrics) {
    let written = metrics.wal_write_bytes.get();
    page.one("etcd_disk_wal_write_bytes_total", "gauge", "Bytes written to the log", written);
    page.histogram("etcd_disk_wal_fsync_duration_seconds", "Flushes of the log", &metrics.wal_fsync);
    page.histogram(
        "etcd_snap_db_save_total_duration_seconds",
        "State images written",
        &metrics.snapshot_save,
    );
}

fn grpc(page: &mut Page, counters: &MethodCounters) {
    type Count = fn(&MethodCounters, usize) -> u64;
    let counts: [(&str, &str, Count); 3] = [
        ("grpc_server_started_total", "Calls begun", MethodCounters::started),
        ("grpc_server_msg_received_total", "Messages of clients", MethodCounters::received),
        ("grpc_server_msg_sent_total", "Messages to clients", MethodCounters::sent),
    ];
    for (name, help, count) in counts {
        page.family(name, "counter", help);
        for (at, method) in METHODS.iter().enumerate() {
            let labels = [
                ("grpc_method", method.name()),
                ("grpc_service", method.service.name()),
                ("grpc_type", method.kind),
            ];
            page.sample(name, &labels, count(counters, at));
        }
    }
    page.family("grpc_server_handled_total", "counter", "Calls ended, by what they came to");
    for (at, method) in METHODS.iter().enumerate() {
        for (code, code_name) in CODE_NAMES {
            let labels = [
                ("grpc_code", code_name),
                ("grpc_method", method.name()),
                ("grpc_service", method.service.name()),
                ("grpc_type", method.kind),
            ];
            page.sample("grpc_server_handled_total", &labels, counters.handled(at, code));
        }
    }
}

/// The codes, as Go names them.
const CODE_NAMES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "Canceled"),
    (Code::Unknown, "Unknown"),
    (Code::InvalidArgument, "InvalidArgument"),
    (Code::DeadlineExceeded, "DeadlineExceeded"),
    (Code::NotFound, "NotFound"),
    (Code::AlreadyExists, "AlreadyExists"),
    (Code::PermissionDenied, "PermissionDenied"),
    (Code::ResourceExhausted, "ResourceExhausted"),
    (Code::FailedPrecondition, "FailedPrecondition"),
    (Code::Aborted, "Aborted"),
    (Code::OutOfRange, "OutOfRange"),
    (Code::Unimplemented, "Unimplemented"),
    (Code::Internal, "Internal"),
    (Code::Unavailable, "Unavailable"),
    (Code::DataLoss, "DataLoss"),
    (Code::Unauthenticated, "Unauthenticated"),
];

/// What Linux tells of this process. Where it tells nothing, nothing is shown.
fn process(page: &mut Page) {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    if let Some(resident) = bytes("VmRSS:") {
        page.one("process_resident_memory_bytes", "gauge", "Memory in use", resident);
    }
    if let Some(total) = bytes("VmSize:") {
        page.one("process_virtual_memory_bytes", "gauge", "Address space in use", total);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        let files = files.count();
        page.one("process_open_fds", "gauge", "Open files", files);
        page.one("os_fd_used", "gauge", "Open files", files);
    }
    if let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        page.one("process_max_fds", "gauge", "Files that may be open", limit);
        page.one("os_fd_limit", "gauge", "Files that may be open", limit);
    }
    if let Some(seconds) = start_seconds(&read("/proc/self/stat"), &read("/proc/stat")) {
        page.one("process_start_time_seconds", "gauge", "When it began, since 1970", seconds);
    }
    if let Some(seconds) = cpu_seconds(&read("/proc/self/stat")) {
        page.one("process_cpu_seconds_total", "counter", "Processor time used", seconds);
    }
}

/// When a process began: its line of `/proc/PID/stat` counts from when the machine did, which `/proc/stat` tells.
fn start_seconds(stat: &str, machine: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let ticks: u64 = rest.split(' ').nth(19)?.parse().ok()?;
    let booted: u64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(booted as f64 + ticks as f64 / 100.0)
}

/// User and system time in a line of `/proc/PID/stat`, whose unit is 10 ms.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the program's name in brackets, which may hold blanks.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / 100.0)
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP {name} {help}.\n# TYPE {name} {kind}\n"));
    }

    /// No label's value may need an escape: no quote, backslash or line break.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.write(format_args!("{name}"));
        for (place, (label, text)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            self.write(format_args!("{before}{label}=\"{text}\""));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{close} {value}\n"));
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A text as a metric: in a label, with the value 1.
    fn labelled(&mut self, name: &str, help: &str, label: &str, text: &str) {
        self.family(name, "gauge", help);
        self.sample(name, &[(label, text)], 1);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        self.buckets(name, &[], histogram);
    }

    /// The samples of one histogram of a family.
    fn buckets<const BUCKETS: usize, const FIRST_NS: u64>(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        histogram: &Histogram<BUCKETS, FIRST_NS>,
    ) {
        let mut bucket = |bound: &str, count| {
            self.sample(&format!("{name}_bucket"), &[labels, &[("le", bound)]].concat(), count);
        };
        for (at, count) in histogram.cumulative().into_iter().enumerate() {
            bucket(&Histogram::<BUCKETS, FIRST_NS>::bound_s(at).to_string(), count);
        }
        let count = histogram.count();
        bucket("+Inf", count);
        self.sample(&format!("{name}_sum"), labels, histogram.sum_s());
        self.sample(&format!("{name}_count"), labels, count);
    }

    fn write(&mut self, text: Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes any text");
    }
}
