//! A real etcd and our own server side by side: the same command goes to both, and what comes back is made
//! comparable.
//!
//! What two stores of their own cannot agree on (identities, terms, sizes, times) is masked; everything else
//! must be the same.

use clap::Parser as _;
use serde_json::Value;
use server::{cli::Flags, config::Config};
use std::{
    env,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::oneshot};

/// Names the folder with `etcd` and `etcdctl`.
const BIN: &str = "ASSAY_ETCD_BIN";

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(30);

/// How long a line of a program may take.
const LINE_MAX: Duration = Duration::from_secs(30);

/// Values that are each store's own, wherever they stand in a JSON document.
const OWN: &[&str] = &[
    "cluster_id",
    "member_id",
    "raft_term",
    "leader",
    "raftIndex",
    "raftAppliedIndex",
    "raftTerm",
    "dbSize",
    "dbSizeInUse",
    "hash",
    "ID",
    "Endpoint",
    "endpoint",
    "peerURLs",
    "clientURLs",
    "took",
    "etcdserver",
    "etcdcluster",
    "name",
];

/// Both servers, and where the programs lie.
pub struct Pair {
    bin: PathBuf,
    pub etcd: Etcd,
    pub ours: Ours,
}

/// A real single-member etcd; ended when dropped.
pub struct Etcd {
    process: Child,
    _data: TempDir,
    pub endpoint: String,
}

/// Our own server, a single member within this process; stopped when dropped.
pub struct Ours {
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
    _data: TempDir,
    pub endpoint: String,
}

/// What a command came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

/// A program that runs, line by line; ended when dropped.
pub struct Held {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Held {
    /// A program whose input and output are pipes.
    pub fn of(mut child: Child) -> Held {
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Held { child, input, lines }
    }

    /// The next line that it prints.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(LINE_MAX).expect("a line in time")
    }

    /// Types into it.
    pub fn types(&mut self, text: &str) {
        self.input.as_mut().expect("it listens").write_all(text.as_bytes()).expect("it reads");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pair {
    /// Starts both, or says on stderr why not: without real etcd there is nothing to compare with.
    pub fn start(test: &str) -> Option<Pair> {
        Pair::start_with(test, &[])
    }

    /// As [`Pair::start`], both with more flags.
    pub fn start_with(test: &str, more: &[&str]) -> Option<Pair> {
        let Some(bin) = bin() else {
            eprintln!("SKIPPED {test}: {BIN} does not name a folder with etcd and etcdctl");
            return None;
        };
        Some(Pair { etcd: Etcd::start(&bin, more), ours: Ours::start(more), bin })
    }

    /// Whether the real etcd, if there is one, is of a release of 3.4.
    pub fn is_3_4() -> bool {
        bin().is_some_and(|bin| version(&bin).contains("etcd Version: 3.4."))
    }

    /// What the real etcd says it is.
    pub fn etcd_version(&self) -> String {
        version(&self.bin)
    }

    /// Runs etcdctl against one of them.
    pub fn etcdctl(&self, endpoint: &str, args: &[&str], stdin: &str) -> Outcome {
        run(&mut self.command(endpoint, args), stdin)
    }

    /// Starts an etcdctl that goes on until it is ended.
    pub fn hold(&self, endpoint: &str, args: &[&str]) -> Child {
        let mut command = self.command(endpoint, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().expect("etcdctl starts")
    }

    fn command(&self, endpoint: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join("etcdctl"));
        command.env_clear().env("ETCDCTL_API", "3").env("PATH", env::var_os("PATH").unwrap_or_default());
        command.arg(format!("--endpoints={endpoint}")).args(args);
        command
    }
}

fn bin() -> Option<PathBuf> {
    env::var_os(BIN).map(PathBuf::from)
}

/// What etcdctl says of its commands, where there is one.
pub fn etcdctl_help() -> Option<String> {
    let mut command = Command::new(bin()?.join("etcdctl"));
    Some(run(command.env("ETCDCTL_API", "3").arg("--help"), "").stdout)
}

fn version(bin: &Path) -> String {
    run(Command::new(bin.join("etcd")).arg("--version"), "").stdout
}

/// The flags of a single member, which are the same for both.
fn flags(data: &TempDir) -> ([String; 12], String) {
    let [client, peer] = free_ports();
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let folder = data.path().join("data").display().to_string();
    let cluster = format!("default={peer}");
    let flags = [
        ("--data-dir", &folder),
        ("--listen-client-urls", &client),
        ("--advertise-client-urls", &client),
        ("--listen-peer-urls", &peer),
        ("--initial-advertise-peer-urls", &peer),
        ("--initial-cluster", &cluster),
    ];
    let mut flags = flags.iter().flat_map(|(flag, value)| [flag.to_string(), value.to_string()]);
    (std::array::from_fn(|_| flags.next().expect("twelve words")), client)
}

impl Etcd {
    /// Real etcd without ours beside it, and what it says it is; where there is one.
    pub fn alone() -> Option<(Etcd, String)> {
        let bin = bin()?;
        Some((Etcd::start(&bin, &[]), version(&bin)))
    }

    fn start(bin: &Path, more: &[&str]) -> Etcd {
        let data = TempDir::new().expect("a temporary folder");
        let (flags, endpoint) = flags(&data);
        let log = File::create(data.path().join("log")).expect("a log file");
        let mut command = Command::new(bin.join("etcd"));
        command.env_clear().args(flags).args(more).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().expect("etcd starts");
        let etcd = Etcd { process, _data: data, endpoint };
        await_health(&etcd.endpoint);
        etcd
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to be done about either.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Ours {
    pub fn start(more: &[&str]) -> Ours {
        let data = TempDir::new().expect("a temporary folder");
        let (flags, endpoint) = flags(&data);
        let flags = ["assay-server".to_string()]
            .into_iter()
            .chain(flags)
            .chain(more.iter().map(|flag| flag.to_string()));
        let flags = Flags::try_parse_from(flags);
        let config = Config::from_flags(&flags.expect("flags that parse")).expect("flags that fit");
        let (stop, stopped) = oneshot::channel::<()>();
        let running = thread::spawn(move || {
            // Dropping the sender stops it too.
            let shutdown = async { stopped.await.unwrap_or_default() };
            let runtime = Runtime::new().expect("a runtime");
            runtime.block_on(server::run(config, shutdown)).expect("the server runs until it is stopped");
        });
        let ours = Ours { stop: Some(stop), running: Some(running), _data: data, endpoint };
        await_health(&ours.endpoint);
        ours
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.running.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.expect("dropped once").expect("the server stops in good order");
        }
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

fn await_health(endpoint: &str) {
    let deadline = Instant::now() + START_MAX;
    while !health(endpoint).is_ok_and(|health| health.contains("\"true\"")) {
        assert!(Instant::now() < deadline, "{endpoint} is not healthy after {START_MAX:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a store says of its health, without any program.
fn health(endpoint: &str) -> io::Result<String> {
    let mut socket = TcpStream::connect(endpoint.trim_start_matches("http://"))?;
    socket.write_all(b"GET /health HTTP/1.1\r\nhost: store\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Starts a curl that posts a body and goes on reading until it is ended.
pub fn follow(url: &str, body: &str) -> Held {
    let mut command = Command::new("curl");
    command.env_clear().args(["-sN", "-d", body, url]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    Held::of(command.spawn().expect("curl starts"))
}

/// Runs curl; what it prints ends with the HTTP code.
pub fn curl(args: &[&str], stdin: &str) -> Outcome {
    let mut command = Command::new("curl");
    command.env_clear().args(["-s", "-m", "10", "-w", "\n%{http_code}"]).args(args);
    run(&mut command, stdin)
}

fn run(command: &mut Command, stdin: &str) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let mut input = child.stdin.take().expect("a pipe");
    let text = stdin.to_string();
    // On a thread of its own: a large input must not wait for output that nobody reads. A program that does
    // not want its input is no mistake.
    let writer = thread::spawn(move || drop(input.write_all(text.as_bytes())));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("the input is written");
    Outcome {
        ok: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A JSON document with all that is each store's own masked. A list that is missing and an empty one are the
/// same. In a refusal, a field that repeats the message counts for nothing.
pub fn mask_json(text: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else { return text.to_string() };
    mask(&mut value);
    value.to_string()
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("error").is_some() && fields.get("error") == fields.get("message") {
                fields.remove("error");
            }
            for (name, field) in fields.iter_mut() {
                // A release has dots; the version of a key has none, and counts.
                let is_release = name == "version" && field.as_str().is_some_and(|text| text.contains('.'));
                if OWN.contains(&name.as_str()) || is_release {
                    *field = Value::from("#");
                } else {
                    mask(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A table or list with every word that holds a digit masked, and no matter how wide its columns are.
pub fn mask_words(text: &str) -> String {
    let mask = |word: &str| {
        let rule = word.chars().all(|c| {
            "-+\u{2500}\u{250c}\u{252c}\u{2510}\u{251c}\u{253c}\u{2524}\u{2514}\u{2534}\u{2518}".contains(c)
        });
        let own = word.chars().any(|c| c.is_ascii_digit())
            || ["kB", "MB", "B"].contains(&word.trim_end_matches(','));
        if rule {
            "-".to_string()
        } else if own {
            "#".to_string()
        } else {
            word.to_string()
        }
    };
    let line = |line: &str| {
        let mut words: Vec<String> = line.split_whitespace().map(mask).collect();
        words.dedup_by(|a, b| a == "#" && b == "#");
        words.join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// What a program says of its failure, without its log.
pub fn complaint(stderr: &str) -> String {
    let lines = stderr.lines().filter(|line| !line.starts_with('{') && !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}
