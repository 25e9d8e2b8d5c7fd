//! Three members in one process, over loopback and real files.

mod leases;
mod watch;

use super::{Node, Options, Running};
use crate::{
    backend::Backend,
    cluster::Roster,
    disk::{Birth, DataDir, Identity, RealFiles},
    error::ApiError,
    metrics::Metrics,
    proto::{
        etcdserverpb::{PutRequest, RangeRequest},
        internal::command::Request,
    },
    state_machine::Response,
};
use raft::types::{LogIndex, NodeId, Role};
use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);

struct Member {
    id: NodeId,
    address: SocketAddr,
    running: Option<Running>,
    starts: u64,
}

struct Cluster {
    dir: tempfile::TempDir,
    roster: Roster,
    members: Vec<Member>,
    snapshot_count: u64,
    #[cfg(feature = "plant")]
    plant: Option<crate::plant::Plant>,
}

impl Cluster {
    fn new(size: usize, snapshot_count: u64) -> Cluster {
        let bind = |_| TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners: Vec<TcpListener> = (0..size).map(bind).collect();
        let named = |(at, listener): (usize, &TcpListener)| {
            (format!("n{at}"), vec![format!("http://{}", listener.local_addr().unwrap())])
        };
        let members: BTreeMap<_, _> = listeners.iter().enumerate().map(named).collect();
        let roster = Roster::of_new_cluster(&members, "tests");
        let member = |listener: &TcpListener| {
            let address = listener.local_addr().unwrap();
            let urls = vec![format!("http://{address}")];
            let id = *roster.members.iter().find(|(_, m)| m.peer_urls == urls).unwrap().0;
            Member { id, address, running: None, starts: 0 }
        };
        let members = listeners.iter().map(member).collect();
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Cluster {
            dir,
            roster,
            members,
            snapshot_count,
            #[cfg(feature = "plant")]
            plant: None,
        };
        drop(listeners);
        for at in 0..size {
            cluster.start(at);
        }
        cluster
    }

    fn start(&mut self, at: usize) {
        let (id, address) = (self.members[at].id, self.members[at].address);
        let files = RealFiles { fsync: false, metrics: Arc::default() };
        let data_dir = DataDir::new(files, &self.dir.path().join(at.to_string()));
        let birth = Birth { membership: self.roster.membership(), roster: bytes::Bytes::new() };
        let cluster_id = self.roster.cluster_id();
        let opened = data_dir.open(Identity { cluster: cluster_id, node: id }, birth).unwrap();
        self.members[at].starts += 1;
        let options = Options {
            id,
            cluster_id,
            roster: self.roster.clone(),
            contacts: Roster::default(),
            heartbeat: Duration::from_millis(30),
            election: Duration::from_millis(300),
            snapshot_count: self.snapshot_count,
            catch_up_entries: 10,
            max_request_bytes: 1 << 20,
            peer_tls: None,
            election_head_start: true,
            spool_dir: std::env::temp_dir(),
            trace: None,
            request_timeout: Duration::from_secs(5),
            seed: 1000 * at as u64 + self.members[at].starts,
            #[cfg(feature = "plant")]
            plant: self.plant,
        };
        let listener = eventually("the port is free again", || TcpListener::bind(address).ok());
        let running =
            Running::start(options, opened, vec![listener.into()], Arc::new(Metrics::default())).unwrap();
        self.members[at].running = Some(running);
    }

    /// Ends a member as a crash would.
    fn kill(&mut self, at: usize) {
        drop(self.members[at].running.take().unwrap());
    }

    fn node(&self, at: usize) -> Node {
        self.members[at].running.as_ref().unwrap().node()
    }

    fn alive(&self) -> Vec<Node> {
        self.members.iter().filter_map(|member| member.running.as_ref()).map(Running::node).collect()
    }

    /// The place of the leader that all who run agree on.
    fn leader(&self) -> usize {
        eventually("there is a leader", || {
            let leader = self.alive()[0].status().leader?;
            self.alive().iter().all(|node| node.status().leader == Some(leader)).then_some(())?;
            let at = self.members.iter().position(|member| member.id == leader)?;
            (self.members[at].running.is_some() && self.node(at).status().role == Role::Leader).then_some(at)
        })
    }

    fn converges(&self) {
        eventually("all hold the same state", || {
            let of = |node: &Node| {
                let state = node.state();
                (state.applied(), state.kv().revision(), state.kv().hash())
            };
            let all: Vec<_> = self.alive().iter().map(of).collect();
            all.iter().all(|one| *one == all[0]).then_some(())
        });
    }
}

fn eventually<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(got) = get() {
            return got;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

async fn put(node: &Node, key: &str, value: &str) -> Result<i64, ApiError> {
    let request =
        PutRequest { key: key.to_string().into(), value: value.to_string().into(), ..PutRequest::default() };
    match node.propose(Request::Put(request)).await? {
        Response::Put(put) => Ok(put.header.unwrap().revision),
        other => panic!("a put was answered {other:?}"),
    }
}

/// Puts until it is acknowledged: leaders may change meanwhile. Gives how often it was tried.
fn put_surely(runtime: &tokio::runtime::Runtime, node: &Node, key: &str, value: &str) {
    eventually("a put is acknowledged", || runtime.block_on(put(node, key, value)).ok());
}

fn get(node: &Node, key: &str) -> Option<String> {
    let request = RangeRequest { key: key.to_string().into(), ..RangeRequest::default() };
    let found = node.state().kv().range(&request).unwrap().kvs;
    found.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}

#[test]
fn every_member_takes_puts_and_linearizable_reads_each_applied_once() {
    let cluster = Cluster::new(3, 1000);
    cluster.leader();
    let runtime = runtime();
    runtime.block_on(async {
        let mut acknowledged = 0;
        for round in 0..20 {
            for at in 0..3 {
                // Refusals are definite, so the revision counts what was acknowledged.
                match put(&cluster.node(at), &format!("k{at}"), &round.to_string()).await {
                    Ok(_) => acknowledged += 1,
                    Err(ApiError::NoLeader) => continue,
                    Err(other) => panic!("{other:?}"),
                }
                for reader in cluster.alive() {
                    reader.read_index().await.unwrap();
                    assert_eq!(get(&reader, &format!("k{at}")), Some(round.to_string()));
                }
            }
        }
        let node = cluster.node(0);
        node.read_index().await.unwrap();
        assert_eq!(node.state().kv().revision(), 1 + acknowledged);
    });
    cluster.converges();
}

#[test]
fn what_was_acknowledged_survives_the_death_of_each_member_in_turn() {
    let mut cluster = Cluster::new(3, 1000);
    let runtime = runtime();
    for round in 0..6 {
        let victim = if round % 2 == 0 { cluster.leader() } else { round % 3 };
        put_surely(&runtime, &cluster.node(victim), "before", &round.to_string());
        cluster.kill(victim);
        let other = cluster.node((victim + 1) % 3);
        put_surely(&runtime, &other, "during", &round.to_string());
        cluster.start(victim);
        let back = cluster.node(victim);
        eventually("a linearizable read is served", || runtime.block_on(back.read_index()).ok());
        assert_eq!(get(&back, "before"), Some(round.to_string()));
        assert_eq!(get(&back, "during"), Some(round.to_string()));
    }
    cluster.converges();
}

#[test]
fn a_whole_cluster_comes_back_from_its_disks() {
    let mut cluster = Cluster::new(3, 20);
    let runtime = runtime();
    for round in 0..100 {
        put_surely(&runtime, &cluster.node(round % 3), &format!("k{}", round % 7), &round.to_string());
    }
    for at in 0..3 {
        cluster.kill(at);
    }
    for at in 0..3 {
        cluster.start(at);
    }
    let node = cluster.node(1);
    eventually("a linearizable read is served", || runtime.block_on(node.read_index()).ok());
    for round in 93..100 {
        assert_eq!(get(&node, &format!("k{}", round % 7)), Some(round.to_string()));
    }
    cluster.converges();
}

#[test]
fn a_follower_that_is_too_far_behind_gets_an_image() {
    let mut cluster = Cluster::new(3, 50);
    let runtime = runtime();
    let follower = (cluster.leader() + 1) % 3;
    cluster.kill(follower);
    let leader = cluster.node(cluster.leader());
    let big = "x".repeat(10_000);
    for round in 0..200 {
        put_surely(&runtime, &leader, &format!("k{round}"), &big);
    }
    eventually("the leader has let go of the log's beginning", || {
        // An image begins with an entry, and not while another one is written.
        put_surely(&runtime, &leader, "more", &big);
        let images = cluster.dir.path().join(cluster.leader().to_string()).join("images");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let names: Vec<_> = std::fs::read_dir(images).unwrap().map(name).collect();
        names.iter().any(|name| name.to_str().unwrap() > "0000000000000060").then_some(())
    });
    cluster.start(follower);
    let back = cluster.node(follower);
    eventually("the follower has caught up", || (back.status().applied >= LogIndex(200)).then_some(()));
    cluster.converges();
    let images = cluster.dir.path().join(follower.to_string()).join("images");
    assert!(std::fs::read_dir(images).unwrap().count() >= 2, "the follower has an image beside its first");
    // And it restarts from what it got.
    cluster.kill(follower);
    cluster.start(follower);
    put_surely(&runtime, &cluster.node(follower), "after", "all");
    cluster.converges();
}

#[test]
fn without_a_majority_requests_are_refused_and_nothing_is_kept_of_them() {
    let mut cluster = Cluster::new(3, 1000);
    let leader = cluster.leader();
    let runtime = runtime();
    put_surely(&runtime, &cluster.node(leader), "k", "1");
    cluster.converges();
    let follower = (leader + 1) % 3;
    cluster.kill(leader);
    cluster.kill((leader + 2) % 3);
    let node = cluster.node(follower);
    eventually("the leader is missed", || node.status().leader.is_none().then_some(()));
    assert_eq!(runtime.block_on(put(&node, "k", "2")), Err(ApiError::NoLeader));
    assert_eq!(runtime.block_on(node.read_index()), Err(ApiError::NoLeader));
    assert_eq!(get(&node, "k"), Some("1".into()), "local state can still be read");
    cluster.start(leader);
    eventually("there is a majority again", || runtime.block_on(node.read_index()).ok());
    assert_eq!(get(&node, "k"), Some("1".into()));
}

#[test]
fn leadership_can_be_handed_over() {
    let cluster = Cluster::new(3, 1000);
    let runtime = runtime();
    let leader = cluster.leader();
    let node = cluster.node(leader);
    put_surely(&runtime, &node, "k", "1");
    cluster.converges();
    let (next, third) = ((leader + 1) % 3, (leader + 2) % 3);
    assert_eq!(runtime.block_on(node.move_leader(NodeId(77))), Err(ApiError::BadLeaderTransferee));
    let to = cluster.members[next].id;
    assert_eq!(runtime.block_on(cluster.node(third).move_leader(to)), Err(ApiError::NotLeader));
    eventually("leadership moves", || runtime.block_on(node.move_leader(to)).ok());
    put_surely(&runtime, &node, "k", "2");
}

#[test]
fn a_single_member_serves_alone_and_a_stopped_one_says_so() {
    let mut cluster = Cluster::new(1, 1000);
    let runtime = runtime();
    let node = cluster.node(0);
    put_surely(&runtime, &node, "k", "1");
    runtime.block_on(node.read_index()).unwrap();
    let huge = "x".repeat(1 << 20);
    assert_eq!(runtime.block_on(put(&node, "k", &huge)), Err(ApiError::RequestTooLarge));
    cluster.members[0].running.take().unwrap().stop();
    assert_eq!(runtime.block_on(put(&node, "k", "2")), Err(ApiError::Stopped));
}

#[cfg(feature = "plant")]
mod planted {
    use super::*;
    use crate::plant::Plant;

    #[test]
    fn a_restarted_member_applies_its_last_command_twice() {
        let mut cluster = Cluster::new(1, 1000);
        let runtime = runtime();
        put_surely(&runtime, &cluster.node(0), "k", "1");
        // A second turn, so that the first is known to be committed on disk.
        put_surely(&runtime, &cluster.node(0), "k", "2");
        let revision = cluster.node(0).state().kv().revision();
        cluster.plant = Some(Plant::ApplyTwiceAfterRestart);
        cluster.kill(0);
        cluster.start(0);
        let node = cluster.node(0);
        eventually("a linearizable read is served", || runtime.block_on(node.read_index()).ok());
        assert_eq!(node.state().kv().revision(), revision + 1);
    }

    #[test]
    fn a_local_read_is_served_by_a_member_that_is_cut_off() {
        let mut cluster = Cluster::new(3, 1000);
        cluster.plant = Some(Plant::LocalRead);
        for at in 0..3 {
            cluster.kill(at);
        }
        cluster.start(0);
        assert_eq!(runtime().block_on(cluster.node(0).read_index()), Ok(()));
    }
}
