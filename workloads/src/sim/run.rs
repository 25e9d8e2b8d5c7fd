//! One run from its plan to its verdict.

use super::{
    plan::{Plan, SECOND},
    world::World,
};
use crate::{
    scenario::WorkloadName,
    workload::{
        Append, Generator as _, Kv, Lease, Register, Set, Space, TxnRevisions, Watch, WatchPace, Workload,
    },
};
use checker::{
    History, Options, Verdict, Why,
    history::event::{Header, VERSION, What},
};
use serde_json::json;
use std::{collections::BTreeSet, fmt, time::Duration};

/// What stands for a check where none could decide.
const UNDECIDED: &str = "unknown";
/// Virtual time within which a healed cluster must converge.
const CONVERGE_US: u64 = 120 * SECOND;
/// So many operations must have succeeded for a history to mean something; a cluster may be down for most of
/// a run.
const OK_MIN: u64 = 1;

/// What was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A promise of Raft, or an invariant of the code, at some step.
    Safety(String),
    /// The healed cluster did not converge, or did not serve.
    Liveness(String),
    /// What clients saw, and the checker that says so.
    History {
        /// The check.
        check: String,
        /// What it says.
        text: String,
    },
}

impl Failure {
    /// What found it, in a word or two.
    pub fn finder(&self) -> &str {
        match self {
            Failure::Safety(_) => "invariants",
            Failure::Liveness(_) => "liveness",
            Failure::History { check, .. } => check,
        }
    }

    /// Whether something was found: where a check could not decide, nothing was.
    pub fn is_finding(&self) -> bool {
        self.finder() != UNDECIDED
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Safety(text) => write!(f, "safety: {text}"),
            Failure::Liveness(text) => write!(f, "liveness: {text}"),
            Failure::History { check, text } => write!(f, "{check}: {text}"),
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was broken, if anything.
    pub failure: Option<Failure>,
    /// A hash of everything that happened.
    pub trace: u64,
    /// Virtual time that went by, in microseconds.
    pub virtual_us: u64,
    /// Events that happened.
    pub events: u64,
    /// Operations that succeeded.
    pub ok: u64,
    /// The last that happened, where it was asked for, and the members at the end.
    pub diagram: String,
}

/// Carries out a plan. `diagram`: keep what happened last, for a person to read.
pub fn run(plan: &Plan, diagram: bool) -> Outcome {
    #[cfg(feature = "plant")]
    let _chosen = server::plant::choose_for_thread(plan.plant);
    let space = plan.workload.space("");
    match plan.workload {
        WorkloadName::Register => simulate(plan, Register::new(space), diagram),
        WorkloadName::Append => simulate(plan, Append::new(space), diagram),
        WorkloadName::Set => simulate(plan, Set::new(space), diagram),
        WorkloadName::Watch => {
            let processes = usize::try_from(plan.clients).unwrap_or(usize::MAX);
            let pace = WatchPace { per_s: plan.rate, processes };
            simulate(plan, Watch::new(space, 1, pace), diagram)
        }
        WorkloadName::Lease => simulate(plan, Lease::new(space), diagram),
        _ => simulate(plan, Kv::new(Space::new("", "kv"), true, 1, TxnRevisions::Any), diagram),
    }
}

fn simulate<W: Workload>(plan: &Plan, workload: W, diagram: bool) -> Outcome {
    let mut world = World::new(plan, workload, diagram);
    world.record(What::Observe {
        node: "n1".into(),
        f: "base".into(),
        value: json!({ "revision": 1, "alone": true }),
    });
    world.record(What::Phase { f: "load".into() });
    world.run_until(plan.safety_us);
    let mut failure = None;
    if world.violation.is_none() {
        world.record(What::Phase { f: "heal".into() });
        failure = settle(&mut world).err().map(Failure::Liveness);
    }
    if let Some(text) = &world.violation {
        failure = Some(Failure::Safety(text.clone()));
    }
    let ok = world.history.iter().filter(|line| matches!(line.what, What::Ok { .. })).count() as u64;
    if failure.is_none() {
        failure = judge(plan, &mut world);
    }
    let diagram = format!("{}\n{}", world.diagram(), world.status());
    let (trace, virtual_us, events) = (world.trace(), world.now, world.events);
    Outcome { failure, trace, virtual_us, events, ok, diagram }
}

/// Ends all faults, waits until the cluster is one, and reads everything back from every member. Changes of the
/// roster that were asked for before may take effect meanwhile: who is removed need not serve any more, who is added
/// must, and what fails while a change is carried out (it may remove the leader) is tried again after it.
fn settle<W: Workload>(world: &mut World<W>) -> Result<(), String> {
    world.heal();
    converge(world)?;
    world.record(What::Phase { f: "final".into() });
    let mut served = BTreeSet::new();
    loop {
        let part = world.part();
        let Some(member) = part.iter().copied().find(|member| !served.contains(member)) else { break };
        let mut reads = world.generator.final_reads().into_iter();
        if reads.all(|op| world.operate_at(member, op)) {
            served.insert(member);
        } else if world.part() == part {
            return Err(format!("n{} does not serve after all faults ended", member + 1));
        }
        // A member that has just been added holds nothing before.
        converge(world)?;
    }
    observe(world);
    Ok(())
}

/// Waits until the cluster is one.
fn converge<W: Workload>(world: &mut World<W>) -> Result<(), String> {
    let until = world.now + CONVERGE_US;
    while !world.has_converged() {
        if world.now >= until || world.violation.is_some() {
            return Err(format!("not converged {} s after all faults ended", CONVERGE_US / SECOND));
        }
        let next = world.now + SECOND / 10;
        world.run_until(next);
    }
    Ok(())
}

fn observe<W: Workload>(world: &mut World<W>) {
    for at in world.part() {
        let member = &world.members[at];
        let Some(view) = member.raft().map(raft::Raft::view) else { continue };
        let node = format!("n{}", at + 1);
        let state = member.door.state();
        let revision = state.kv().revision();
        let leader = view.leader.map(|id| id.to_string());
        let status = json!({
            "revision": revision, "raft_applied_index": state.applied().0, "raft_term": view.term.0,
            "leader": leader, "member_id": member.id.0, "version": "sim",
        });
        let hash = state.kv().hash_kv(0).map(|hash| (hash.hash, hash.compact_revision)).unwrap_or_default();
        let hashkv = json!({ "revision": revision, "hash": hash.0, "compact_revision": hash.1 });
        drop(state);
        world.record(What::Observe { node: node.clone(), f: "status".into(), value: status });
        world.record(What::Observe { node, f: "hashkv".into(), value: hashkv });
    }
}

fn judge<W: Workload>(plan: &Plan, world: &mut World<W>) -> Option<Failure> {
    let header = Header {
        v: VERSION,
        seed: plan.seed,
        scenario: plan.workload.name().into(),
        faults: Vec::new(),
        system: "assay".into(),
        // Who refused a rotten disk is out, and who was removed: the others are who must agree.
        nodes: world.part().len(),
        clock: "virtual_ns".into(),
    };
    let history = History::new(header, std::mem::take(&mut world.history));
    let options =
        Options { ok_min: OK_MIN, threads: 1, time_limit: Duration::from_secs(120), ..Options::default() };
    let report = checker::check(&history, &options);
    let worst = report.results.iter().find(|result| matches!(result.verdict, Verdict::Anomaly(_)));
    match (worst, &report.verdict) {
        (Some(result), _) => {
            let text = result.verdict.anomalies().first().map(checker::render::anomaly).unwrap_or_default();
            Some(Failure::History { check: result.check.to_string(), text })
        }
        (None, Verdict::Valid) => None,
        // What one seed does not come to, where messages are lost one after the other, others do.
        (None, Verdict::Unknown(why)) if why.iter().all(|why| matches!(why, Why::NotObserved { .. })) => None,
        (None, other) => {
            let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
            Some(Failure::History { check: UNDECIDED.into(), text: format!("{problems:?} {other:?}") })
        }
    }
}
