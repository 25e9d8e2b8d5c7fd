//! Servers as processes of this machine, and writers that note what was acknowledged.

use nix::sys::signal::Signal;
use server::proto::etcdserverpb::{
    PutRequest, RangeRequest, StatusRequest, kv_client::KvClient, maintenance_client::MaintenanceClient,
};
use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tonic::transport::{Channel, Endpoint};

/// Whatever is waited for comes long before this.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One server, running or not.
struct Process {
    client_url: String,
    peer_url: String,
    child: Option<Child>,
}

/// Servers named n0, n1, and so on, each with a data directory and ports of its own.
pub struct Fleet {
    dir: tempfile::TempDir,
    processes: Vec<Process>,
}

impl Fleet {
    /// So many servers, none of them running.
    pub fn of(count: usize) -> Fleet {
        // Held together, so that no port is given twice.
        let held: Vec<TcpListener> =
            (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let mut urls = held.iter().map(|listener| format!("http://{}", listener.local_addr().unwrap()));
        let mut process = || {
            let (client_url, peer_url) = (urls.next().unwrap(), urls.next().unwrap());
            Process { client_url, peer_url, child: None }
        };
        let processes = (0..count).map(|_| process()).collect();
        Fleet { dir: tempfile::tempdir().unwrap(), processes }
    }

    /// So many servers whose peer URLs begin with https.
    pub fn with_encrypted_peers(count: usize) -> Fleet {
        let mut fleet = Fleet::of(count);
        for process in &mut fleet.processes {
            process.peer_url = process.peer_url.replace("http://", "https://");
        }
        fleet
    }

    /// Where a server listens for its peers.
    pub fn peer_url(&self, at: usize) -> &str {
        &self.processes[at].peer_url
    }

    /// Where a server listens for clients.
    pub fn client_url(&self, at: usize) -> &str {
        &self.processes[at].client_url
    }

    /// A server's data directory.
    pub fn data_dir(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("n{at}"))
    }

    /// What a server has logged.
    pub fn log(&self, at: usize) -> String {
        std::fs::read_to_string(self.log_file(at)).unwrap_or_default()
    }

    /// A place for files of a test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Asks a server to end, as a supervisor does.
    pub fn terminate(&self, at: usize) {
        self.signal(at, Signal::SIGTERM);
    }

    /// A server that neither answers nor closes anything, until it is resumed.
    pub fn pause(&self, at: usize) {
        self.signal(at, Signal::SIGSTOP);
    }

    /// Lets a paused server go on.
    pub fn resume(&self, at: usize) {
        self.signal(at, Signal::SIGCONT);
    }

    fn signal(&self, at: usize, signal: Signal) {
        let child = self.processes[at].child.as_ref().unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    fn log_file(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("n{at}.log"))
    }

    /// Starts a server as one of `members`, with more flags. Logs of earlier lives are kept.
    pub fn spawn(&mut self, at: usize, members: &[usize], more: &[&str]) {
        let members: Vec<String> =
            members.iter().map(|n| format!("n{n}={}", self.processes[*n].peer_url)).collect();
        let initial_cluster = format!("--initial-cluster={}", members.join(","));
        let more: Vec<&str> = [&initial_cluster[..]].into_iter().chain(more.iter().copied()).collect();
        self.spawn_with(at, &more);
    }

    /// Starts a server with its name, places and `more` flags, which may name other places.
    pub fn spawn_with(&mut self, at: usize, more: &[&str]) {
        self.spawn_as(Path::new(env!("CARGO_BIN_EXE_assay-server")), at, more);
    }

    /// Starts a program as a server, with its name, places and `more` flags.
    pub fn spawn_as(&mut self, program: &Path, at: usize, more: &[&str]) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_file(at)).unwrap();
        let process = &self.processes[at];
        let child = Command::new(program)
            .env_clear()
            .arg(format!("--name=n{at}"))
            .arg(format!("--data-dir={}", self.data_dir(at).display()))
            .arg(format!("--listen-client-urls={}", process.client_url))
            .arg(format!("--advertise-client-urls={}", process.client_url))
            .arg(format!("--listen-peer-urls={}", process.peer_url))
            .args(more)
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.processes[at].child = Some(child);
    }

    /// Ends a server with SIGKILL, if it runs.
    pub fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.processes[at].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Waits for a server to end by itself.
    pub async fn ends(&mut self, at: usize) -> ExitStatus {
        let mut child = self.processes[at].child.take().unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if begun.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("n{at} did not end\n{}", tail(&self.log_file(at)));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A connection to a server, made when it is first used.
    pub fn channel(&self, at: usize) -> Channel {
        channel(&self.processes[at].client_url)
    }

    /// Which of these servers leads.
    pub async fn leader(&self, among: &[usize]) -> usize {
        let begun = Instant::now();
        loop {
            for at in among {
                let status = MaintenanceClient::new(self.channel(*at)).status(StatusRequest {}).await;
                if let Ok(status) = status.map(tonic::Response::into_inner)
                    && status.leader != 0
                    && status.header.is_some_and(|header| header.member_id == status.leader)
                {
                    return *at;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "nobody leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for at in 0..self.processes.len() {
            self.kill(at);
            if std::thread::panicking() {
                eprintln!("--- n{at}\n{}", tail(&self.log_file(at)));
            }
        }
    }
}

fn channel(url: &str) -> Channel {
    Endpoint::from_shared(url.to_string()).unwrap().timeout(Duration::from_secs(2)).connect_lazy()
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Waits until a member serves a linearizable read, and tells how long that took.
pub async fn serves(channel: Channel) -> Duration {
    let begun = Instant::now();
    let mut kv = KvClient::new(channel);
    let read = RangeRequest { key: "k".into(), ..RangeRequest::default() };
    while let Err(error) = kv.range(read.clone()).await {
        assert!(begun.elapsed() < PATIENCE, "no linearizable read after {PATIENCE:?}: {error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}

/// Clients that write keys of their own, each once, and note those that were acknowledged.
pub struct Writers {
    stop: Arc<AtomicBool>,
    urls: Arc<Mutex<Vec<String>>>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Writers {
    /// Begins to write through servers at `urls`; a writer whose request failed goes to the next one.
    pub fn start(count: usize, urls: Vec<String>) -> Writers {
        let (stop, urls) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(urls)));
        let tasks =
            (0..count).map(|writer| tokio::spawn(write(writer, urls.clone(), stop.clone()))).collect();
        Writers { stop, urls, tasks }
    }

    /// Goes on through other servers.
    pub fn go_through(&self, urls: Vec<String>) {
        *self.urls.lock().unwrap() = urls;
    }

    /// Stops, and gives the keys that were acknowledged.
    pub async fn stop(self) -> Vec<String> {
        self.stop.store(true, Relaxed);
        let mut acknowledged = Vec::new();
        for task in self.tasks {
            acknowledged.extend(task.await.unwrap());
        }
        acknowledged
    }
}

async fn write(writer: usize, urls: Arc<Mutex<Vec<String>>>, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut turn = writer;
    let mut channels: BTreeMap<String, Channel> = BTreeMap::new();
    let mut acknowledged = Vec::new();
    for n in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let url = {
            let urls = urls.lock().unwrap();
            urls[turn % urls.len()].clone()
        };
        let to = channels.entry(url).or_insert_with_key(|url| channel(url)).clone();
        let key = format!("w{writer}/{n:08}");
        let put = PutRequest { key: key.clone().into(), value: key.clone().into(), ..PutRequest::default() };
        match KvClient::new(to).put(put).await {
            Ok(_) => acknowledged.push(key),
            Err(_) => {
                turn += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    acknowledged
}

/// Asserts that a server has all keys that were acknowledged.
pub async fn has_all(channel: Channel, acknowledged: &[String], who: &str) {
    serves(channel.clone()).await;
    let all = RangeRequest { key: "w".into(), range_end: "x".into(), ..RangeRequest::default() };
    let mut kv = KvClient::new(channel).max_decoding_message_size(1 << 30);
    let found = kv.range(all).await.unwrap().into_inner().kvs;
    let found: BTreeMap<_, _> = found.into_iter().map(|kv| (kv.key, kv.value)).collect();
    for key in acknowledged {
        let value = found.get(key.as_bytes()).map(|value| &value[..]);
        assert_eq!(value, Some(key.as_bytes()), "{who} has lost {key}");
    }
}
