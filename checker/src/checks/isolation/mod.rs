//! Transactions on lists and registers: do they have the level that is asked for, strict serializability if
//! nothing else is, and what exactly is broken if they have not?
//!
//! An anomaly counts if it rules the level out. Its absence is no proof: a level holds if one that implies it was
//! decided completely ([`Complete`], the weak levels, or an order that was found), else it is unknown.
mod explain;
mod order;

use super::{Context, Running};
use crate::budget::{Budget, Stop};
use crate::decode::Decoded;
use crate::history::OpId;
use crate::isolation::cycles::{Cycle, Order, Shape, cycles};
use crate::isolation::graph::Graph;
use crate::isolation::levels::{self, STRONGEST, STRONGEST_OF_SESSIONS, implies, rules_out};
use crate::isolation::registers::{self, Registers};
use crate::isolation::txns::Lists;
use crate::isolation::weak::{Judged, Sessions, Weak};
use crate::isolation::{Wrong, dependencies, lists};
use crate::spec::append::ListTxn;
use crate::verdict::{Anomaly, AnomalyKind as Kind, CheckResult, Progress, Verdict, Why};
use explain::Explain;

/// Causal consistency without sessions is judged of so many transactions: each is a session of its own then, and
/// the cost is the square of their number.
const APART_MAX: usize = 4_000;

/// What is left to say of a history once its versions are known.
struct Findings {
    running: Running,
    anomalies: Vec<Anomaly>,
    /// Levels that were decided completely: they hold if no anomaly rules them out.
    complete: Vec<&'static str>,
    /// Why others were not.
    doubts: Vec<Why>,
    /// Whether the history has real time.
    real_time: bool,
    /// Cycles that were found.
    known: Vec<Cycle>,
}

/// Of transactions on lists.
pub(super) fn lists(context: Context<'_>, decoded: &Decoded<ListTxn>) -> CheckResult {
    let mut running = Running::new("isolation");
    let process = |id: OpId| context.operation(id).process;
    let lists = Lists::new(&decoded.calls, &decoded.failed, process);
    running.count("transactions", lists.txns.len());
    let stopped = running.clone();
    judge_lists(context, &lists, running)
        .unwrap_or_else(|stop| ended(context, stopped, lists.txns.len(), stop))
}

fn judge_lists(context: Context<'_>, lists: &Lists, running: Running) -> Result<CheckResult, Stop> {
    let budget = context.budget;
    let versions = lists::Versions::new(lists, budget)?;
    if let Some((key, element)) = versions.ambiguous {
        let key = &lists.txns.keys[key as usize];
        let what = format!("who appended {element} to {key}: more than one transaction did");
        return Ok(running.end("dependency graph", super::not_observed(what)));
    }
    let graph = dependencies::of_lists(lists, &versions, budget)?;
    let ids: Vec<OpId> = lists.txns.all().map(|txn| lists.txns.id(txn)).collect();
    let reason = |from, to, why| dependencies::list_reason(lists, &versions, from, to, why);
    let explain = Explain { context, keys: &lists.txns.keys, ids: &ids, reason: &reason, lists: true };
    let mut findings = Findings::new(running, true);
    findings.anomalies = explain.all_wrong(&versions.wrong);
    let cycles = findings.cycles(&graph, Complete::All, true, budget)?;
    findings.anomalies.extend(cycles.iter().map(|cycle| explain.cycle(cycle)));
    Ok(findings.conclude(context))
}

/// Of transactions on registers.
pub(super) fn registers(context: Context<'_>, registers: &Registers) -> CheckResult {
    let mut running = Running::new("isolation");
    running.count("transactions", registers.txns.len());
    let stopped = running.clone();
    let judged = judge_registers(context, registers, running);
    judged.unwrap_or_else(|stop| ended(context, stopped, registers.txns.len(), stop))
}

fn judge_registers(
    context: Context<'_>,
    registers: &Registers,
    mut running: Running,
) -> Result<CheckResult, Stop> {
    let budget = context.budget;
    let mut versions = registers::Versions::new(registers, budget)?;
    if let Some((key, value)) = versions.ambiguous {
        let key = &registers.txns.keys[key as usize];
        let what = format!("who wrote {value} to {key}: more than one transaction did");
        return Ok(running.end("dependency graph", super::not_observed(what)));
    }
    // Elle takes a value that nobody wrote for one of a write that its history lacks; ours lack none.
    let unknown_writes = context.history.header().scenario == "rw-register";
    if unknown_writes {
        let known = versions.wrong.len();
        versions.wrong.retain(|wrong| !matches!(wrong, Wrong::Unwritten { failed: None, .. }));
        running.count("reads_of_unknown_writes", known - versions.wrong.len());
    }
    let weak = Weakest::of(registers, &versions, budget)?;
    // What causal consistency demands of the order of versions, first without processes.
    let (lone, together) =
        (weak.lone(registers, &versions, budget)?, weak.together(registers, &versions, budget)?);
    let ids: Vec<OpId> = registers.txns.all().map(|txn| registers.txns.id(txn)).collect();
    let reason = |from, to, why| dependencies::register_reason(&together, from, to, why);
    let explain = Explain { context, keys: &registers.txns.keys, ids: &ids, reason: &reason, lists: false };
    let mut findings = Findings::new(running, !registers.sessions_only);
    findings.anomalies = weak.anomalies(&explain);
    findings.anomalies.extend(explain.all_wrong(&versions.wrong));
    findings.complete = weak.complete();
    findings.graph(&explain, registers, &versions, Complete::All)?;
    if lone.learnt(&versions) {
        findings.learnt(&explain, registers, (&versions, &lone), Complete::All)?;
    }
    if together.learnt(&lone) {
        findings.learnt(&explain, registers, (&lone, &together), Complete::WithSessions)?;
    }
    let asked = findings.asked(context);
    if !findings.breaks(asked) && !findings.is_proved(asked) {
        order::find(&mut findings, &explain, registers, &together, unknown_writes);
    }
    Ok(findings.conclude(context))
}

/// What is left of a check of so many transactions whose budget ended: nothing is half known.
fn ended(context: Context<'_>, running: Running, of: usize, stop: Stop) -> CheckResult {
    let reached = Progress { part: String::new(), done: 0, of: of as u64 };
    running.end("nothing", Verdict::unknown(context.budget.why(stop, reached)))
}

impl Findings {
    fn new(running: Running, real_time: bool) -> Findings {
        let (anomalies, complete, doubts, known) = Default::default();
        Findings { running, anomalies, complete, doubts, real_time, known }
    }

    /// The level that is asked for.
    fn asked(&self, context: Context<'_>) -> &'static str {
        let strongest = if self.real_time { STRONGEST } else { STRONGEST_OF_SESSIONS };
        context.options.model.unwrap_or(strongest)
    }

    fn breaks(&self, level: &str) -> bool {
        self.anomalies.iter().any(|anomaly| rules_out(anomaly.kind, level))
    }

    /// Whether a level surely holds.
    fn is_proved(&self, level: &str) -> bool {
        self.complete.iter().any(|complete| implies(complete, level) && !self.breaks(complete))
    }

    /// Adds the cycles of transactions on registers.
    fn graph(
        &mut self,
        explain: &Explain<'_>,
        registers: &Registers,
        versions: &registers::Versions,
        complete: Complete,
    ) -> Result<(), Stop> {
        let budget = explain.context.budget;
        let graph = dependencies::of_registers(registers, versions, budget)?;
        let cycles = self.cycles(&graph, complete, versions.in_order(), budget)?;
        self.known.extend(cycles.iter().cloned());
        self.anomalies.extend(cycles.iter().map(|cycle| explain.cycle(cycle)));
        Ok(())
    }

    /// Adds what is wrong once the order of versions is that of causal consistency, too. It speaks against levels
    /// that imply causal consistency only, and with sessions if that order follows from sessions.
    fn learnt(
        &mut self,
        explain: &Explain<'_>,
        registers: &Registers,
        (before, after): (&registers::Versions, &registers::Versions),
        complete: Complete,
    ) -> Result<(), Stop> {
        let budget = explain.context.budget;
        let sessions = matches!(complete, Complete::WithSessions);
        let circular = if sessions { Kind::NotSerializableProcess } else { Kind::NotSerializable };
        let more = after.wrong.get(before.wrong.len()..).unwrap_or_default();
        let more = explain.all_wrong(more).into_iter();
        self.anomalies.extend(more.map(|anomaly| Anomaly { kind: circular, ..anomaly }));
        let graph = dependencies::of_registers(registers, after, budget)?;
        let mut cycles = self.cycles(&graph, complete, after.in_order(), budget)?;
        cycles.retain(|cycle| !self.known.contains(cycle));
        self.known.extend(cycles.iter().cloned());
        for mut cycle in cycles {
            cycle.shape = cycle.shape.max(Shape::GNonadjacent);
            cycle.order = cycle.order.max(if sessions { Order::Process } else { Order::Data });
            self.anomalies.push(explain.cycle(&cycle));
        }
        Ok(())
    }

    /// The cycles of a graph. Where the order of versions is known (`in_order`), that there is none is a proof for
    /// the levels of `complete`.
    fn cycles(
        &mut self,
        graph: &Graph,
        complete: Complete,
        in_order: bool,
        budget: &Budget,
    ) -> Result<Vec<Cycle>, Stop> {
        let found = cycles(graph, budget)?;
        self.running.count("edges", graph.edges());
        self.running.count("cycles", found.components);
        if found.cut_short {
            self.running.count("g_single_cut_short", 1);
            let what = "whether some cycle has only one anti-dependency: the search for one was cut short";
            self.doubts.push(Why::NotObserved { what: what.to_owned() });
        }
        let levels = complete.levels().filter(|_| in_order);
        let levels = levels.filter(|level| self.real_time || implies(STRONGEST_OF_SESSIONS, level));
        // A G-single that was not looked for to the end may be called G-nonadjacent.
        self.complete.extend(levels.filter(|level| !found.cut_short || *level != "consistent-view"));
        Ok(found.cycles)
    }

    fn conclude(mut self, context: Context<'_>) -> CheckResult {
        let asked = self.asked(context);
        self.running.levels = Some(levels::levels(self.anomalies.iter().map(|anomaly| anomaly.kind)));
        let proved = self.is_proved(asked);
        self.anomalies.retain(|anomaly| asked == STRONGEST || rules_out(anomaly.kind, asked));
        let verdict = if !self.anomalies.is_empty() {
            Verdict::Anomaly(self.anomalies)
        } else if proved {
            Verdict::Valid
        } else if self.doubts.is_empty() {
            let what =
                format!("whether {asked} holds: nothing breaks it, and nothing that implies it was shown");
            super::not_observed(what)
        } else {
            Verdict::Unknown(self.doubts)
        };
        self.running.end("dependency graph", verdict)
    }
}

/// Levels that hold if the graph of all dependencies has no cycle that rules them out.
#[derive(Clone, Copy)]
enum Complete {
    All,
    /// Those in which processes keep their order.
    WithSessions,
}

impl Complete {
    fn levels(self) -> impl Iterator<Item = &'static str> {
        let without = [
            "read-uncommitted",
            "read-committed",
            "consistent-view",
            "snapshot-isolation",
            "repeatable-read",
            "serializable",
        ];
        let with = [
            "strong-session-read-uncommitted",
            "strong-session-read-committed",
            "strong-session-snapshot-isolation",
            STRONGEST_OF_SESSIONS,
            "strong-read-uncommitted",
            "strong-read-committed",
            "strong-snapshot-isolation",
            STRONGEST,
        ];
        let without = without.into_iter().filter(move |_| matches!(self, Complete::All));
        without.chain(with)
    }
}

/// A weak level, and what it demands.
struct Found {
    level: Weak,
    judged: Judged,
}

impl Found {
    fn broken(&self) -> bool {
        !self.judged.cycle.is_empty()
    }
}

/// The weakest of the weak levels that does not hold, else the strongest that was asked for, with sessions and
/// without. `None` where even the order of reads and sessions is circular, which the graph shows.
struct Weakest {
    sessions: Option<Found>,
    lone: Option<Found>,
}

impl Weakest {
    fn of(registers: &Registers, versions: &registers::Versions, budget: &Budget) -> Result<Weakest, Stop> {
        let strongest = if registers.txns.len() <= APART_MAX { Weak::Causal } else { Weak::ReadAtomic };
        Ok(Weakest {
            sessions: weakest(&Sessions::of(registers, versions), Weak::Causal, budget)?,
            lone: weakest(&Sessions::apart(registers, versions), strongest, budget)?,
        })
    }

    /// With what causal consistency demands of the order of versions, where it holds without sessions.
    fn lone(
        &self,
        registers: &Registers,
        versions: &registers::Versions,
        budget: &Budget,
    ) -> Result<registers::Versions, Stop> {
        let mut versions = versions.clone();
        if let Some(found) = self.lone.as_ref().filter(|found| !found.broken()) {
            versions.learn(registers, &found.judged.demands, budget)?;
        }
        Ok(versions)
    }

    /// As [`Weakest::lone`], with sessions too.
    fn together(
        &self,
        registers: &Registers,
        versions: &registers::Versions,
        budget: &Budget,
    ) -> Result<registers::Versions, Stop> {
        let mut versions = self.lone(registers, versions, budget)?;
        if let Some(found) = self.sessions.as_ref().filter(|found| !found.broken()) {
            versions.learn(registers, &found.judged.demands, budget)?;
        }
        Ok(versions)
    }

    fn anomalies(&self, explain: &Explain<'_>) -> Vec<Anomaly> {
        let lone = self.lone.as_ref().filter(|found| found.broken());
        let sessions = self.sessions.as_ref().filter(|found| found.broken());
        // What shows without sessions needs no second proof.
        let sessions = sessions.filter(|found| lone.is_none_or(|lone| found.level < lone.level));
        let of = |found: &Found, processes| explain.weak(found.level, processes, &found.judged);
        sessions.map(|found| of(found, true)).into_iter().chain(lone.map(|found| of(found, false))).collect()
    }

    /// The weak levels that hold.
    fn complete(&self) -> Vec<&'static str> {
        let names = |level, session: bool| match (level, session) {
            (Weak::ReadCommitted, false) => "monotonic-atomic-view",
            (Weak::ReadCommitted, true) => "strong-session-monotonic-atomic-view",
            (Weak::ReadAtomic, false) => "read-atomic",
            (Weak::ReadAtomic, true) => "strong-session-read-atomic",
            (Weak::Causal, false) => "causal",
            (Weak::Causal, true) => "strong-session-causal",
        };
        let hold = |found: &Option<Found>, session| {
            let levels = [Weak::ReadCommitted, Weak::ReadAtomic, Weak::Causal];
            let found = found.as_ref();
            let holds = levels.into_iter().filter(|level| {
                found.is_some_and(|found| *level < found.level || *level == found.level && !found.broken())
            });
            holds.map(|level| names(level, session)).collect::<Vec<_>>()
        };
        [hold(&self.sessions, true), hold(&self.lone, false)].concat()
    }
}

fn weakest(sessions: &Sessions, strongest: Weak, budget: &Budget) -> Result<Option<Found>, Stop> {
    let mut last = None;
    for level in [Weak::ReadCommitted, Weak::ReadAtomic, Weak::Causal] {
        if level > strongest {
            break;
        }
        let judged = sessions.judge(level, budget)?;
        if judged.demands.is_empty() && !judged.cycle.is_empty() {
            return Ok(None);
        }
        let found = last.insert(Found { level, judged });
        if found.broken() {
            break;
        }
    }
    Ok(last)
}
