//! The operations of a workload, as columns for the timeline.

use super::budget::{TEXT_CHARS, cut, json_bytes};
use checker::{
    History,
    history::{Operation, Outcome},
    render,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Operations within this of a witness are shown before others, s.
const NEAR_S: f64 = 2.0;

/// The operations of one workload; every `Vec` but `texts`, `nodes` and `labels` has an entry for each that is shown.
#[derive(Debug, Serialize)]
pub(super) struct Operations {
    pub name: String,
    /// Operations in the history.
    pub total: usize,
    /// Names of the nodes.
    nodes: Vec<String>,
    /// A label for each lane: the processes that share it, one after the other.
    labels: Vec<String>,
    /// What operations say.
    texts: Vec<String>,
    /// Number in the history; missing where all are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Vec<u32>>,
    process: Vec<u64>,
    lane: Vec<usize>,
    /// Place in `nodes`, -1 where it is not known.
    node: Vec<i64>,
    /// µs since the start of the one before.
    start: Vec<u64>,
    /// µs.
    length: Vec<u64>,
    /// 0 ok, 1 fail, 2 info.
    outcome: Vec<u8>,
    /// Place in `texts`, -1 where there was no room for it.
    text: Vec<i64>,
}

/// What of a workload is looked at most.
#[derive(Debug, Default)]
pub(super) struct Focus {
    /// Numbers of operations that are in a witness.
    pub witnesses: BTreeSet<u32>,
    /// From when to when witnesses last, s.
    pub spans: Vec<[f64; 2]>,
}

impl Operations {
    /// How many are shown.
    pub(super) fn shown(&self) -> usize {
        self.start.len()
    }

    /// At most `max` operations of a history, whose texts take no more than `bytes`, of which they are taken.
    pub(super) fn of(
        name: &str,
        history: &History,
        focus: &Focus,
        max: usize,
        bytes: &mut usize,
    ) -> Operations {
        let all = history.operations();
        let chosen = choose(all, focus, max);
        let (lanes, labels) = lanes(all);
        let end_ns = all.iter().filter_map(Operation::ended).map(|at| at.t).max().unwrap_or(0);
        let mut out = Operations {
            name: name.to_string(),
            total: all.len(),
            nodes: Vec::new(),
            labels,
            texts: Vec::new(),
            id: (chosen.len() < all.len()).then(Vec::new),
            process: Vec::new(),
            lane: Vec::new(),
            node: Vec::new(),
            start: Vec::new(),
            length: Vec::new(),
            outcome: Vec::new(),
            text: Vec::new(),
        };
        let mut texts = Texts { known: HashMap::new(), bytes };
        let mut before_us = 0;
        for operation in chosen.into_iter().map(|index| &all[index]) {
            if let Some(id) = &mut out.id {
                id.push(operation.id.0);
            }
            let start_us = operation.invoked.t / 1000;
            let end_us = operation.ended().map_or(end_ns, |at| at.t) / 1000;
            out.process.push(operation.process);
            out.lane.push(lanes[&operation.process]);
            out.node.push(place(&mut out.nodes, operation.node.as_deref()));
            out.start.push(start_us - before_us);
            out.length.push(end_us.saturating_sub(start_us));
            out.outcome.push(match operation.outcome {
                Outcome::Ok { .. } => 0,
                Outcome::Fail { .. } => 1,
                Outcome::Info { .. } => 2,
            });
            let wanted = focus.witnesses.contains(&operation.id.0);
            out.text.push(texts.place(&mut out.texts, operation, wanted));
            before_us = start_us;
        }
        out
    }
}

/// Texts that stand once however often they are said.
struct Texts<'a> {
    known: HashMap<String, i64>,
    bytes: &'a mut usize,
}

impl Texts<'_> {
    /// What is `wanted` has its text even where there is no more room.
    fn place(&mut self, texts: &mut Vec<String>, operation: &Operation, wanted: bool) -> i64 {
        if *self.bytes == 0 && !wanted {
            return -1;
        }
        let (asked, answered) = (render::invocation(operation), render::answer(operation));
        let text = format!("{} → {}", cut(&asked, TEXT_CHARS), cut(&answered, TEXT_CHARS));
        if let Some(known) = self.known.get(&text) {
            return *known;
        }
        *self.bytes = self.bytes.saturating_sub(json_bytes(&text));
        let place = texts.len() as i64;
        texts.push(text.clone());
        self.known.insert(text, place);
        place
    }
}

fn place(nodes: &mut Vec<String>, node: Option<&str>) -> i64 {
    let Some(node) = node else { return -1 };
    let place = nodes.iter().position(|known| known == node).unwrap_or_else(|| {
        nodes.push(node.to_string());
        nodes.len() - 1
    });
    place as i64
}

/// Which operations are shown, in order: all where they are few enough. Else the witnesses come first, then what is
/// near them, then whatever did not end in ok, then an even share of the rest.
fn choose(all: &[Operation], focus: &Focus, max: usize) -> Vec<usize> {
    if all.len() <= max {
        return (0..all.len()).collect();
    }
    let near = |operation: &Operation| {
        let at = operation.invoked.t as f64 / 1e9;
        focus.spans.iter().any(|[from, to]| (from - NEAR_S..=to + NEAR_S).contains(&at))
    };
    let mut ranks: [Vec<usize>; 4] = Default::default();
    for (index, operation) in all.iter().enumerate() {
        let rank = match operation {
            o if focus.witnesses.contains(&o.id.0) => 0,
            o if near(o) => 1,
            o if !o.is_ok() => 2,
            _ => 3,
        };
        ranks[rank].push(index);
    }
    let mut chosen = Vec::with_capacity(max);
    for rank in ranks {
        let room = max - chosen.len();
        if rank.len() <= room {
            chosen.extend(rank);
        } else {
            chosen.extend((0..room).map(|n| rank[n * rank.len() / room]));
            break;
        }
    }
    chosen.sort_unstable();
    chosen
}

/// A lane for each process: one whose process has acted for the last time is used again.
fn lanes(all: &[Operation]) -> (BTreeMap<u64, usize>, Vec<String>) {
    let mut spans: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for operation in all {
        let end = operation.ended().unwrap_or(operation.invoked).i;
        let span = spans.entry(operation.process).or_insert((operation.invoked.i, end));
        span.1 = span.1.max(end);
    }
    let mut by_start: Vec<(u64, u64, u64)> = spans.into_iter().map(|(p, (from, to))| (from, to, p)).collect();
    by_start.sort_unstable();
    let mut ends: Vec<u64> = Vec::new();
    let mut members: Vec<Vec<u64>> = Vec::new();
    let mut lanes = BTreeMap::new();
    for (from, to, process) in by_start {
        let lane = ends.iter().position(|end| *end < from).unwrap_or_else(|| {
            ends.push(0);
            members.push(Vec::new());
            ends.len() - 1
        });
        ends[lane] = to;
        members[lane].push(process);
        lanes.insert(process, lane);
    }
    let label = |members: &Vec<u64>| match members.as_slice() {
        [only] => format!("p{only}"),
        [first, .., last] => format!("p{first}…{last}"),
        [] => String::new(),
    };
    (lanes, members.iter().map(label).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::history::{Moment, OpId, event::OpError};
    use serde_json::Value;

    /// Operation `n` of a process, 10 ms after the one before.
    fn operation(n: u32, process: u64, ok: bool) -> Operation {
        let at =
            |extra: u64| Moment { i: u64::from(n) * 2 + extra, t: u64::from(n) * 10_000_000 + extra * 1000 };
        let error = OpError { kind: "deadline".into(), text: String::new() };
        let outcome = match ok {
            true => Outcome::Ok { at: at(1), value: Value::Null, rev: None },
            false => Outcome::Info { at: Some(at(1)), error: Some(error) },
        };
        Operation {
            id: OpId(n),
            process,
            node: Some("n1".into()),
            f: "read".into(),
            key: Some(format!("k{}", n % 10)),
            value: Value::Null,
            invoked: at(0),
            outcome,
        }
    }

    #[test]
    fn all_are_shown_where_they_are_few_and_the_telling_ones_where_not() {
        let all: Vec<Operation> = (0..1000).map(|n| operation(n, 1, n % 100 != 7)).collect();
        assert_eq!(choose(&all, &Focus::default(), 1000).len(), 1000);
        let focus = Focus { witnesses: [500].into(), spans: vec![] };
        let chosen = choose(&all, &focus, 50);
        assert_eq!(chosen.len(), 50);
        assert!(chosen.is_sorted() && chosen.contains(&500));
        assert!((0..10).all(|n| chosen.contains(&(n * 100 + 7))), "what was not ok is missing: {chosen:?}");
        // Near a witness all are shown.
        let focus = Focus { witnesses: [500].into(), spans: vec![[5.0, 5.0]] };
        let chosen = choose(&all, &focus, 500);
        assert!((300..=700).all(|n| chosen.contains(&n)), "{chosen:?}");
    }

    #[test]
    fn a_process_that_never_acts_again_gives_its_lane_away() {
        let all =
            [operation(0, 0, true), operation(1, 1, false), operation(2, 0, true), operation(3, 3, true)];
        let (lanes, labels) = lanes(&all);
        assert_eq!(lanes, BTreeMap::from([(0, 0), (1, 1), (3, 0)]));
        assert_eq!(labels, ["p0…3", "p1"]);
    }
}
