//! Many live leases on one store: what they cost.
//!
//! ```console
//! $ cargo run --release -p assay-server --example lease_load -- http://127.0.0.1:2379 PID 100000 120
//! ```
//!
//! So many leases of so many seconds, each with a key; then ten seconds in which nobody asks for anything; then all are
//! renewed once; then all of them run out. PID is the server's, whose processor time and memory are what is to be
//! compared: run it against two servers on the same machine.

use server::proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest, RangeRequest, kv_client::KvClient,
    lease_client::LeaseClient,
};
use std::{
    error::Error,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

/// Connections, and calls under way on each.
const CONNECTIONS: usize = 8;
const CALLS: usize = 16;
const IDLE: Duration = Duration::from_secs(10);

type Failed = Box<dyn Error + Send + Sync>;

/// Processor time, and resident memory in MiB, of a process on Linux.
fn usage(pid: u32) -> Result<(f64, f64), Failed> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(") ").ok_or("a line of /proc/PID/stat")?.1;
    let ticks: Vec<f64> = rest.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok((ticks.iter().sum::<f64>() / 100.0, kib / 1024.0))
}

/// Does something to every lease, by as many tasks as there are calls under way.
async fn each<F, C>(channels: &[Channel], leases: i64, call: C) -> Result<(), Failed>
where
    C: Fn(Channel, i64) -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), Failed>> + Send,
{
    let mut tasks = JoinSet::new();
    let workers = channels.len() * CALLS;
    for worker in 0..workers {
        let (channel, call) = (channels[worker % channels.len()].clone(), call.clone());
        tasks.spawn(async move {
            for id in (1 + worker as i64..=leases).step_by(workers) {
                call(channel.clone(), id).await?;
            }
            Ok::<(), Failed>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, pid, leases, ttl] = &args[..] else {
        return Err("usage: lease_load ENDPOINT PID LEASES TTL_S".into());
    };
    let (pid, leases, ttl): (u32, i64, i64) = (pid.parse()?, leases.parse()?, ttl.parse()?);
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(Endpoint::from_shared(url.clone())?.connect().await?);
    }
    let before = usage(pid)?;
    let report = |what: &str, begun: Instant, since: (f64, f64)| -> Result<(f64, f64), Failed> {
        let now = usage(pid)?;
        println!(
            "{what}: {:.2?}, {:.2} s of the server's CPU, {:.0} MiB",
            begun.elapsed(),
            now.0 - since.0,
            now.1
        );
        Ok(now)
    };

    let begun = Instant::now();
    each(&channels, leases, move |channel, id| async move {
        LeaseClient::new(channel.clone()).lease_grant(LeaseGrantRequest { id, ttl }).await?;
        let (key, value) = (format!("lease/{id:07}").into(), vec![b'x'; 64].into());
        KvClient::new(channel).put(PutRequest { key, value, lease: id, ..PutRequest::default() }).await?;
        Ok(())
    })
    .await?;
    let made = report(&format!("{leases} leases, each with a key"), begun, before)?;
    println!("  {:.0} B each", (made.1 - before.1) * 1024.0 * 1024.0 / leases as f64);

    let begun = Instant::now();
    tokio::time::sleep(IDLE).await;
    let idle = report("nothing asked", begun, made)?;

    let begun = Instant::now();
    // As clients do it: a few streams, each with many leases.
    let mut streams = JoinSet::new();
    for (at, channel) in channels.iter().enumerate() {
        let mut client = LeaseClient::new(channel.clone());
        let ids: Vec<i64> = (1 + at as i64..=leases).step_by(CONNECTIONS).collect();
        streams.spawn(async move {
            let requests = ids.clone().into_iter().map(|id| LeaseKeepAliveRequest { id });
            let mut answers = client.lease_keep_alive(tokio_stream::iter(requests)).await?.into_inner();
            for id in ids {
                let answer = answers.message().await?.ok_or("the stream has ended")?;
                if answer.id != id || answer.ttl <= 0 {
                    return Err(format!("lease {id}: {answer:?}").into());
                }
            }
            Ok::<(), Failed>(())
        });
    }
    while let Some(done) = streams.join_next().await {
        done??;
    }
    let renewed = report("all renewed", begun, idle)?;

    let begun = Instant::now();
    let ttl = Duration::from_secs(ttl.unsigned_abs());
    // To count is work: not before it is due.
    tokio::time::sleep(ttl.saturating_sub(Duration::from_secs(5))).await;
    let mut first = None;
    let count = async |channel: &Channel| -> Result<i64, Failed> {
        let (key, range_end) = ("lease/".into(), "lease0".into());
        let count = RangeRequest { key, range_end, count_only: true, ..RangeRequest::default() };
        Ok(KvClient::new(channel.clone()).range(count).await?.into_inner().count)
    };
    loop {
        let left = count(&channels[0]).await?;
        if left < leases && first.is_none() {
            first = Some(begun.elapsed());
        }
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    report("all run out", begun, renewed)?;
    let first = first.unwrap_or_default().as_secs_f64() - ttl.as_secs_f64();
    let last = begun.elapsed().as_secs_f64() - ttl.as_secs_f64();
    println!("  the first {first:.2} s after their TTL, the last {last:.2} s after");
    Ok(())
}
