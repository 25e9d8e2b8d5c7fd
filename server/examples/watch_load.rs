//! Many watches on one store: what they cost.
//!
//! ```console
//! $ cargo run --release -p assay-server --example watch_load -- http://127.0.0.1:2379 PID hot 10000 20
//! $ cargo run --release -p assay-server --example watch_load -- http://127.0.0.1:2379 PID idle 100000 5000
//! ```
//!
//! `hot`: that many watches on one key, then so many puts of it, each told to all. `idle`: that many watches on
//! keys of their own, then so many puts of another key, told to none. PID is the server's, whose processor time
//! and memory are what is to be compared: run it against two servers on the same machine.

use server::proto::etcdserverpb::{
    PutRequest, WatchCreateRequest, WatchRequest, kv_client::KvClient, watch_client::WatchClient,
    watch_request::RequestUnion,
};
use std::{
    error::Error,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

/// Watches of one stream, and streams of one connection.
const WATCHES: usize = 100;
const STREAMS: usize = 50;

/// Processor time, and resident memory in MiB, of a process on Linux.
fn usage(pid: u32) -> Result<(f64, f64), Box<dyn Error>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(") ").ok_or("a line of /proc/PID/stat")?.1;
    let ticks: Vec<f64> = rest.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok((ticks.iter().sum::<f64>() / 100.0, kib / 1024.0))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, pid, kind, watches, puts] = &args[..] else {
        return Err("usage: watch_load ENDPOINT PID hot|idle WATCHES PUTS".into());
    };
    let (pid, watches, puts): (u32, usize, usize) = (pid.parse()?, watches.parse()?, puts.parse()?);
    let hot = kind == "hot";
    let before = usage(pid)?;
    let (told, mut telling) = mpsc::unbounded_channel::<usize>();
    let mut streams = JoinSet::new();
    let mut channel = None;
    let begun = Instant::now();
    for (number, first) in (0..watches).step_by(WATCHES).enumerate() {
        if number % STREAMS == 0 {
            channel = Some(Endpoint::from_shared(url.clone())?.connect().await?);
        }
        let mut client = WatchClient::new(channel.clone().ok_or("a connection")?);
        let told = told.clone();
        streams.spawn(async move {
            let (requests, receiver) = mpsc::channel(WATCHES);
            // All of them have room, and etcd says nothing, not even that it listens, until it has one.
            for watch in first..watches.min(first + WATCHES) {
                let key = if hot { "hot".to_string() } else { format!("idle/{watch}") };
                let create = WatchCreateRequest { key: key.into(), ..WatchCreateRequest::default() };
                let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
                // The stream's end shows in its answers.
                let _ = requests.send(request).await;
            }
            let mut answers = client.watch(ReceiverStream::new(receiver)).await?.into_inner();
            while let Some(answer) = answers.message().await? {
                let _ = told.send(answer.events.len() + usize::from(answer.created));
            }
            Ok::<(), tonic::Status>(())
        });
    }
    drop(told);
    let mut wait = async |count: usize| {
        let mut left = count;
        while left > 0 {
            left -= telling.recv().await.ok_or("the streams have ended")?.min(left);
        }
        Ok::<Duration, &str>(begun.elapsed())
    };
    let created = wait(watches).await?;
    let idle = usage(pid)?;
    let mut kv = KvClient::new(Endpoint::from_shared(url.clone())?.connect().await?);
    let value = vec![b'x'; 256];
    for _ in 0..puts {
        let key = if hot { "hot" } else { "other" };
        kv.put(PutRequest { key: key.into(), value: value.clone().into(), ..PutRequest::default() }).await?;
    }
    let written = begun.elapsed() - created;
    let told = wait(if hot { watches * puts } else { 0 }).await? - created;
    let after = usage(pid)?;
    println!(
        "{kind}: {watches} watches made in {created:.2?} with {:.2} s of the server's CPU and {:.0} MiB, {:.0} B each",
        idle.0 - before.0,
        idle.1 - before.1,
        (idle.1 - before.1) * 1024.0 * 1024.0 / watches as f64,
    );
    println!(
        "{kind}: {puts} puts took {written:.2?}, all were told after {told:.2?}; {:.2} s of the server's CPU, memory {:.0} MiB",
        after.0 - idle.0,
        after.1,
    );
    streams.abort_all();
    Ok(())
}
