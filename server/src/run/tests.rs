//! What a server does before it serves.

use super::*;
use crate::{
    cli::Flags,
    net::{ImageSink, Network, Party, Receiver, Settings},
    replica::PeerMessage,
};
use bytes::Bytes;
use clap::Parser as _;
use raft::types::{NodeId, SnapshotMeta};
use std::{net::TcpListener, sync::mpsc};

/// Whatever is waited for comes long before this.
const PATIENCE: Duration = Duration::from_secs(20);

/// A peer that is asked, and answers only when it is told to.
struct Slow {
    asked: tokio::sync::mpsc::UnboundedSender<()>,
    answer: parking_lot::Mutex<mpsc::Receiver<()>>,
}

impl Receiver for Slow {
    fn messages(&self, _: NodeId, messages: &mut Vec<PeerMessage>) {
        messages.clear();
    }

    fn reachable(&self, _: NodeId) {}

    fn unreachable(&self, _: NodeId) {}

    fn image(&self, _: NodeId, _: SnapshotMeta) -> io::Result<Box<dyn ImageSink>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn is_removed(&self, _: NodeId) -> bool {
        false
    }

    fn removed(&self, _: NodeId) {}

    fn question(&self, _: Option<NodeId>, _: Bytes) -> Bytes {
        self.asked.send(()).expect("the test waits");
        // An error too: the test is over.
        let _ = self.answer.lock().recv();
        Bytes::new()
    }

    fn image_sent(&self, _: NodeId, _: bool) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_ready_yet_stops_when_it_is_told_to() {
    let bind = || TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (held, other) = ([bind(), bind()], bind());
    let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().expect("an address"));
    let [client, peer] = [url(&held[0]), url(&held[1])];
    let dir = tempfile::tempdir().expect("a folder");
    let flags = [
        "assay-server".to_string(),
        "--name=n1".into(),
        format!("--data-dir={}", dir.path().join("data").display()),
        format!("--listen-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-cluster=n1={peer},n2={}", url(&other)),
        "--initial-corrupt-check".into(),
    ];
    let config = Config::from_flags(&Flags::parse_from(flags)).expect("good flags");
    let roster = config.cluster.roster.clone();
    let node = *roster.members.keys().find(|id| **id != config.cluster.id).expect("two members");
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let (answer, answers) = mpsc::channel();
    let own = Party { cluster: roster.cluster_id(), node };
    let (heartbeat, election) = (config.heartbeat, config.election);
    let slow = Arc::new(Slow { asked, answer: parking_lot::Mutex::new(answers) });
    let settings = Settings { own, heartbeat, election, tls: None, metrics: Arc::default() };
    let network = Network::start(settings, vec![other.into()], slow).expect("it starts");
    drop(held);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(run(config, async { stopped.await.unwrap_or_default() }));
    tokio::time::timeout(PATIENCE, was_asked.recv()).await.expect("it asks").expect("the peer lives");
    drop(stop);
    let ended = tokio::time::timeout(PATIENCE, running).await.expect("it stops at once").expect("no panic");
    assert!(ended.is_ok(), "in good order: {ended:?}");
    // The thread that asked may end.
    drop(answer);
    drop(network);
}
