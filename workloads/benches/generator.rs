//! What the load generator costs by itself, in CPU time of its threads: against a server that does nothing, and without
//! any. `cargo bench -p assay --bench generator`.
#![allow(missing_docs, reason = "criterion's macros make functions without")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::{
    hint::black_box,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};
use workloads::load::{
    Behaviour, Bench, BenchResults, Client, Endpoint, Load, NullServer, Plan, Workload,
    http2::{Connection, Method, Peer},
};

/// CPU time that the generator takes for so many puts of 256 B by so many clients.
fn cpu_of(client: Client, clients: usize, puts: u64) -> Duration {
    let server = NullServer::start(Behaviour::Echo).expect("a port");
    let endpoint = Endpoint::parse(&server.address().to_string()).expect("an address");
    let workload = Workload { preload: false, ..Workload::named("put").expect("it is known") };
    let load = Load::Closed { clients, operations_max: Some(puts) };
    let plan = Plan::new(vec![endpoint], workload, load, Duration::from_secs(3600));
    let bench = Bench { plan, warmup: Duration::ZERO, client, watched: Vec::new() };
    let results = bench.run(None, BenchResults::default(), &AtomicBool::new(false), |_| {});
    let (results, sum) = results.expect("nothing is written");
    assert_eq!((sum.ok(), sum.failed()), (puts, 0), "{:?}", results.error);
    Duration::from_nanos(sum.cpu_ns)
}

fn against_a_null_server(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("put of 256 B, CPU of the generator");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(5));
    for (client, name) in [(Client::Raw, "raw"), (Client::Tonic, "tonic")] {
        for clients in [16, 256, 1000] {
            group.bench_function(BenchmarkId::new(name, clients), |bencher| {
                // At least as many as there are clients, or they would not all take part.
                bencher.iter_custom(|puts| {
                    let least = puts.max(20 * clients as u64);
                    cpu_of(client, clients, least).mul_f64(puts as f64 / least as f64)
                });
            });
        }
    }
    group.finish();
}

/// The answer to a put, as a server sends it: headers, the message, trailers.
fn answer(stream: u32) -> Vec<u8> {
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        [&head[..], payload].concat()
    };
    let message = [0, 0, 0, 0, 4, 0x0a, 2, 0x18, 7];
    [
        frame(1, 4, b"\x88\x0f\x10\x10application/grpc"),
        frame(0, 0, &message),
        frame(1, 5, b"\x00\x0bgrpc-status\x010"),
    ]
    .concat()
}

fn without_a_server(criterion: &mut Criterion) {
    const BATCH: u32 = 64;
    let mut group = criterion.benchmark_group("HTTP/2 without IO");
    group.throughput(Throughput::Elements(1));
    let request = vec![7; 280];
    group.bench_function("put, in batches of 64", |bencher| {
        bencher.iter_custom(|puts| {
            let mut connection = Connection::new(&Peer::plain("localhost:2379"));
            // Settings without any: then as many calls as one likes.
            connection.receive(&[0, 0, 0, 4, 0, 0, 0, 0, 0], |(), _| {}).expect("they are valid");
            // No window is a limit here: what was sent is given back at once.
            let update = [&[0, 0, 4, 8, 0, 0, 0, 0, 0][..], &20_000_u32.to_be_bytes()].concat();
            let (mut next, mut answered) = (1, 0);
            let mut took = Duration::ZERO;
            while answered < puts {
                let answers: Vec<u8> = (0..BATCH).flat_map(|n| answer(next + 2 * n)).collect();
                next += 2 * BATCH;
                let start = Instant::now();
                for _ in 0..BATCH {
                    connection.send((), Method::Put, black_box(&request));
                }
                let written = connection.output().len();
                connection.wrote(written);
                connection
                    .receive(&answers, |(), outcome| answered += u64::from(outcome.is_ok()))
                    .expect("valid");
                connection.receive(&update, |(), _| {}).expect("valid");
                took += start.elapsed();
            }
            took.mul_f64(puts as f64 / answered as f64)
        });
    });
    group.finish();
}

criterion_group!(benches, against_a_null_server, without_a_server);
criterion_main!(benches);
