//! What a put costs through the `etcd-client` crate: so many clients put in a closed loop, each when it has its answer.
//! Prints one JSON object; `assay bench --suite generator` reads it.

use clap::Parser;
use cpu_time::ProcessTime;
use etcd_client::Client;
use std::{
    cell::Cell,
    error::Error,
    io::{Write, stdout},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{runtime, task::LocalSet, time};

/// Puts through the etcd-client crate in a closed loop.
#[derive(Debug, Parser)]
struct Args {
    /// The server, as http://127.0.0.1:2379.
    #[arg(long)]
    endpoint: String,
    /// How many put at a time.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Connections that they share.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Length of a value in bytes.
    #[arg(long, default_value_t = 256)]
    value_size: usize,
    /// Keys that are written, in turn.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Seconds that are not measured, and seconds that are.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=3600))]
    warmup: u64,
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    puts: u64,
    failed: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    // One thread, as `assay bench --client tonic` has.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = LocalSet::new().block_on(&runtime, drive(&args))?;
    Ok(writeln!(stdout(), "{measured}")?)
}

async fn drive(args: &Args) -> Result<serde_json::Value, Box<dyn Error>> {
    let mut connections = Vec::new();
    for _ in 0..args.connections {
        connections.push(Client::connect([&args.endpoint], None).await?);
    }
    let (done, next) = (Rc::new(Cell::new(Done::default())), Rc::new(Cell::new(0)));
    for client in connections.iter().cycle().take(args.clients as usize) {
        let put = put(client.clone(), args.keys, args.value_size, Rc::clone(&next), Rc::clone(&done));
        tokio::task::spawn_local(put);
    }
    time::sleep(Duration::from_secs(args.warmup)).await;
    let (before, cpu, start) = (done.get(), ProcessTime::now(), Instant::now());
    time::sleep(Duration::from_secs(args.seconds)).await;
    let (after, cpu, took) = (done.get(), cpu.elapsed(), start.elapsed());
    let (puts, failed) = (after.puts - before.puts, after.failed - before.failed);
    Ok(serde_json::json!({
        "puts": puts,
        "failed": failed,
        "per_s": puts as f64 / took.as_secs_f64(),
        "cpu_us_per_put": cpu.as_secs_f64() * 1e6 / (puts + failed).max(1) as f64,
    }))
}

/// One client; it goes on until the program ends.
async fn put(client: Client, keys: u64, value_size: usize, next: Rc<Cell<u64>>, done: Rc<Cell<Done>>) {
    let (mut client, value) = (client.kv_client(), vec![b'v'; value_size]);
    loop {
        let number = next.get();
        next.set(number + 1);
        let key = format!("bench/{:010}", number % keys);
        let outcome = client.put(key, value.clone(), None).await;
        let mut now = done.get();
        match outcome {
            Ok(_) => now.puts += 1,
            Err(_) => now.failed += 1,
        }
        done.set(now);
        if outcome.is_err() {
            // A server that refuses at once would have this loop take all there is.
            time::sleep(Duration::from_millis(1)).await;
        }
    }
}
