//! What server processes use of the machine, second by second: from /proc, and from the server's own metrics.

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a server may take to show its metrics.
const METRICS_TIMEOUT: Duration = Duration::from_millis(500);

/// What a server had used at a time. Counts are from its start on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// When, in s from the start of the load.
    pub t_s: f64,
    /// CPU time, in s; 0 where the process cannot be seen.
    pub cpu_s: f64,
    /// Memory in use, in MiB.
    pub memory_mib: f64,
    /// Written to disks, in MiB.
    pub written_mib: f64,
    /// Flushes of its log.
    pub fsyncs: f64,
    /// How long they took together, in s.
    pub fsync_s: f64,
    /// Size of its data, in MiB.
    pub data_mib: f64,
}

impl Usage {
    /// How much a count has grown over what was seen. One that is lower than before began again with its process.
    pub fn grown(seen: &[Usage], count: impl Fn(&Usage) -> f64) -> f64 {
        let step = |pair: &[Usage]| {
            let (before, after) = (count(&pair[0]), count(&pair[1]));
            if after < before { after } else { after - before }
        };
        seen.windows(2).map(step).sum()
    }
}

/// What the whole machine and this process have used of its processors, in s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct MachineUse {
    busy_s: f64,
    all_s: f64,
    own_s: f64,
}

impl MachineUse {
    /// Up to now; nothing where the system does not tell.
    pub(super) fn now() -> MachineUse {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        MachineUse { own_s: own_cpu_s(), ..machine_use(&text) }
    }

    /// What came on top of this one.
    pub(super) fn since(self) -> MachineUse {
        let now = MachineUse::now();
        MachineUse {
            busy_s: now.busy_s - self.busy_s,
            all_s: now.all_s - self.all_s,
            own_s: now.own_s - self.own_s,
        }
    }

    /// The share of the machine that others took than this process and servers, which took `servers_s`.
    pub(super) fn others(self, servers_s: f64) -> Option<f64> {
        (self.all_s > 0.0).then(|| ((self.busy_s - self.own_s - servers_s) / self.all_s).clamp(0.0, 1.0))
    }
}

/// The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq and steal, in hundredths of a second
/// of all processors. Source: proc(5).
fn machine_use(stat: &str) -> MachineUse {
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let fields: Vec<f64> = line.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
    let all: f64 = fields.iter().sum();
    let idle: f64 = fields.iter().skip(3).take(2).sum();
    MachineUse { busy_s: (all - idle) / 100.0, all_s: all / 100.0, own_s: 0.0 }
}

fn own_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default();
    time.as_secs_f64()
}

/// A server that is looked at.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its name.
    pub name: String,
    /// Its process, where that runs on this machine.
    pub pid: Option<u32>,
    /// Where it shows its metrics.
    pub address: Option<SocketAddr>,
    /// Its data directory, where that is on this machine.
    pub data: Option<PathBuf>,
}

/// Looks at servers once a second until it is stopped.
#[derive(Debug)]
pub struct Sampler {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeMap<String, Vec<Usage>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Starts; the time counts from here.
    pub fn start(servers: Vec<Watched>) -> Sampler {
        let stop = Arc::new(AtomicBool::new(false));
        let seen: Arc<Mutex<BTreeMap<String, Vec<Usage>>>> = Arc::default();
        let (ends, notes) = (Arc::clone(&stop), Arc::clone(&seen));
        let start = Instant::now();
        let mut servers = servers;
        let thread = thread::spawn(move || {
            let mut next = Duration::ZERO;
            loop {
                for server in &mut servers {
                    find_again(server);
                    let usage = look(server, start.elapsed().as_secs_f64());
                    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                    notes.entry(server.name.clone()).or_default().push(usage);
                }
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                next += Duration::from_secs(1);
                thread::park_timeout(next.saturating_sub(start.elapsed()));
            }
        });
        Sampler { stop, seen, thread: Some(thread) }
    }

    /// Looks once more, and gives what was seen, by server.
    pub fn stop(mut self) -> BTreeMap<String, Vec<Usage>> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It cannot panic; if it did, what it saw is still there.
            let _ = thread.join();
        }
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Looks for the process that a server has now, should its own be gone: faults end and start them.
fn find_again(server: &mut Watched) {
    let (Some(pid), Some(data)) = (server.pid, &server.data) else { return };
    if fs::exists(format!("/proc/{pid}/stat")).unwrap_or(true) {
        return;
    }
    let Ok(processes) = fs::read_dir("/proc") else { return };
    let data = data.as_os_str().as_encoded_bytes();
    let serves = |pid: &u32| {
        // Its data directory is an argument of its own.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|octet| *octet == 0).any(|argument| argument == data)
    };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    server.pid = pids.filter(serves).max().or(server.pid);
}

fn look(server: &Watched, t_s: f64) -> Usage {
    let mut usage = Usage { t_s, ..Usage::default() };
    if let Some(pid) = server.pid {
        read_proc(pid, &mut usage);
    }
    if let Some(metrics) = server.address.and_then(|address| metrics(address).ok()) {
        read_metrics(&metrics, server.pid.is_none(), &mut usage);
    }
    if let Some(data) = &server.data {
        usage.data_mib = folder_bytes(data) as f64 / MIB;
    }
    usage
}

const MIB: f64 = 1024.0 * 1024.0;

/// Fields of /proc. Source: proc(5).
fn read_proc(pid: u32, usage: &mut Usage) {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let stat = read("stat");
    // Behind the name, which may hold anything, in parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    // Linux shows times in hundredths of a second on every machine that Rust's std runs on.
    usage.cpu_s = (ticks(11) + ticks(12)) / 100.0;
    let number = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let word = line.and_then(|line| line.split_whitespace().nth(1));
        word.and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0)
    };
    usage.memory_mib = number(&read("status"), "VmRSS:") / 1024.0;
    usage.written_mib = number(&read("io"), "write_bytes:") / MIB;
}

/// The page of metrics, as any etcd serves it beside its API.
fn metrics(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, METRICS_TIMEOUT)?;
    stream.set_read_timeout(Some(METRICS_TIMEOUT))?;
    stream.write_all(
        format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut page = Vec::new();
    // A server that keeps the connection open ends with the timeout: what came is enough.
    let _ = stream.take(16 << 20).read_to_end(&mut page);
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn read_metrics(page: &str, all: bool, usage: &mut Usage) {
    let value = |name: &str| {
        let line =
            page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|word| word.parse::<f64>().ok())
    };
    usage.fsyncs = value("etcd_disk_wal_fsync_duration_seconds_count").unwrap_or(0.0);
    usage.fsync_s = value("etcd_disk_wal_fsync_duration_seconds_sum").unwrap_or(0.0);
    if all {
        usage.cpu_s = value("process_cpu_seconds_total").unwrap_or(0.0);
        usage.memory_mib = value("process_resident_memory_bytes").unwrap_or(0.0) / MIB;
        usage.data_mib = value("etcd_mvcc_db_total_size_in_bytes").unwrap_or(0.0) / MIB;
        // Of the log alone: metrics know no more.
        usage.written_mib = value("etcd_disk_wal_write_bytes_total").unwrap_or(0.0) / MIB;
    }
}

/// Octets of all files below a folder.
pub fn folder_bytes(folder: &std::path::Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;

    #[test]
    fn a_count_that_begins_again_has_grown_all_the_same() {
        let seen = [1.0, 4.0, 0.5, 2.5].map(|cpu_s| Usage { cpu_s, ..Usage::default() });
        assert_eq!(Usage::grown(&seen, |usage| usage.cpu_s), 3.0 + 0.5 + 2.0);
        assert_eq!(Usage::grown(&seen[..1], |usage| usage.cpu_s), 0.0);
    }

    #[test]
    fn a_server_is_found_again_by_its_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let start = || {
            let mut command = std::process::Command::new("sleep");
            command.args(["600"]).arg0(dir.path());
            command.spawn().unwrap()
        };
        let (mut first, mut second) = (start(), start());
        let data = Some(dir.path().to_path_buf());
        let mut server = Watched { name: "n1".into(), pid: Some(first.id()), address: None, data };
        first.kill().unwrap();
        first.wait().unwrap();
        // A process that was just started has no arguments to be known by for a moment.
        let start = Instant::now();
        while server.pid != Some(second.id()) && start.elapsed() < Duration::from_secs(60) {
            find_again(&mut server);
        }
        assert_eq!(server.pid, Some(second.id()));
        second.kill().unwrap();
        second.wait().unwrap();
    }

    #[test]
    fn what_others_took_of_the_machine_is_what_is_left() {
        let used = machine_use("cpu  100 0 50 800 50 0 0 0 7 7\ncpu0 1 2 3\n");
        assert_eq!((used.busy_s, used.all_s), (1.5, 10.0));
        assert_eq!(MachineUse { own_s: 0.5, ..used }.others(0.5), Some(0.05));
        assert_eq!(machine_use("nothing").others(0.0), None);
    }

    #[test]
    fn this_process_is_seen_to_use_cpu_and_memory() {
        let watched = Watched { name: "n1".into(), pid: Some(std::process::id()), address: None, data: None };
        let seen = Sampler::start(vec![watched]).stop();
        let last = seen["n1"].last().copied().unwrap();
        assert!(last.memory_mib > 1.0, "{last:?}");
    }

    #[test]
    fn metrics_are_found_by_their_whole_name() {
        let page = "# TYPE x counter\netcd_disk_wal_fsync_duration_seconds_count 12\n\
                    etcd_disk_wal_fsync_duration_seconds_sum 0.5\nprocess_cpu_seconds_total 3\n\
                    etcd_disk_wal_write_bytes_total 2.097152e+06\n";
        let mut usage = Usage::default();
        read_metrics(page, true, &mut usage);
        assert_eq!((usage.fsyncs, usage.fsync_s, usage.cpu_s, usage.written_mib), (12.0, 0.5, 3.0, 2.0));
    }
}
