//! What the generator itself costs, beside what ordinary clients do: `assay bench --suite generator`.

use super::suite::{MEASURED, WARMUP, closed};
use crate::{
    cli::{Failure, Format, print},
    load::{Behaviour, BenchResults, Client, Endpoint, Machine, NullServer},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Clients of the closed loops; the last ones are many enough that requests go out in batches.
const CLIENTS: [usize; 3] = [16, 256, 1000];
/// Connections that they share.
const CONNECTIONS: usize = 8;
/// The other client's program, beside this one.
const PROGRAM: &str = "etcd-client-bench";
/// How long that program may take beyond what it measures.
const GRACE: Duration = Duration::from_secs(30);
/// Between two looks whether it has ended.
const POLL: Duration = Duration::from_millis(20);

/// What one client costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Cost {
    client: String,
    clients: usize,
    puts_per_s: f64,
    cpu_us_per_put: f64,
}

/// All of them.
#[derive(Debug, Serialize)]
struct Costs {
    machine: Machine,
    costs: Vec<Cost>,
    /// Why a row is missing.
    notes: Vec<String>,
}

pub(super) fn run(etcd_client: Option<&Path>, format: Format, stop: &AtomicBool) -> Result<u8, Failure> {
    let other = other_client(etcd_client)?;
    let server = NullServer::start(Behaviour::Echo)?;
    let address = server.address().to_string();
    let mut costs = Vec::new();
    for client in [Client::Raw, Client::Tonic] {
        for clients in CLIENTS {
            costs.push(own(&address, client, clients, stop)?);
        }
    }
    let mut notes = Vec::new();
    match other {
        Some(program) => {
            for clients in CLIENTS {
                costs.push(foreign(&program, &address, clients, stop)?);
            }
        }
        None => notes.push(format!(
            "etcd-client: not measured: there is no {PROGRAM} beside this program. `.ci/etcd-client --build-only` builds \
             it; --etcd-client PROGRAM names it"
        )),
    }
    let costs = Costs { machine: Machine::here(), costs, notes };
    match format {
        Format::Text => print(&costs.text())?,
        Format::Json => {
            let json = serde_json::to_string_pretty(&costs).map_err(std::io::Error::from)?;
            print(&format!("{json}\n"))?;
        }
    }
    Ok(0)
}

/// The program of the etcd-client crate: as named, or where it is when it was built; `None` where it was not.
fn other_client(named: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    match named {
        Some(path) if path.is_file() => Ok(Some(path.to_path_buf())),
        Some(path) => Err(Failure::Usage(format!(
            "--etcd-client {}: there is no such program; `.ci/etcd-client --build-only` builds one",
            path.display()
        ))),
        None => Ok(Some(std::env::current_exe()?.with_file_name(PROGRAM)).filter(|path| path.is_file())),
    }
}

fn told_to_stop(stop: &AtomicBool) -> Result<(), Failure> {
    match stop.load(Ordering::Relaxed) {
        true => Err(Failure::Unknown("told to stop before the suite was over".into())),
        false => Ok(()),
    }
}

/// One of our own clients.
fn own(address: &str, client: Client, clients: usize, stop: &AtomicBool) -> Result<Cost, Failure> {
    let endpoint = Endpoint::parse(address).map_err(Failure::Unknown)?;
    let mut bench = closed(vec![endpoint], "put", clients, client)?;
    bench.plan.connections = CONNECTIONS;
    let base = BenchResults { machine: Machine::here(), ..BenchResults::default() };
    let outcome = bench.run(None, base, stop, |_| {});
    let (results, _) = outcome.map_err(|error| Failure::Unknown(error.to_string()))?;
    told_to_stop(stop)?;
    if results.all.ok == 0 {
        let error = results.error.unwrap_or_else(|| "no put succeeded".to_owned());
        return Err(Failure::Unknown(format!("{client}, {clients} clients: {error}")));
    }
    Ok(Cost {
        client: client.to_string(),
        clients,
        puts_per_s: results.per_s,
        cpu_us_per_put: results.generator.cpu_us_per_op,
    })
}

/// What the program of the other client prints.
#[derive(Debug, Deserialize)]
struct Printed {
    puts: u64,
    failed: u64,
    per_s: f64,
    cpu_us_per_put: f64,
}

/// The etcd-client crate, in a process of its own.
fn foreign(program: &Path, address: &str, clients: usize, stop: &AtomicBool) -> Result<Cost, Failure> {
    let unknown = |why: String| Failure::Unknown(format!("{}: {why}", program.display()));
    let child = Command::new(program)
        .args(["--endpoint", &format!("http://{address}"), "--clients", &clients.to_string()])
        .args(["--connections", &CONNECTIONS.to_string(), "--value-size", "256"])
        .args(["--warmup", &WARMUP.as_secs().to_string(), "--seconds", &MEASURED.as_secs().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.map_err(|error| unknown(error.to_string()))?;
    let output = wait(child, stop)?.wait_with_output()?;
    told_to_stop(stop)?;
    if !output.status.success() {
        return Err(unknown(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let printed: Printed = serde_json::from_slice(&output.stdout)
        .map_err(|error| unknown(format!("its result cannot be read: {error}")))?;
    if printed.puts == 0 || printed.failed > 0 {
        return Err(unknown(format!("{} of {} puts failed", printed.failed, printed.puts + printed.failed)));
    }
    Ok(Cost {
        client: "etcd-client".to_owned(),
        clients,
        puts_per_s: printed.per_s,
        cpu_us_per_put: printed.cpu_us_per_put,
    })
}

/// Waits until the program has ended; it is killed when it takes too long, or when told to stop.
fn wait(mut child: Child, stop: &AtomicBool) -> Result<Child, Failure> {
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if stop.load(Ordering::Relaxed) || start.elapsed() > WARMUP + MEASURED + GRACE {
            child.kill()?;
            child.wait()?;
            told_to_stop(stop)?;
            return Err(Failure::Unknown(format!("{PROGRAM} did not end in time")));
        }
        thread::sleep(POLL);
    }
    Ok(child)
}

impl Costs {
    fn text(&self) -> String {
        let mut text = format!(
            "{:<12}{:>9}{:>12}{:>16}{:>22}\n",
            "client", "clients", "puts/s", "CPU us/put", "puts per CPU-second"
        );
        // Writing to a string cannot fail.
        for cost in &self.costs {
            let _ = writeln!(
                text,
                "{:<12}{:>9}{:>12.0}{:>16.2}{:>22.0}",
                cost.client,
                cost.clients,
                cost.puts_per_s,
                cost.cpu_us_per_put,
                1e6 / cost.cpu_us_per_put.max(1e-9)
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    /// A program that prints this and ends with this status.
    fn script(dir: &Path, line: &str) -> PathBuf {
        let path = dir.join("program");
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_other_client_is_read_and_what_is_wrong_with_it_is_told() {
        let (dir, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
        let run = |line: &str| foreign(&script(dir.path(), line), "127.0.0.1:1", 16, &stop);
        let fine = r#"echo '{"puts": 10, "failed": 0, "per_s": 5.0, "cpu_us_per_put": 30.5}'"#;
        let cost = run(fine).unwrap_or_else(|_| panic!("a result"));
        assert_eq!((cost.client.as_str(), cost.cpu_us_per_put), ("etcd-client", 30.5));
        for (line, say) in [
            ("echo nonsense", "cannot be read"),
            ("echo no room >&2; exit 1", "no room"),
            (r#"echo '{"puts": 0, "failed": 4, "per_s": 0, "cpu_us_per_put": 1}'"#, "4 of 4 puts failed"),
        ] {
            let Err(Failure::Unknown(text)) = run(line) else { panic!("taken: {line}") };
            assert!(text.contains(say), "{text}");
        }
        stop.store(true, Ordering::Relaxed);
        let Err(Failure::Unknown(text)) = run("exec sleep 60") else { panic!("it was told to stop") };
        assert!(text.contains("told to stop"), "{text}");
    }

    #[test]
    fn a_client_that_is_not_there_is_named_with_a_remedy() {
        let Err(Failure::Usage(text)) = other_client(Some(Path::new("/nowhere"))) else {
            panic!("it is not there")
        };
        assert!(text.contains("/nowhere") && text.contains(".ci/etcd-client"), "{text}");
        let cost = Cost { client: "raw".into(), clients: 16, puts_per_s: 1e5, cpu_us_per_put: 2.0 };
        let costs = Costs {
            machine: Machine::here(),
            costs: vec![cost],
            notes: vec!["etcd-client: not measured".into()],
        };
        let text = costs.text();
        assert!(text.contains("500000\n") && text.ends_with("not measured\n"), "{text}");
    }
}
