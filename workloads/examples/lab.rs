//! Tries clusters and faults by hand: `lab KIND NODES SECONDS FAULTS SEED OUT`.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use workloads::{
    cluster::{Cluster, Kind, Spec, System, netns},
    nemesis::{self, FaultSet, Options, Plan},
};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let kind: Kind = args[1].parse().unwrap();
    if kind == Kind::Netns {
        let t = Instant::now();
        if std::env::var("ASSAY_NETNS").is_err() {
            if let Err(e) = netns::available() {
                eprintln!("unavailable: {e}");
                std::process::exit(3)
            }
            eprintln!("available after {:?}", t.elapsed());
        }
        netns::enter().unwrap();
        eprintln!("inside: pid {}", std::process::id());
    }
    let code = tokio::runtime::Runtime::new().unwrap().block_on(go(kind, &args));
    std::process::exit(code)
}

async fn go(kind: Kind, args: &[String]) -> i32 {
    let dir = std::env::var("ASSAY_ETCD_BIN").unwrap();
    let nodes: usize = args[2].parse().unwrap();
    let secs: u64 = args[3].parse().unwrap();
    let mut spec = Spec::new(kind, System::Etcd { dir: dir.into() }, nodes, args[6].clone().into());
    spec.start_timeout = Duration::from_secs(20);
    let t = Instant::now();
    let cluster = match Cluster::start(spec).await {
        Ok(c) => Arc::new(c),
        Err(e) => {
            eprintln!("{e}");
            return 3;
        }
    };
    eprintln!(
        "started {} {} after {:?}, leader {:?}",
        cluster.spec().system,
        cluster.version(),
        t.elapsed(),
        cluster.leader().await
    );
    if secs == 0 {
        eprintln!("serving; Ctrl-C or TERM to end");
        tokio::signal::ctrl_c().await.unwrap();
        return 42;
    }
    let faults = FaultSet::parse(&args[4]).unwrap_or_else(|e| {
        eprintln!("{e}");
        std::process::exit(2)
    });
    let (faults, left) = faults.for_nodes(nodes);
    eprintln!("left out: {left:?}");
    let mut opts = Options::new(args[5].parse().unwrap(), Duration::from_secs(secs), faults);
    if let Ok(o) = std::env::var("OVERLAP") {
        opts.overlap = o.parse().unwrap();
    }
    let plan = Plan::draw(&opts);
    let start = Instant::now();
    let sink: nemesis::Sink = Arc::new(move |what| {
        println!("{:>6} {}", start.elapsed().as_millis(), serde_json::to_string(&what).unwrap());
    });
    let summary =
        nemesis::run(&plan, Arc::clone(&cluster), sink, async { tokio::signal::ctrl_c().await.unwrap() })
            .await;
    println!(
        "{} planned; proved {:?}; doubts {:?}",
        plan.faults.len(),
        summary.proved(),
        summary.doubts(&plan)
    );
    let t = Instant::now();
    println!("ready: {:?} after {:?}", cluster.wait_ready(Duration::from_secs(10)).await, t.elapsed());
    println!("crashes {:?}", cluster.crashes().await);
    Arc::try_unwrap(cluster).unwrap().stop().await;
    0
}
