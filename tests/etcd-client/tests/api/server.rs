//! Servers that a test starts for itself.

use etcd_client::{Client, ConnectOptions, Error};
use std::{
    env,
    fs::File,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Names the server's program.
const PROGRAM: &str = "ASSAY_SERVER_BIN";
/// How long anything may take that does not depend on the clock.
pub const HANG: Duration = Duration::from_secs(60);
/// Between two looks at something that is awaited.
const POLL: Duration = Duration::from_millis(20);

/// A cluster; its processes end when this is dropped.
pub struct Cluster {
    processes: Vec<Child>,
    folder: TempDir,
    pub endpoints: Vec<String>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended by itself; there is nothing else to be done about either.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn program() -> PathBuf {
    let program = env::var_os(PROGRAM).map(PathBuf::from);
    program
        .unwrap_or_else(|| panic!("{PROGRAM} does not name a server's program, such as target/release/assay"))
}

/// Free ports of 127.0.0.1, all different.
fn ports(count: usize) -> Vec<u16> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let held: Vec<TcpListener> = (0..count).map(|_| bind()).collect();
    held.iter().map(|listener| listener.local_addr().expect("it is bound").port()).collect()
}

impl Cluster {
    /// Starts so many members, and waits until each answers.
    pub async fn start(members: usize) -> Cluster {
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let urls: Vec<String> = ports(2 * members).iter().map(url).collect();
        let (clients, peers) = urls.split_at(members);
        let named: Vec<String> = peers.iter().enumerate().map(|(n, url)| format!("m{n}={url}")).collect();
        let mut cluster = Cluster {
            processes: Vec::new(),
            folder: TempDir::new().expect("a temporary folder"),
            endpoints: clients.to_vec(),
        };
        for (n, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let place = |what: &str| cluster.folder.path().join(format!("m{n}.{what}"));
            let log = || File::create(place("log")).expect("a log file");
            // By this name `assay` is a server.
            let process = Command::new(program())
                .arg0("assay-server")
                .args(["--name", &format!("m{n}"), "--data-dir"])
                .arg(place("data"))
                .args(["--listen-client-urls", client, "--advertise-client-urls", client])
                .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
                .args(["--initial-cluster", &named.join(","), "--initial-cluster-state", "new"])
                .env_clear()
                .stdout(Stdio::null())
                .stderr(log())
                .spawn();
            cluster.processes.push(process.expect("the server's program starts"));
        }
        for at in 0..members {
            let mut client = cluster.client(at).await;
            // It answers a linearizable read once there is a leader.
            await_some("a leader", async || client.get("health", None).await.ok()).await;
        }
        cluster
    }

    /// A client of one member.
    pub async fn client(&self, at: usize) -> Client {
        let endpoint = &self.endpoints[at];
        await_some("a server that takes connections", async || Client::connect([endpoint], None).await.ok())
            .await
    }

    /// A client of the first member that calls as a user.
    pub async fn client_as(&self, user: &str, password: &str) -> Result<Client, Error> {
        Client::connect(&self.endpoints[..1], Some(ConnectOptions::new().with_user(user, password))).await
    }
}

/// One member and a client of it.
pub async fn one() -> (Cluster, Client) {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0).await;
    (cluster, client)
}

/// Asks again and again until there is something.
pub async fn await_some<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(start.elapsed() < HANG, "{what} did not come");
        tokio::time::sleep(POLL).await;
    }
}

/// The gRPC status that a call came to.
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::GRpcStatus(status)) => status.message().to_owned(),
        other => panic!("a gRPC status was expected: {other:?}"),
    }
}
