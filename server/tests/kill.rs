//! Three real processes on real files: `kill -9` under load loses nothing that was acknowledged.
//!
//! `ASSAY_KILLS` says how many kills (default 6).

use server::proto::etcdserverpb::{PutRequest, RangeRequest, kv_client::KvClient};
use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tonic::transport::{Channel, Endpoint};

const MEMBERS: usize = 3;
const WRITERS: usize = 6;
/// A member serves again long before this; how soon is printed.
const REJOIN_MAX: Duration = Duration::from_secs(30);

struct Cluster {
    dir: tempfile::TempDir,
    client_urls: Vec<String>,
    peer_urls: Vec<String>,
    children: Vec<Option<Child>>,
}

impl Cluster {
    fn start() -> Cluster {
        // Held together, so that no port is given twice.
        let held: Vec<TcpListener> =
            (0..2 * MEMBERS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let urls: Vec<String> =
            held.iter().map(|listener| format!("http://{}", listener.local_addr().unwrap())).collect();
        drop(held);
        let mut cluster = Cluster {
            dir: tempfile::tempdir().unwrap(),
            client_urls: urls[..MEMBERS].to_vec(),
            peer_urls: urls[MEMBERS..].to_vec(),
            children: (0..MEMBERS).map(|_| None).collect(),
        };
        (0..MEMBERS).for_each(|at| cluster.spawn(at));
        cluster
    }

    fn log(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("n{at}.log"))
    }

    fn spawn(&mut self, at: usize) {
        let members: Vec<String> =
            self.peer_urls.iter().enumerate().map(|(n, url)| format!("n{n}={url}")).collect();
        let log = std::fs::File::options().create(true).append(true).open(self.log(at)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_assay-server"))
            .env_clear()
            .arg(format!("--name=n{at}"))
            .arg(format!("--data-dir={}", self.dir.path().join(format!("n{at}")).display()))
            .arg(format!("--listen-client-urls={}", self.client_urls[at]))
            .arg(format!("--listen-peer-urls={}", self.peer_urls[at]))
            .arg(format!("--initial-cluster={}", members.join(",")))
            .arg("--snapshot-count=500")
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.children[at] = Some(child);
    }

    fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.children[at].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn channel(&self, at: usize) -> Channel {
        let endpoint = Endpoint::from_shared(self.client_urls[at].clone()).unwrap();
        endpoint.timeout(Duration::from_secs(2)).connect_lazy()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for at in 0..MEMBERS {
            self.kill(at);
            if std::thread::panicking() {
                eprintln!("--- n{at}\n{}", tail(&self.log(at)));
            }
        }
    }
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Writes keys of its own, each once, until told to stop; gives those that were acknowledged.
async fn write(writer: usize, channel: Channel, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut kv = KvClient::new(channel);
    let mut acknowledged = Vec::new();
    for n in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let key = format!("w{writer}/{n:08}");
        let put = PutRequest { key: key.clone().into(), value: key.clone().into(), ..PutRequest::default() };
        match kv.put(put).await {
            Ok(_) => acknowledged.push(key),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    acknowledged
}

/// Waits until the member serves a linearizable read.
async fn serves(channel: Channel) -> Duration {
    let begun = Instant::now();
    let mut kv = KvClient::new(channel);
    let read = RangeRequest { key: "k".into(), ..RangeRequest::default() };
    while let Err(error) = kv.range(read.clone()).await {
        assert!(begun.elapsed() < REJOIN_MAX, "no linearizable read after {REJOIN_MAX:?}: {error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_to_kill_9() {
    let kills: usize = std::env::var("ASSAY_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let mut cluster = Cluster::start();
    for at in 0..MEMBERS {
        serves(cluster.channel(at)).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(writer, cluster.channel(writer % MEMBERS), stop.clone())))
        .collect();
    let mut rejoins = Vec::new();
    let mut random: u64 = 42;
    for _ in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let victim = (random >> 40) as usize % MEMBERS;
        tokio::time::sleep(Duration::from_millis(random >> 56)).await;
        cluster.kill(victim);
        cluster.spawn(victim);
        rejoins.push(serves(cluster.channel(victim)).await);
    }
    stop.store(true, Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    rejoins.sort();
    eprintln!(
        "{} acknowledged, {kills} kills, served again after {:?} (median), {:?} (longest)",
        acknowledged.len(),
        rejoins.get(rejoins.len() / 2),
        rejoins.last()
    );
    assert!(acknowledged.len() > 10 * kills, "only {} writes were acknowledged", acknowledged.len());
    for at in 0..MEMBERS {
        serves(cluster.channel(at)).await;
        let all = RangeRequest { key: "w".into(), range_end: "x".into(), ..RangeRequest::default() };
        let mut kv = KvClient::new(cluster.channel(at)).max_decoding_message_size(1 << 30);
        let found = kv.range(all).await.unwrap().into_inner().kvs;
        let found: BTreeMap<_, _> = found.into_iter().map(|kv| (kv.key, kv.value)).collect();
        for key in &acknowledged {
            let value = found.get(key.as_bytes()).map(|value| &value[..]);
            assert_eq!(value, Some(key.as_bytes()), "n{at} has lost {key}");
        }
    }
}
