//! Linearizability by the order of revisions, and what serializable reads promise: to be the store's state
//! at their revision.

use std::time::Duration;

use super::{Context, Requests, Running, conclude};
use crate::history::OpId;
use crate::render::{self, answer, invocation, who};
use crate::revision::{self, Beginning, Misplaced, Outcome, Replay, Step, Wrong, may_put};
use crate::spec::kv::{Refused, Reply};
use crate::spec::kv_types::{KeyValue, Request, Response};
use crate::verdict::{Anomaly, AnomalyKind, CheckResult, Progress, Verdict, Why};
use crate::witness::{circumstances, witness};

/// Older revisions that are compared with a wrong answer, to say how stale it is.
const STALE_LOOK: i64 = 2_000;
const DECIDED_BY: &str = "order of revisions";

/// What the order of revisions decided.
pub(super) enum Decided {
    /// All of it.
    Yes(Vec<CheckResult>),
    /// Not linearizability: a search may.
    No(Running, Vec<CheckResult>),
}

/// What is being judged.
struct Judged<'a> {
    context: Context<'a>,
    requests: &'a Requests,
}

/// Judges by replay. Where a search could take over, only part of the time is spent here. `in_order` says that
/// real time agrees with the revisions.
pub(super) fn check(
    context: Context<'_>,
    steps: &[Step<'_>],
    requests: &Requests,
    search_can: bool,
    in_order: bool,
    mut running: Running,
) -> Decided {
    let judged = Judged { context, requests };
    let part = context.budget.part(Duration::MAX);
    let budget = if search_can { &part } else { context.budget };
    let beginning =
        Beginning { revision: context.history.base_revision(), shared: context.options.shared_store };
    let stale = steps.iter().filter(|step| step.stale_allowed).count();
    running.count("operations", steps.len() - stale);
    let mut serializable = Running::new("serializable");
    serializable.count("operations", stale);

    let mut outcome = revision::replay(steps, beginning, budget);
    let mut stale_verdict = Verdict::Valid;
    let mut strict = Vec::new();
    if let Outcome::Wrong(Wrong::Answer { step, given }, replay) = &outcome
        && steps[*step].stale_allowed
    {
        stale_verdict = Verdict::of(vec![judged.wrong_answer(&steps[*step], given, replay)]);
        strict = steps.iter().filter(|step| !step.stale_allowed).cloned().collect();
        outcome = revision::replay(&strict, beginning, budget);
    }
    let judged_steps = if strict.is_empty() { steps } else { &strict };
    let verdict = match outcome {
        Outcome::Fits(replay) => {
            running.count("unknown resolved", replay.resolved as usize);
            running.count("choices taken back", replay.taken_back as usize);
            let mut misplaced = revision::compactions(judged_steps);
            // Where real time contradicts the revisions themselves, compactions have no place to be in.
            misplaced.retain(|misplaced| in_order || misplaced.reads_below);
            conclude(&misplaced, |misplaced| judged.misplaced(misplaced))
        }
        Outcome::Wrong(Wrong::Answer { step, given }, replay) => {
            Verdict::of(vec![judged.wrong_answer(&judged_steps[step], &given, &replay)])
        }
        Outcome::Wrong(Wrong::Unexplained { revision, shown_by }, replay) => {
            Verdict::of(vec![judged.unexplained(steps, revision, shown_by, &replay)])
        }
        Outcome::Undecided(stop, done) => {
            let reached = Progress { part: String::new(), done, of: steps.len() as u64 };
            let why = budget.why(stop, reached);
            let unsure = stale_verdict.merge(Verdict::unknown(why.clone()));
            let stale_result = (stale > 0).then(|| serializable.end(DECIDED_BY, unsure));
            if search_can {
                return Decided::No(running, stale_result.into_iter().collect());
            }
            let verdict = Verdict::unknown(why);
            return Decided::Yes(
                [running.end(DECIDED_BY, verdict)].into_iter().chain(stale_result).collect(),
            );
        }
    };
    if stale > 0 && stale_verdict.is_valid() && !verdict.is_valid() {
        // The replay ended early, so not all serializable reads were compared.
        let what = "the store's state after the first wrong answer".to_owned();
        stale_verdict = Verdict::unknown(Why::NotObserved { what });
    }
    let mut results = vec![running.end(DECIDED_BY, verdict)];
    results.extend((stale > 0).then(|| serializable.end(DECIDED_BY, stale_verdict)));
    Decided::Yes(results)
}

impl Judged<'_> {
    fn wrong_answer(&self, step: &Step<'_>, given: &Result<Reply, Refused>, replay: &Replay) -> Anomaly {
        let history = self.context.history;
        let operation = self.context.operation(step.id);
        let expected = match given {
            Ok(reply) if reply.rev != step.rev => {
                format!("`{}` at revision {}", render::response(&reply.response), reply.rev)
            }
            Ok(reply) => format!("`{}`", render::response(&reply.response)),
            Err(refused) => refused.to_string(),
        };
        let mut because = Vec::new();
        let mut ids = Vec::new();
        let given_pairs = given.as_ref().map(|reply| pairs(&reply.response)).unwrap_or_default();
        let seen = revision::seen(step);
        self.writers(&given_pairs, &seen, replay, &mut ids, &mut because);
        let stale = self.stale_since(step, replay);
        let mut kind = AnomalyKind::WrongAnswer;
        if let Some(revision) = stale {
            kind = AnomalyKind::StaleRead;
            because.push(format!("the answer is the store's state of revision {revision}"));
        }
        let promise = if step.stale_allowed {
            "a serializable read is the store's state at its revision"
        } else {
            "an answer is what the store holds at its revision"
        };
        let sentence = format!(
            "{promise}, but `{}` of {} was answered `{}` {}; in the order of revisions the answer is {expected}",
            invocation(operation),
            who(operation),
            answer(operation),
            circumstances(history, operation),
        );
        Anomaly { kind, sentence, witness: witness(history, &ids, &[step.id], because) }
    }

    /// Who wrote what differs between the answer and the store.
    fn writers(
        &self,
        given: &[&KeyValue],
        seen: &[(i64, revision::Seen<'_>)],
        replay: &Replay,
        ids: &mut Vec<OpId>,
        because: &mut Vec<String>,
    ) {
        for pair in given {
            let same =
                seen.iter().any(|(revision, seen)| *revision == pair.mod_revision && seen.key == pair.key);
            if same || because.len() >= super::REPORTED_MAX {
                continue;
            }
            if let Some(writer) = replay.writers.get(&pair.mod_revision) {
                ids.push(*writer);
                because.push(format!(
                    "{}={} is of revision {}, {writer}",
                    pair.key, pair.value, pair.mod_revision
                ));
            }
        }
        for (revision, seen) in seen {
            let held = given.iter().any(|pair| *revision == pair.mod_revision && seen.key == pair.key);
            if held || because.len() >= 2 * super::REPORTED_MAX {
                continue;
            }
            let value = seen.value.as_deref().unwrap_or("?");
            match replay.writers.get(revision) {
                Some(writer) => {
                    ids.push(*writer);
                    because.push(format!(
                        "the answer has {}={value} of revision {revision}, which {writer} made",
                        seen.key
                    ));
                }
                None => because.push(format!("the answer has {}={value} of revision {revision}", seen.key)),
            }
        }
    }

    /// The newest older revision at which the answer would have been right.
    fn stale_since(&self, step: &Step<'_>, replay: &Replay) -> Option<i64> {
        let Request::Range(range) = &*step.request else { return None };
        if range.revision > 0 {
            return None;
        }
        let least = (step.rev - STALE_LOOK).max(1);
        (least..step.rev).rev().find(|revision| {
            let response = replay.store.range_then(range, *revision);
            step.fits(&Reply { response, rev: *revision })
        })
    }

    fn unexplained(&self, steps: &[Step<'_>], revision: i64, shown_by: OpId, replay: &Replay) -> Anomaly {
        let history = self.context.history;
        let shower = self.context.operation(shown_by);
        let seen: Vec<revision::Seen<'_>> = steps
            .iter()
            .flat_map(revision::seen)
            .filter(|(made, seen)| *made == revision && seen.value.is_some())
            .map(|(_, seen)| seen)
            .collect();
        let puts = |request: &Request| {
            let mut pairs = Vec::new();
            may_put(request, &mut pairs);
            seen.iter().any(|seen| {
                pairs.iter().any(|(key, value)| *key == seen.key && Some(*value) == seen.value.as_deref())
            })
        };
        let by = |requests: &[(OpId, Request)]| {
            requests.iter().find(|(_, request)| puts(request)).map(|(id, _)| *id)
        };
        let shown = format!(
            "`{}` of {} shows revision {revision} {}",
            invocation(shower),
            who(shower),
            circumstances(history, shower)
        );
        let (kind, sentence, ids) = if let Some(failed) = by(&self.requests.failed) {
            let operation = self.context.operation(failed);
            let text = format!(
                "what failed for certain has no effect, but {shown}, and only `{}` of {}, which {}, can have made it",
                invocation(operation),
                who(operation),
                answer(operation)
            );
            (AnomalyKind::FailedOpObserved, text, vec![failed, shown_by])
        } else if let Some(again) = by(&self.requests.asked) {
            let operation = self.context.operation(again);
            let text = format!(
                "a write takes effect once, but {shown}, which holds what `{}` of {} put, and that made another \
                 revision or had not begun",
                invocation(operation),
                who(operation)
            );
            (AnomalyKind::AppliedTwice, text, vec![again, shown_by])
        } else {
            let text = format!(
                "each revision is made by one write, but {shown}, and no operation of this history can have made it"
            );
            (AnomalyKind::UnexplainedRevision, text, vec![shown_by])
        };
        let because = match replay.writers.get(&(revision - 1)) {
            Some(before) => vec![format!("revision {} was made by {before}", revision - 1)],
            None => Vec::new(),
        };
        let around: Vec<OpId> = replay.writers.get(&(revision - 1)).copied().into_iter().collect();
        Anomaly { kind, sentence, witness: witness(history, &around, &ids, because) }
    }

    fn misplaced(&self, misplaced: &Misplaced) -> Anomaly {
        let Misplaced { compaction, revision, before, after, reads_below } = *misplaced;
        let history = self.context.history;
        let compacted = self.context.operation(compaction);
        let ids: Vec<OpId> = [before, after, Some(compaction)].into_iter().flatten().collect();
        let when = circumstances(history, compacted);
        let (kind, sentence) = match before.filter(|_| reads_below) {
            Some(reader) => {
                let reader = self.context.operation(reader);
                let text = format!(
                    "history below a compaction is gone, but `{}` of {} was answered `{}` although the \
                     compaction at {revision} had been acknowledged before it began",
                    invocation(reader),
                    who(reader),
                    answer(reader),
                );
                (AnomalyKind::ReadBelowCompaction, text)
            }
            None => {
                let text = format!(
                    "a compaction happens at one place of the order, but `{}` of {} fits nowhere {when}",
                    invocation(compacted),
                    who(compacted)
                );
                (AnomalyKind::NotLinearizable, text)
            }
        };
        let mut because = Vec::new();
        because.extend(before.map(|before| format!("{before} must come before {compaction}")));
        because.extend(after.map(|after| format!("{after} must come after {compaction}")));
        Anomaly { kind, sentence, witness: witness(history, &ids, &[compaction], because) }
    }
}

fn pairs(response: &Response) -> Vec<&KeyValue> {
    match response {
        Response::Range { kvs, .. } => kvs.iter().collect(),
        Response::Put { prev } => prev.iter().collect(),
        Response::Delete { prevs, .. } => prevs.iter().collect(),
        Response::Txn { responses, .. } => responses.iter().flat_map(pairs).collect(),
        Response::Compact {} => Vec::new(),
    }
}
