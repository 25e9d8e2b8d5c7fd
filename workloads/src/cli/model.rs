//! `assay model`: model-checks the Raft core.

use super::{Failure, UNKNOWN, duration, print, validate::validate};
use checker::models::raft::{
    Bounds, Counterexample, End, Named, Progress, RaftModel, Replayed, Report, Script, Search, Walks, shrink,
};
use nix::sys::resource::{UsageWho, getrusage};
use stateright::{Checker as _, Model as _};
use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

/// Exit status for a broken promise.
const ANOMALY: u8 = 1;

/// Arguments of `assay model`.
#[derive(Debug, clap::Args)]
pub(super) struct ModelArgs {
    /// Bounds with a name: smoke (seconds), standard (minutes), and, to be walked, deep, churn (one short leadership
    /// after the other), members (voters and learners come and go) and five (members).
    #[arg(long, default_value_t = Named::Smoke)]
    config: Named,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// How states are looked at.
    #[arg(long, value_enum, default_value_t)]
    search: Order,
    /// Who searches: our own engine, or stateright (bfs and dfs).
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// Count states that differ by the names of up to three nodes as one [default: true].
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    symmetry: bool,
    /// Threads [default: all].
    #[arg(long)]
    jobs: Option<usize>,
    /// End after so many distinct states.
    #[arg(long, value_name = "COUNT")]
    states: Option<usize>,
    /// End after so many steps from the first state.
    #[arg(long, value_name = "STEPS")]
    depth: Option<usize>,
    /// End after so long; what is left then is unknown.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    time_limit: Option<Duration>,
    /// Seed of the walks.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Walks to take.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    walks: u64,
    /// Steps of a walk.
    #[arg(long, value_name = "STEPS", default_value_t = 120)]
    steps: usize,
    /// Write a counterexample into this file, as a golden script.
    #[arg(long, value_name = "FILE", default_value = "counterexample.script")]
    out: PathBuf,
    /// Carry out a script that was written before, instead of searching.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Replay what the raft cores of members took (`assay-server --trace`, `assay run --trace`), and judge what they
    /// gave out; name the traces of all members together.
    #[arg(long, value_name = "FILES", num_args = 1..)]
    validate: Vec<PathBuf>,
    /// Open stateright's explorer at this address, instead of searching.
    #[arg(long, value_name = "ADDR")]
    explore: Option<SocketAddr>,
    /// A mistake that the core makes.
    #[cfg(feature = "plant")]
    #[arg(long, value_name = "MUTATION")]
    plant: Option<raft::Mutation>,
}

/// Single bounds, in place of those of the named configuration.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bounds, in place of those of --config")]
struct BoundsArgs {
    /// Members.
    #[arg(long)]
    nodes: Option<u64>,
    /// Largest term.
    #[arg(long)]
    terms: Option<u64>,
    /// Longest log.
    #[arg(long)]
    log: Option<u64>,
    /// Operations of clients: this many writes and as many reads.
    #[arg(long, conflicts_with_all = ["puts", "reads"])]
    ops: Option<u8>,
    /// Writes.
    #[arg(long)]
    puts: Option<u8>,
    /// Linearizable reads.
    #[arg(long)]
    reads: Option<u8>,
    /// Crashes.
    #[arg(long)]
    crashes: Option<u8>,
    /// State images.
    #[arg(long)]
    snapshots: Option<u8>,
    /// Changes of membership.
    #[arg(long)]
    reconfigs: Option<u8>,
    /// Transfers of leadership.
    #[arg(long)]
    transfers: Option<u8>,
    /// Rounds of heartbeats without a read.
    #[arg(long)]
    beats: Option<u8>,
    /// The newest messages that a link holds, the older ones being lost; 0: all that were ever sent.
    #[arg(long)]
    window: Option<u8>,
    /// Writes reach the disk in steps of their own.
    #[arg(long, value_name = "BOOL")]
    slow_disk: Option<bool>,
    /// With a slow disk, writes that nobody has heard of wait too.
    #[arg(long, value_name = "BOOL")]
    unheard: Option<bool>,
    /// Requests of terms that their receiver has left still arrive, and are refused.
    #[arg(long, value_name = "BOOL")]
    late: Option<bool>,
    /// Elections begin with a pre-vote.
    #[arg(long, value_name = "BOOL")]
    pre_vote: Option<bool>,
    /// A message may carry more than one entry.
    #[arg(long, value_name = "BOOL")]
    batches: Option<bool>,
}

/// The order of a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Order {
    /// Breadth first: the shortest counterexample.
    #[default]
    Bfs,
    /// Depth first, one thread.
    Dfs,
    /// Random walks: deep, and not exhaustive.
    Walk,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    /// Assay's own.
    #[default]
    Assay,
    /// stateright's.
    Stateright,
}

impl BoundsArgs {
    fn apply(&self, bounds: &mut Bounds) {
        fn put<T: Copy>(to: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *to = value;
            }
        }
        put(&mut bounds.nodes, self.nodes);
        put(&mut bounds.terms, self.terms);
        put(&mut bounds.log, self.log);
        put(&mut bounds.puts, self.ops.or(self.puts));
        put(&mut bounds.reads, self.ops.or(self.reads));
        put(&mut bounds.crashes, self.crashes);
        put(&mut bounds.snapshots, self.snapshots);
        put(&mut bounds.reconfigs, self.reconfigs);
        put(&mut bounds.transfers, self.transfers);
        put(&mut bounds.beats, self.beats);
        put(&mut bounds.window, self.window);
        put(&mut bounds.slow_disk, self.slow_disk);
        put(&mut bounds.unheard, self.unheard);
        put(&mut bounds.late, self.late);
        put(&mut bounds.pre_vote, self.pre_vote);
        put(&mut bounds.batches, self.batches);
    }
}

pub(super) fn model(args: &ModelArgs) -> Result<u8, Failure> {
    let mut bounds = args.config.bounds();
    args.bounds.apply(&mut bounds);
    #[cfg(feature = "plant")]
    {
        bounds.mutation = args.plant;
    }
    bounds.validate().map_err(|errors| Failure::Usage(errors.join("; ")))?;
    if let Some(file) = &args.replay {
        return replay(file, &bounds);
    }
    // A broken invariant of the core is a panic there, and a finding here: it is told once, at the end.
    std::panic::set_hook(Box::new(|_| {}));
    if !args.validate.is_empty() {
        return validate(&args.validate);
    }
    if let Some(address) = args.explore {
        // The explorer itself would panic.
        if let Err(error) = TcpListener::bind(address) {
            return Err(Failure::Usage(format!("--explore {address}: {error}; name another address")));
        }
        print(&format!("the explorer is at http://{address}/ until Ctrl-C\n"))?;
        RaftModel { bounds }.checker().serve(address);
        return Ok(0);
    }
    print(&format!("bounds: {}\n", bounds.flags()))?;
    match (args.search, args.engine) {
        (Order::Walk, _) => walk(args, bounds),
        (_, Engine::Stateright) => with_stateright(args, bounds),
        (Order::Bfs | Order::Dfs, Engine::Assay) => search(args, bounds),
    }
}

fn jobs(args: &ModelArgs) -> usize {
    args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// Processor time of this process so far, in seconds.
pub(super) fn cpu_s() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return f64::NAN };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .sum()
}

/// Memory in use at most so far, in MiB.
fn memory_mib() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss() / 1024)
}

fn search(args: &ModelArgs, bounds: Bounds) -> Result<u8, Failure> {
    let search = Search {
        bounds,
        symmetry: args.symmetry,
        depth_first: args.search == Order::Dfs,
        threads: jobs(args),
        states_max: args.states,
        time_max: args.time_limit,
        depth_max: args.depth,
    };
    let mut ticks = 0_u32;
    let report = search.run(|progress| {
        ticks += 1;
        // Every second at first, then every ten.
        if ticks <= 5 || ticks.is_multiple_of(10) {
            let _ = print(&progress_line(progress));
        }
    });
    print(&report_text(&report))?;
    if let Some(found) = &report.counterexample {
        tell_counterexample(args, &search.bounds, found)?;
        return Ok(ANOMALY);
    }
    let missing = report.sometimes.iter().any(|(_, seen)| !seen);
    match report.end {
        End::Exhausted if !missing => Ok(0),
        End::Exhausted => {
            Err(Failure::Unknown("the model is empty where it should not be: see above".into()))
        }
        End::Broken | End::Limit => Ok(UNKNOWN),
        End::TooManyMessages => Err(Failure::Unknown(
            "the bounds allow more than 65536 different messages; make them smaller, or walk".into(),
        )),
    }
}

fn progress_line(progress: &Progress) -> String {
    let Progress { distinct, generated, depth, waiting, elapsed } = progress;
    format!(
        "{:>4} s  depth {depth:>3}  {distinct} distinct, {generated} generated, {waiting} waiting, {:.0}k \
         distinct per CPU-second, {} MiB\n",
        elapsed.as_secs(),
        *distinct as f64 / cpu_s() / 1e3,
        memory_mib()
    )
}

fn report_text(report: &Report) -> String {
    let Report { progress, end, sometimes, mirrors, parts, .. } = report;
    let cpu = cpu_s();
    let mut text = format!(
        "{}: {} distinct states ({} mirror images each at most), {} generated, depth {}\n",
        match end {
            End::Exhausted => "exhausted",
            End::Broken => "broken",
            End::Limit => "stopped at a limit; nothing is known of the rest",
            End::TooManyMessages => "stopped",
        },
        progress.distinct,
        mirrors,
        progress.generated,
        progress.depth
    );
    let _ = writeln!(
        text,
        "{:.1} s, {cpu:.1} CPU-seconds, {:.0} distinct and {:.0} generated per CPU-second, {} MiB; the core ran \
         on {} states of a node",
        progress.elapsed.as_secs_f64(),
        progress.distinct as f64 / cpu,
        progress.generated as f64 / cpu,
        memory_mib(),
        parts[0]
    );
    text + &sometimes_text(sometimes)
}

fn sometimes_text(sometimes: &[(&'static str, bool)]) -> String {
    let line = |(name, seen): &(&str, bool)| {
        format!("  {} {name}\n", if *seen { "seen:      " } else { "NEVER SEEN:" })
    };
    sometimes.iter().map(line).collect()
}

fn walk(args: &ModelArgs, bounds: Bounds) -> Result<u8, Failure> {
    let walks = Walks {
        bounds,
        seed: args.seed,
        steps_max: args.steps,
        walks_max: args.walks,
        time_max: args.time_limit,
        threads: jobs(args),
    };
    let report = walks.run();
    let cpu = cpu_s();
    print(&format!(
        "{} walks, {} steps in {:.1} s and {cpu:.1} CPU-seconds: {:.0} steps per CPU-second\n{}",
        report.walks,
        report.steps,
        report.elapsed.as_secs_f64(),
        report.steps as f64 / cpu,
        sometimes_text(&report.sometimes)
    ))?;
    match &report.counterexample {
        Some((number, found)) => {
            print(&format!("walk {number} of seed {}:\n", args.seed))?;
            tell_counterexample(args, &walks.bounds, found)?;
            Ok(ANOMALY)
        }
        None => Ok(0),
    }
}

fn tell_counterexample(args: &ModelArgs, bounds: &Bounds, found: &Counterexample) -> Result<(), Failure> {
    let found = shrink(bounds, found);
    let script = Script::write(bounds, &found);
    let mut parsed = Script::parse(&script).map_err(|error| Failure::Unknown(error.to_string()))?;
    parsed.keep_mutation(bounds);
    print(&story(&parsed))?;
    fs::write(&args.out, &script)
        .map_err(|error| Failure::Unknown(format!("{}: {error}", args.out.display())))?;
    let file = args.out.display();
    let plant = found_plant(bounds);
    print(&format!("\n{}\nwritten to {file}\nassay model --replay {file}{plant}\n", found.broken))
}

#[cfg(feature = "plant")]
fn found_plant(bounds: &Bounds) -> String {
    bounds.mutation.map_or_else(String::new, |mutation| format!(" --plant {mutation}"))
}

#[cfg(not(feature = "plant"))]
fn found_plant(_: &Bounds) -> String {
    String::new()
}

/// A script as a sequence of what happens and what follows from it.
fn story(script: &Script) -> String {
    let (done, replay) = script.play();
    let mut text = String::new();
    for (number, (action, Replayed { lines, .. })) in (1..).zip(&done) {
        let _ = writeln!(text, "{number:>3}. {action}");
        for line in lines {
            let _ = writeln!(text, "       {line}");
        }
    }
    for line in replay.status() {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn replay(file: &Path, bounds: &Bounds) -> Result<u8, Failure> {
    let text = fs::read_to_string(file).map_err(|error| {
        Failure::Usage(format!("{}: {error}; name a script that `assay model` wrote", file.display()))
    })?;
    let mut script =
        Script::parse(&text).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    script.keep_mutation(bounds);
    let (done, _) = script.play();
    print(&story(&script))?;
    match done.last().and_then(|(_, replayed)| replayed.broken.as_ref()) {
        Some(broken) => {
            print(&format!("\n{broken}\n"))?;
            Ok(ANOMALY)
        }
        None => {
            print("\nevery property holds\n")?;
            Ok(0)
        }
    }
}

fn with_stateright(args: &ModelArgs, bounds: Bounds) -> Result<u8, Failure> {
    let model = RaftModel { bounds: bounds.clone() };
    let mut builder = model.checker().threads(jobs(args));
    if let Some(states) = args.states {
        builder = builder.target_state_count(states);
    }
    if let Some(depth) = args.depth.and_then(std::num::NonZeroUsize::new) {
        builder = builder.target_max_depth(depth.into());
    }
    if let Some(limit) = args.time_limit {
        builder = builder.timeout(limit);
    }
    let (distinct, generated, depth, found) = match args.search {
        Order::Dfs => finish(builder.spawn_dfs().join()),
        Order::Bfs | Order::Walk => finish(builder.spawn_bfs().join()),
    };
    let cpu = cpu_s();
    print(&format!(
        "stateright: {distinct} distinct states, {generated} generated, depth {depth}, {cpu:.1} CPU-seconds, \
         {:.0} distinct per CPU-second, {} MiB\n",
        distinct as f64 / cpu,
        memory_mib()
    ))?;
    match found {
        Some(actions) => {
            let mut replay = checker::models::raft::Replay::new(&bounds);
            let broken = actions.iter().find_map(|action| replay.step(action)?.broken);
            let broken =
                broken.ok_or_else(|| Failure::Unknown("its counterexample breaks nothing".into()))?;
            tell_counterexample(args, &bounds, &Counterexample { actions, broken })?;
            Ok(ANOMALY)
        }
        None => Ok(0),
    }
}

type Finished = (usize, usize, usize, Option<Vec<checker::models::raft::Action>>);

/// Its counts, and the way to a property that does not hold.
fn finish(checker: impl stateright::Checker<RaftModel>) -> Finished {
    let broken = checker
        .discoveries()
        .into_iter()
        .find(|(name, _)| checker::models::raft::ALWAYS.contains(name))
        .map(|(_, path)| path.into_actions());
    (checker.unique_state_count(), checker.state_count(), checker.max_depth(), broken)
}
