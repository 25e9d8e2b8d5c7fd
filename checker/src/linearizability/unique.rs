//! Registers whose values tell who wrote them: decided in n log n, however many operations overlap.
//!
//! Where each value that was read has one writer, the reads of a value stand right behind its write, and a
//! compare-and-set that swapped stands right behind the reads of what it found. So the order is one of
//! *blocks*: a write, its reads, the swap of its value, the reads of that, and so on. Within a block the order
//! is given; it must agree with real time. Of two blocks A and B, A comes first if some operation of A returned
//! before some operation of B began: `first_return(A) < last_invocation(B)`. If both come before each other there
//! is no order; if no two do, sorting by `min(first_return, last_invocation)` gives one. (In a longer cycle, the
//! block with the last invocation of all comes after every other of the cycle, so after its own successor too:
//! every cycle holds a pair. The sort is right by the four cases of which of the two bounds is the lesser.)
//! For writes and reads these are the zones of Golab, Li and Shah, "Analyzing consistency properties for fun and
//! profit", PODC 2011; blocks extend them to compare-and-set.
//!
//! Writes that nobody saw and that never returned are left out. A compare-and-set that did not swap must only
//! stand where the register held something else: each is put into the order as early as it can, and where one
//! fits nowhere, another order might do, so the question stays open.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::budget::{Budget, Stop};
use crate::history::OpId;

/// What an operation did to a register; `None` is the register before any write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// Read this.
    Read(Option<i64>),
    /// Wrote this.
    Wrote(i64),
    /// Found the first and wrote the second.
    Swapped(Option<i64>, i64),
    /// Found something else than this.
    Refused(Option<i64>),
}

/// An operation on a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its number.
    pub id: OpId,
    /// What it did, or would have done.
    pub did: Did,
    /// Position of its invocation.
    pub invoked: u64,
    /// Position of its return; `None` if it may have taken effect at any time, or never.
    pub returned: Option<u64>,
}

/// Operations that no order can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The operations: they show it without any other.
    pub ids: Vec<OpId>,
    /// The one that is answered for: it returned last of those that conflict.
    pub culprit: OpId,
}

/// What this check decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is an order.
    Legal,
    /// There is none.
    Illegal(Conflict),
}

/// Decides whether operations on one register are linearizable; `None` where their values do not tell.
///
/// # Errors
/// [`Stop`] if the budget ends before.
pub fn decide(accesses: &[Access], budget: &Budget) -> Result<Option<Answer>, Stop> {
    let Some(writers) = Writers::new(accesses, budget)? else { return Ok(None) };
    match order(accesses, &writers, budget) {
        Ok((blocks, order)) => Ok(blocks.fit_refused(&order, budget)?.then_some(Answer::Legal)),
        Err(End::Conflict(conflict)) => Ok(Some(Answer::Illegal(conflict))),
        Err(End::Stop(stop)) => Err(stop),
    }
}

/// Why there is no order.
enum End {
    /// There can be none.
    Conflict(Conflict),
    /// It is not known.
    Stop(Stop),
}

impl From<Stop> for End {
    fn from(stop: Stop) -> End {
        End::Stop(stop)
    }
}

impl From<Conflict> for End {
    fn from(conflict: Conflict) -> End {
        End::Conflict(conflict)
    }
}

fn order<'a>(
    accesses: &'a [Access],
    writers: &'a Writers,
    budget: &Budget,
) -> Result<(Blocks<'a>, Vec<usize>), End> {
    let blocks = Blocks::new(accesses, writers, budget)?;
    let order = blocks.order()?;
    Ok((blocks, order))
}

/// A group of operations that share a value: its write and its reads.
#[derive(Clone, Debug)]
struct Cluster {
    /// Index of the write; `None` for the value before any.
    writer: Option<usize>,
    reads: Bounds,
    /// The cluster whose value its write swapped, and the one that swapped its own.
    before: Option<usize>,
    after: Option<usize>,
}

/// The first return and the last invocation of some operations, with the operations' indices. A position `p`
/// counts as `p + 1`, so that 0 is before everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    first_return: (u64, usize),
    last_invocation: (u64, usize),
}

impl Bounds {
    const NONE: Bounds = Bounds { first_return: (u64::MAX, usize::MAX), last_invocation: (0, usize::MAX) };

    fn of(index: usize, access: &Access) -> Bounds {
        Bounds {
            first_return: (access.returned.map_or(u64::MAX, |at| at + 1), index),
            last_invocation: (access.invoked + 1, index),
        }
    }

    fn with(self, other: Bounds) -> Bounds {
        Bounds {
            first_return: self.first_return.min(other.first_return),
            last_invocation: if other.last_invocation.0 > self.last_invocation.0 {
                other.last_invocation
            } else {
                self.last_invocation
            },
        }
    }
}

/// Who wrote each value.
struct Writers {
    /// Index of the write of a value.
    of: FxHashMap<i64, usize>,
    /// Whether an operation took effect, as far as anybody saw.
    effective: Vec<bool>,
    /// For an operation that never returned: one that found its value.
    found_by: FxHashMap<usize, usize>,
}

impl Writers {
    /// `None` if some value that was found may have more than one writer.
    fn new(accesses: &[Access], budget: &Budget) -> Result<Option<Writers>, Stop> {
        let mut pace = budget.pace();
        let mut of: FxHashMap<i64, usize> = FxHashMap::default();
        let mut twice: Vec<i64> = Vec::new();
        for (index, access) in accesses.iter().enumerate() {
            pace.step()?;
            if let Did::Wrote(value) | Did::Swapped(_, value) = access.did
                && of.insert(value, index).is_some()
            {
                twice.push(value);
            }
        }
        let mut effective: Vec<bool> = accesses.iter().map(|access| access.returned.is_some()).collect();
        // What was found was written: an operation that never returned took effect if its value was found.
        let mut seen: Vec<usize> = (0..accesses.len()).filter(|index| effective[*index]).collect();
        let twice: FxHashSet<i64> = twice.into_iter().collect();
        let mut found_by = FxHashMap::default();
        while let Some(index) = seen.pop() {
            pace.step()?;
            let (value, found) = match accesses[index].did {
                Did::Read(Some(value)) | Did::Swapped(Some(value), _) => (value, true),
                Did::Refused(Some(value)) => (value, false),
                Did::Read(None) | Did::Swapped(None, _) | Did::Refused(None) | Did::Wrote(_) => continue,
            };
            if twice.contains(&value) {
                return Ok(None);
            }
            if let Some(&writer) = of.get(&value).filter(|_| found)
                && !effective[writer]
            {
                effective[writer] = true;
                found_by.insert(writer, index);
                seen.push(writer);
            }
        }
        Ok(Some(Writers { of, effective, found_by }))
    }
}

struct Blocks<'a> {
    accesses: &'a [Access],
    clusters: Vec<Cluster>,
    /// The cluster of each operation that has one.
    cluster_of: Vec<Option<usize>>,
    /// The first cluster of each block, with the bounds of all its operations.
    blocks: Vec<(usize, Bounds)>,
    writers: &'a Writers,
}

impl<'a> Blocks<'a> {
    fn new(accesses: &'a [Access], writers: &'a Writers, budget: &Budget) -> Result<Blocks<'a>, End> {
        let mut pace = budget.pace();
        let none = Cluster { writer: None, reads: Bounds::NONE, before: None, after: None };
        let cluster_of = vec![None; accesses.len()];
        let mut all = Blocks { accesses, clusters: vec![none], cluster_of, blocks: Vec::new(), writers };
        for (index, access) in accesses.iter().enumerate() {
            if writers.effective[index] && matches!(access.did, Did::Wrote(_) | Did::Swapped(..)) {
                all.cluster_of[index] = Some(all.clusters.len());
                let reads = Bounds::NONE;
                all.clusters.push(Cluster { writer: Some(index), reads, before: None, after: None });
            }
        }
        for (index, access) in accesses.iter().enumerate() {
            pace.step()?;
            match access.did {
                Did::Read(found) if writers.effective[index] => {
                    let cluster = all.cluster_of_value(found, index)?;
                    all.cluster_of[index] = Some(cluster);
                    let reads = &mut all.clusters[cluster].reads;
                    *reads = reads.with(Bounds::of(index, access));
                }
                Did::Swapped(found, _) if writers.effective[index] => {
                    let before = all.cluster_of_value(found, index)?;
                    let cluster = all.cluster_of[index].expect("an effective write has a cluster");
                    if let Some(other) = all.clusters[before].after.replace(cluster) {
                        return Err(all.conflict(&[cluster, other], &[]).into());
                    }
                    all.clusters[cluster].before = Some(before);
                }
                Did::Read(_) | Did::Swapped(..) | Did::Wrote(_) | Did::Refused(_) => {}
            }
        }
        all.walk(budget)?;
        Ok(all)
    }

    fn cluster_of_value(&self, found: Option<i64>, finder: usize) -> Result<usize, Conflict> {
        let Some(value) = found else { return Ok(0) };
        let cluster = self.writers.of.get(&value).and_then(|writer| self.cluster_of[*writer]);
        cluster.ok_or_else(|| self.conflict(&[], &[finder]))
    }

    /// Checks the order within each block, and gathers its bounds.
    fn walk(&mut self, budget: &Budget) -> Result<(), End> {
        let mut pace = budget.pace();
        let mut walked = 0;
        for root in (0..self.clusters.len()).filter(|cluster| self.clusters[*cluster].before.is_none()) {
            // The value before any write was there before everything.
            let begin = if root == 0 { (0, usize::MAX) } else { Bounds::NONE.first_return };
            let mut bounds = Bounds { first_return: begin, ..Bounds::NONE };
            let mut next = Some(root);
            while let Some(cluster) = next {
                walked += 1;
                pace.step()?;
                let Cluster { writer, reads, after, .. } = self.clusters[cluster];
                let written = writer.map(|index| Bounds::of(index, &self.accesses[index]));
                for group in written.into_iter().chain([reads]) {
                    if group.first_return.0 < bounds.last_invocation.0 {
                        let (sooner, later) = (group.first_return.1, bounds.last_invocation.1);
                        return Err(self.conflict(&[cluster], &[sooner, later]).into());
                    }
                    bounds = bounds.with(group);
                }
                next = after;
            }
            self.blocks.push((root, bounds));
        }
        if walked < self.clusters.len() {
            // Swaps that each found what the next of them wrote: none can have been the first.
            let mut walked = vec![false; self.clusters.len()];
            for (root, _) in &self.blocks {
                let mut next = Some(*root);
                while let Some(cluster) = next {
                    walked[cluster] = true;
                    next = self.clusters[cluster].after;
                }
            }
            let first = walked.iter().position(|walked| !walked).unwrap_or(0);
            return Err(self.conflict(&[first], &[]).into());
        }
        Ok(())
    }

    /// The blocks in an order that real time allows.
    fn order(&self) -> Result<Vec<usize>, Conflict> {
        let mut order: Vec<(u64, usize)> = self
            .blocks
            .iter()
            .enumerate()
            .map(|(block, (_, bounds))| (bounds.first_return.0.min(bounds.last_invocation.0), block))
            .collect();
        order.sort_unstable();
        let mut latest = (0, usize::MAX);
        for (_, block) in &order {
            let (_, bounds) = &self.blocks[*block];
            if bounds.first_return.0 < latest.0 {
                return Err(self.pair(latest.1, *block));
            }
            if bounds.last_invocation.0 > latest.0 {
                latest = (bounds.last_invocation.0, *block);
            }
        }
        Ok(order.into_iter().map(|(_, block)| block).collect())
    }

    /// Two blocks that must each come before the other.
    fn pair(&self, one: usize, other: usize) -> Conflict {
        let (one, other) = (self.blocks[one].1, self.blocks[other].1);
        let four = [one.first_return.1, one.last_invocation.1, other.first_return.1, other.last_invocation.1];
        let shown: Vec<usize> = four.into_iter().filter(|index| *index != usize::MAX).collect();
        self.conflict(&[], &shown)
    }

    /// These operations, the writes of their values and of these clusters, the swaps that lead there, and
    /// who saw those of them that never returned.
    fn conflict(&self, clusters: &[usize], shown: &[usize]) -> Conflict {
        let mut indices: Vec<usize> = shown.to_vec();
        let of_shown = shown.iter().filter_map(|index| self.cluster_of[*index]);
        for first in clusters.iter().copied().chain(of_shown) {
            let mut next = Some(first);
            let mut steps = 0;
            while let Some(cluster) = next.filter(|_| steps <= self.clusters.len()) {
                indices.extend(self.clusters[cluster].writer);
                next = self.clusters[cluster].before;
                steps += 1;
            }
        }
        let mut all: FxHashSet<usize> = FxHashSet::default();
        while let Some(index) = indices.pop() {
            if all.insert(index) {
                indices.extend(self.writers.found_by.get(&index));
            }
        }
        indices.extend(all);
        indices.sort_unstable();
        let last = indices.iter().filter(|index| self.accesses[**index].returned.is_some());
        let last = last.max_by_key(|index| self.accesses[**index].returned).or(indices.last());
        let culprit = self.accesses[*last.expect("a conflict is one of operations")].id;
        Conflict { ids: indices.iter().map(|index| self.accesses[*index].id).collect(), culprit }
    }

    /// Whether every operation that found something else than its value fits into the order of blocks.
    fn fit_refused(&self, order: &[usize], budget: &Budget) -> Result<bool, Stop> {
        let refused: Vec<usize> = (0..self.accesses.len())
            .filter(|index| matches!(self.accesses[*index].did, Did::Refused(_)))
            .filter(|index| self.accesses[*index].returned.is_some())
            .collect();
        if refused.is_empty() {
            return Ok(true);
        }
        budget.go_on()?;
        Fit::new(self, order).all(self, &refused, budget)
    }
}

/// The clusters in their order, for finding a place among them.
struct Fit {
    /// Clusters by their place.
    order: Vec<usize>,
    place: Vec<usize>,
    /// By return: the last place of what had returned by then.
    returned: Vec<(u64, usize)>,
    /// By invocation: the last place that comes before all that is invoked from then on.
    invoked: Vec<(u64, usize)>,
}

impl Fit {
    fn new(blocks: &Blocks<'_>, order: &[usize]) -> Fit {
        let mut clusters = Vec::with_capacity(blocks.clusters.len());
        for block in order {
            let mut next = Some(blocks.blocks[*block].0);
            while let Some(cluster) = next {
                clusters.push(cluster);
                next = blocks.clusters[cluster].after;
            }
        }
        let mut place = vec![0; clusters.len()];
        for (at, cluster) in clusters.iter().enumerate() {
            place[*cluster] = at;
        }
        let placed = || {
            let all = blocks.accesses.iter().zip(&blocks.cluster_of);
            all.filter_map(|(access, cluster)| Some((access, place[(*cluster)?])))
        };
        let mut returned: Vec<(u64, usize)> =
            placed().filter_map(|(access, place)| Some((access.returned?, place))).collect();
        returned.sort_unstable();
        let mut last = 0;
        for (_, place) in &mut returned {
            last = last.max(*place);
            *place = last;
        }
        let mut invoked: Vec<(u64, usize)> = placed()
            .map(|(access, place)| {
                // Before a write means before its value. The first value has no write.
                let writes = !matches!(access.did, Did::Read(_));
                (access.invoked, place - usize::from(writes))
            })
            .collect();
        invoked.sort_unstable();
        let mut first = usize::MAX;
        for (_, place) in invoked.iter_mut().rev() {
            first = first.min(*place);
            *place = first;
        }
        Fit { order: clusters, place, returned, invoked }
    }

    /// Puts each into the first place that it can have, in order of invocation.
    fn all(&self, blocks: &Blocks<'_>, refused: &[usize], budget: &Budget) -> Result<bool, Stop> {
        let mut pace = budget.pace();
        let mut by_invocation = refused.to_vec();
        by_invocation.sort_by_key(|index| blocks.accesses[*index].invoked);
        // Those that were placed, by return; what returned before the current one raises `least`.
        let mut open: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        let mut least = 0;
        let writes: FxHashMap<i64, usize> = self.values(blocks);
        for index in by_invocation {
            pace.step()?;
            let access = &blocks.accesses[index];
            let (Did::Refused(not), Some(returned)) = (access.did, access.returned) else { continue };
            while open.peek().is_some_and(|entry| entry.0.0 < access.invoked) {
                least = open.pop().map_or(least, |entry| least.max(entry.0.1));
            }
            let before = self.returned.partition_point(|(at, _)| *at < access.invoked);
            let mut place = before.checked_sub(1).map_or(0, |at| self.returned[at].1).max(least);
            let after = self.invoked.partition_point(|(at, _)| *at < returned);
            let most = self.invoked.get(after).map_or(self.order.len() - 1, |(_, place)| *place);
            let forbidden = match not {
                None => Some(self.place[0]),
                Some(value) => writes.get(&value).copied(),
            };
            // No two places hold one value.
            place += usize::from(forbidden == Some(place));
            if place > most {
                return Ok(false);
            }
            open.push(Reverse((returned, place)));
        }
        Ok(true)
    }

    /// The place of each value. One that was written more than once has been read from none.
    fn values(&self, blocks: &Blocks<'_>) -> FxHashMap<i64, usize> {
        let mut values = FxHashMap::default();
        for (place, cluster) in self.order.iter().enumerate() {
            let writer = blocks.clusters[*cluster].writer.map(|writer| blocks.accesses[writer].did);
            if let Some(Did::Wrote(value) | Did::Swapped(_, value)) = writer {
                values.insert(value, place);
            }
        }
        values
    }
}
