//! Counters of a server, counted where things happen and rendered by `/metrics`.

use parking_lot::Mutex;
use raft::types::NodeId;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// A number that only grows, or is set.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes `n` away.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// Replaces the number.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Durations in `BUCKETS` buckets, the first up to `FIRST_NS` nanoseconds, whose bounds double. Unless told otherwise
/// from 1 ms to 8.192 s, as etcd's disk metrics have them.
#[derive(Debug)]
pub struct Histogram<const BUCKETS: usize = 14, const FIRST_NS: u64 = 1_000_000> {
    buckets: [Counter; BUCKETS],
    above: Counter,
    sum_ns: Counter,
}

impl<const BUCKETS: usize, const FIRST_NS: u64> Default for Histogram<BUCKETS, FIRST_NS> {
    fn default() -> Self {
        let buckets = std::array::from_fn(|_| Counter::default());
        Histogram { buckets, above: Counter::default(), sum_ns: Counter::default() }
    }
}

impl<const BUCKETS: usize, const FIRST_NS: u64> Histogram<BUCKETS, FIRST_NS> {
    /// Upper bound of bucket `at`, in seconds.
    pub fn bound_s(at: usize) -> f64 {
        // Of whole numbers, so that it is shown as etcd shows it.
        (FIRST_NS << at) as f64 / 1e9
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let at = (0..BUCKETS).find(|at| ns <= FIRST_NS << at);
        at.map_or(&self.above, |at| &self.buckets[at]).inc();
        self.sum_ns.add(ns);
    }

    /// How many durations lie at or below each bound.
    pub fn cumulative(&self) -> [u64; BUCKETS] {
        let mut total = 0;
        std::array::from_fn(|at| {
            total += self.buckets[at].get();
            total
        })
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::get).sum::<u64>() + self.above.get()
    }

    /// Their sum, in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_ns.get() as f64 / 1e9
    }
}

/// All counters of a server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Last entry known to be committed (`etcd_server_proposals_committed_total`).
    pub proposals_committed: Counter,
    /// Last entry applied (`etcd_server_proposals_applied_total`).
    pub proposals_applied: Counter,
    /// Proposals of this member that wait for their outcome (`etcd_server_proposals_pending`).
    pub proposals_pending: Counter,
    /// Proposals of this member that were refused or timed out (`etcd_server_proposals_failed_total`).
    pub proposals_failed: Counter,
    /// 1 where a leader is known (`etcd_server_has_leader`).
    pub has_leader: Counter,
    /// 1 on the leader (`etcd_server_is_leader`).
    pub is_leader: Counter,
    /// Leaders seen (`etcd_server_leader_changes_seen_total`).
    pub leader_changes_seen: Counter,
    /// Linearizable reads that were refused or timed out (`etcd_server_read_indexes_failed_total`).
    pub read_indexes_failed: Counter,
    /// Batches whose applying took 100 ms or more (`etcd_server_slow_apply_total`).
    pub slow_apply: Counter,
    /// Messages to peers that could not be sent (`etcd_server_heartbeat_send_failures_total`).
    pub peer_send_failures: Counter,
    /// Flushes of the log (`etcd_disk_wal_fsync_duration_seconds`).
    pub wal_fsync: Histogram,
    /// Bytes that came over clients' connections (`etcd_network_client_grpc_received_bytes_total`).
    pub client_received_bytes: Counter,
    /// Bytes that went over clients' connections (`etcd_network_client_grpc_sent_bytes_total`).
    pub client_sent_bytes: Counter,
    /// What went to and came from each peer.
    pub peers: Peers,
    /// Leases granted here (`etcd_debugging_lease_granted_total`).
    pub leases_granted: Counter,
    /// Leases that were revoked or ran out (`etcd_debugging_lease_revoked_total`).
    pub leases_revoked: Counter,
    /// State images of a leader that are being taken over (`etcd_server_snapshot_apply_in_progress_total`).
    pub image_installs: Counter,
    /// Bytes written to the log (`etcd_disk_wal_write_bytes_total`).
    pub wal_write_bytes: Counter,
    /// Writing of state images (`etcd_snap_db_save_total_duration_seconds`).
    pub snapshot_save: Histogram,
}

/// What went to and came from each peer, by their identities.
#[derive(Debug, Default)]
pub struct Peers(Mutex<BTreeMap<NodeId, Arc<Traffic>>>);

/// Times from 0.1 ms to 3.2768 s, as etcd has them for a message that goes to a peer and comes back.
pub type RoundTrips = Histogram<16, 100_000>;

/// What went to and came from a peer.
#[derive(Debug, Default)]
pub struct Traffic {
    /// `etcd_network_peer_sent_bytes_total`.
    pub sent: Counter,
    /// `etcd_network_peer_received_bytes_total`.
    pub received: Counter,
    /// How long a question took that is asked now and then (`etcd_network_peer_round_trip_time_seconds`).
    pub round_trips: RoundTrips,
}

impl Peers {
    /// Those of a peer.
    pub fn of(&self, peer: NodeId) -> Arc<Traffic> {
        self.0.lock().entry(peer).or_default().clone()
    }

    /// All of them.
    pub fn all(&self) -> Vec<(NodeId, Arc<Traffic>)> {
        self.0.lock().iter().map(|(peer, traffic)| (*peer, traffic.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_that_bounds_them() {
        let histogram = <Histogram>::default();
        for us in [10, 1000, 1001, 9_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let cumulative = histogram.cumulative();
        assert_eq!((cumulative[0], cumulative[1], cumulative[13]), (2, 3, 3));
        assert_eq!(histogram.count(), 4);
        assert!((histogram.sum_s() - 9.002_011).abs() < 1e-9);
        assert_eq!([0, 1, 13].map(<Histogram>::bound_s), [0.001, 0.002, 8.192]);
        assert_eq!([0, 1, 15].map(RoundTrips::bound_s), [0.0001, 0.0002, 3.2768]);
    }
}
