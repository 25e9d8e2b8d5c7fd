//! The exact search: just-in-time linearization over sets of configurations.
//!
//! Operations are put in the order no earlier than a return forces it (Lowe, "Testing for
//! linearizability", 2017). All configurations at one moment are held as one [`Frontier`], so memory depends
//! on how many operations are open at once and not on the length of the history; where nothing is open the
//! frontier shrinks to the possible states by itself. A narrow frontier is tried first: if it survives, the
//! history is legal, whatever was left out. If it dies after something was left out, the search goes back
//! to where that was, eight times as wide.
//!
//! Sound reductions: reads that fit are done at once (they change nothing, so sooner is never worse);
//! of interchangeable open operations the one that must return first goes first; of interchangeable
//! indeterminate ones the oldest; a configuration that used more indeterminate operations than another to
//! reach the same is dropped.

use super::call::Call;
use super::frontier::{Bit, Frontier, Layout};
use super::table::{Class, StateId, Table};
use crate::budget::{Budget, Stop};
use crate::history::OpId;
use crate::spec::SequentialSpec;

/// Width that is tried first; each retry is [`WIDER`] times as wide.
const WIDTH_FIRST: usize = 32;
const WIDER: usize = 8;
/// So many states are interned before those that nothing refers to are forgotten.
const STATES_KEPT: usize = 1 << 16;
/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u32 = 512;

/// What a search concludes.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision<State> {
    /// An order exists.
    Legal,
    /// None exists.
    Illegal(Stuck<State>),
    /// The budget ended first, when so many of the calls had returned.
    Undecided {
        /// What ended.
        stop: Stop,
        /// Returns that were explained.
        done: u64,
    },
}

/// Where every order fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Stuck<State> {
    /// The operation that cannot have returned what it did when it did.
    pub id: OpId,
    /// The states that were possible just before its return.
    pub states: Vec<State>,
    /// Operations that show it without any other, where they are known; else none.
    pub shown_by: Vec<OpId>,
}

/// Decides whether calls on one part are linearizable.
pub fn search<S: SequentialSpec>(spec: &S, calls: &[Call<S::Op>], budget: &Budget) -> Decision<S::State> {
    search_from_width(spec, calls, budget, WIDTH_FIRST)
}

/// [`search`], beginning with frontiers of another width: the answer is the same for every width.
pub fn search_from_width<S: SequentialSpec>(
    spec: &S,
    calls: &[Call<S::Op>],
    budget: &Budget,
    width: usize,
) -> Decision<S::State> {
    let mut search = Search::new(spec, calls, budget, width.max(1));
    let start = search.start();
    let decision = search.run(start).map_or_else(|decision| decision, |_| Decision::Legal);
    budget.give_back(search.taken);
    decision
}

/// What may be the case where nothing is open but operations that may still take effect: a state, and which of
/// those operations led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Border<State> {
    /// The state.
    pub state: State,
    /// The operations without a return that have taken effect.
    pub used: Vec<OpId>,
}

/// Decides calls that begin at one of `borders`, and says which borders they lead to: all of them.
///
/// # Errors
/// The decision, where it is not that there is an order.
pub fn search_between<S: SequentialSpec>(
    spec: &S,
    borders: &[Border<S::State>],
    calls: &[Call<S::Op>],
    budget: &Budget,
) -> Result<Vec<Border<S::State>>, Decision<S::State>> {
    // Nothing may be left out: what is left out here would be missing for good.
    let mut search = Search::new(spec, calls, budget, usize::MAX);
    let start = search.start_at(borders);
    let end = search.run(start);
    budget.give_back(search.taken);
    end.map(|frontier| search.borders(&frontier))
}

/// An operation that is open: its bit, its content.
#[derive(Clone, Copy, Debug)]
struct Open {
    call: usize,
    bit: Bit,
    class: Class,
    returned: u64,
}

/// Interchangeable indeterminate operations, oldest first.
#[derive(Clone, Debug)]
struct Infos {
    class: Class,
    bits: Vec<Bit>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Invoke(usize),
    Return(usize),
}

/// Which operations are open at an event.
#[derive(Clone, Debug, Default)]
struct Window {
    /// Open operations that write, the one that returns first in front.
    writes: Vec<Open>,
    reads: Vec<Open>,
    infos: Vec<Infos>,
}

/// Where to go back to: the last moment at which nothing had been left out.
struct Checkpoint {
    event: usize,
    done: u64,
    window: Window,
    frontier: Frontier,
}

struct Search<'a, S: SequentialSpec> {
    calls: &'a [Call<S::Op>],
    budget: &'a Budget,
    table: Table<'a, S>,
    layout: Layout,
    bits: Vec<Bit>,
    classes: Vec<Class>,
    events: Vec<Event>,
    width: usize,
    /// Something was left out since the checkpoint.
    checkpoint: Option<Checkpoint>,
    steps: u32,
    taken: usize,
    /// The configuration that is being made.
    row: Vec<u64>,
}

impl<'a, S: SequentialSpec> Search<'a, S> {
    fn new(spec: &'a S, calls: &'a [Call<S::Op>], budget: &'a Budget, width: usize) -> Search<'a, S> {
        let mut table = Table::new(spec);
        let classes: Vec<Class> = calls.iter().map(|call| table.class(&call.op)).collect();
        let mut order: Vec<(u64, Event)> = Vec::with_capacity(2 * calls.len());
        for (index, call) in calls.iter().enumerate() {
            // A read that nobody heard the answer of says nothing.
            if call.returned.is_none() && table.is_read_only(classes[index]) {
                continue;
            }
            order.push((call.invoked, Event::Invoke(index)));
            if let Some(returned) = call.returned {
                order.push((returned, Event::Return(index)));
            }
        }
        // Positions are unique in a history; a call is open before it returns in any case.
        order.sort_by_key(|(at, event)| (*at, matches!(event, Event::Return(_))));
        let events: Vec<Event> = order.into_iter().map(|(_, event)| event).collect();
        let (bits, layout) = assign_bits(calls, &classes, &table, &events);
        let row = vec![0; layout.stride()];
        Search {
            calls,
            budget,
            table,
            layout,
            bits,
            classes,
            events,
            width,
            checkpoint: None,
            steps: 0,
            taken: 0,
            row,
        }
    }

    fn start(&mut self) -> Frontier {
        let mut frontier = Frontier::new(self.layout);
        let init = self.table.init();
        frontier.insert(&self.row, init);
        frontier
    }

    fn start_at(&mut self, borders: &[Border<S::State>]) -> Frontier {
        let mut frontier = Frontier::new(self.layout);
        for Border { state, used } in borders {
            self.row.fill(0);
            for (call, bit) in self.calls.iter().zip(&self.bits) {
                if call.returned.is_none() && used.contains(&call.id) {
                    bit.set(&mut self.row);
                }
            }
            let state = self.table.state_of(state.clone());
            frontier.insert(&self.row, state);
        }
        frontier
    }

    fn borders(&self, frontier: &Frontier) -> Vec<Border<S::State>> {
        let infos: Vec<(OpId, Bit)> = self
            .calls
            .iter()
            .zip(&self.bits)
            .zip(&self.classes)
            .filter(|((call, _), class)| call.returned.is_none() && !self.table.is_read_only(**class))
            .map(|((call, bit), _)| (call.id, *bit))
            .collect();
        (0..frontier.len())
            .filter(|index| frontier.is_alive(*index))
            .map(|index| {
                let row = frontier.row(index);
                let used = infos.iter().filter(|(_, bit)| bit.is_set(row)).map(|(id, _)| *id).collect();
                Border { state: self.table.state(frontier.state(index)).clone(), used }
            })
            .collect()
    }

    /// Goes on to the end of the calls; the configurations there.
    ///
    /// # Errors
    /// The decision, where it is not that there is an order.
    fn run(&mut self, mut frontier: Frontier) -> Result<Frontier, Decision<S::State>> {
        let (mut open, mut spare) = (Frontier::new(self.layout), Frontier::new(self.layout));
        let mut window = Window::default();
        let (mut event, mut done) = (0, 0);
        while event < self.events.len() {
            let returns = match self.events[event] {
                Event::Invoke(call) => {
                    self.open(&mut window, call);
                    event += 1;
                    continue;
                }
                Event::Return(call) => call,
            };
            self.forget_states(&mut frontier);
            let complete = match self.advance(&window, &frontier, returns, &mut open, &mut spare) {
                Ok(complete) => complete,
                Err(stop) => return Err(Decision::Undecided { stop, done }),
            };
            if !complete && self.checkpoint.is_none() {
                let (window, frontier) = (window.clone(), frontier.clone());
                self.checkpoint = Some(Checkpoint { event, done, window, frontier });
            }
            if !spare.is_empty() {
                std::mem::swap(&mut frontier, &mut spare);
                window.close(returns);
                event += 1;
                done += 1;
                continue;
            }
            // Died. If nothing was left out, there is no order.
            let Some(back) = self.checkpoint.take() else {
                let id = self.calls[returns].id;
                let states = self.states_of(&frontier);
                return Err(Decision::Illegal(Stuck { id, states, shown_by: Vec::new() }));
            };
            self.width *= WIDER;
            (event, done, window, frontier) = (back.event, back.done, back.window, back.frontier);
        }
        Ok(frontier)
    }

    fn open(&mut self, window: &mut Window, call: usize) {
        let (bit, class) = (self.bits[call], self.classes[call]);
        match self.calls[call].returned {
            None => match window.infos.iter_mut().find(|infos| infos.class == class) {
                Some(infos) => infos.bits.push(bit),
                None => window.infos.push(Infos { class, bits: vec![bit] }),
            },
            Some(returned) => {
                let open = Open { call, bit, class, returned };
                if self.table.is_read_only(class) {
                    window.reads.push(open);
                } else {
                    let at = window.writes.partition_point(|other| other.returned < returned);
                    window.writes.insert(at, open);
                }
            }
        }
    }

    /// All configurations after the return of a call, into `after`; whether that is really all of them.
    fn advance(
        &mut self,
        window: &Window,
        before: &Frontier,
        returns: usize,
        open: &mut Frontier,
        after: &mut Frontier,
    ) -> Result<bool, Stop> {
        open.clear();
        after.clear();
        let bit = self.bits[returns];
        for index in (0..before.len()).filter(|index| before.is_alive(*index)) {
            self.load(before.row(index));
            self.add_open(open, before.state(index), window);
        }
        // Wide enough for the closure of a full frontier, so that width bounds the memory.
        let (after_max, open_max) = (self.width, self.width.saturating_mul(8));
        let mut complete = true;
        let mut index = 0;
        while index < open.len() {
            self.look(open.len() + after.len())?;
            if !open.is_alive(index) {
                index += 1;
                continue;
            }
            if bit.is_set(open.row(index)) {
                self.load(open.row(index));
                self.add_after(after, open.state(index), bit);
            } else {
                self.expand(window, open, index, returns, after);
            }
            index += 1;
            if index < open.len() && (after.len() >= after_max || open.len() >= open_max) {
                complete = false;
                if after.len() >= after_max {
                    break;
                }
                // Too many ways to get there: those that are known are tried, no new ones looked for.
                self.finish_known(open, index, returns, after);
                break;
            }
        }
        Ok(complete)
    }

    /// One step from a configuration: to the return, and to every configuration that may come before it.
    fn expand(
        &mut self,
        window: &Window,
        open: &mut Frontier,
        index: usize,
        returns: usize,
        after: &mut Frontier,
    ) {
        let state = open.state(index);
        for (at, write) in window.writes.iter().enumerate() {
            let row = open.row(index);
            if write.bit.is_set(row) || shadowed(&window.writes[..at], write.class, row) {
                continue;
            }
            let Some(next) = self.table.step(state, write.class) else { continue };
            self.load(row);
            if write.call == returns {
                self.do_reads(next, window);
                self.add_after(after, next, write.bit);
            } else {
                write.bit.set(&mut self.row);
                self.add_open(open, next, window);
            }
        }
        for infos in &window.infos {
            let row = open.row(index);
            let Some(unused) = infos.bits.iter().find(|bit| !bit.is_set(row)) else { continue };
            if shadowed(&window.writes, infos.class, row) {
                continue;
            }
            match self.table.step(state, infos.class) {
                Some(next) if next != state => {
                    self.load(row);
                    unused.set(&mut self.row);
                    self.add_open(open, next, window);
                }
                Some(_) | None => {}
            }
        }
    }

    /// Takes from the known configurations those that are at the return or one step before it.
    fn finish_known(&mut self, open: &Frontier, from: usize, returns: usize, after: &mut Frontier) {
        let (bit, class) = (self.bits[returns], self.classes[returns]);
        for index in (from..open.len()).filter(|index| open.is_alive(*index)) {
            let state = open.state(index);
            let next = if bit.is_set(open.row(index)) { Some(state) } else { self.table.step(state, class) };
            if let Some(next) = next {
                self.load(open.row(index));
                self.add_after(after, next, bit);
            }
            if after.len() >= self.width {
                break;
            }
        }
    }

    fn load(&mut self, row: &[u64]) {
        self.row.clear();
        self.row.extend_from_slice(row);
    }

    /// Adds the loaded row to the configurations before the return.
    fn add_open(&mut self, open: &mut Frontier, state: StateId, window: &Window) {
        self.do_reads(state, window);
        open.insert(&self.row, state);
    }

    /// Adds the loaded row to those after the return; the bit is free for another operation then.
    fn add_after(&mut self, after: &mut Frontier, state: StateId, returned: Bit) {
        returned.clear(&mut self.row);
        after.insert(&self.row, state);
    }

    /// Does all open reads that fit the state, in the loaded row.
    fn do_reads(&mut self, state: StateId, window: &Window) {
        for read in &window.reads {
            if !read.bit.is_set(&self.row) && self.table.step(state, read.class).is_some() {
                read.bit.set(&mut self.row);
            }
        }
    }

    fn look(&mut self, held: usize) -> Result<(), Stop> {
        self.steps += 1;
        if held > self.taken {
            let more = (held - self.taken).max(1024);
            self.budget.take(more)?;
            self.taken += more;
        }
        if self.steps >= STEPS_PER_LOOK {
            self.steps = 0;
            self.budget.go_on()?;
        }
        Ok(())
    }

    /// Forgets states that no configuration refers to, once there are many.
    fn forget_states(&mut self, frontier: &mut Frontier) {
        let kept = frontier.len() + self.checkpoint.as_ref().map_or(0, |back| back.frontier.len());
        if self.table.states() < STATES_KEPT.max(4 * kept) {
            return;
        }
        let mut ids: Vec<StateId> = frontier.states_mut().to_vec();
        let split = ids.len();
        if let Some(back) = &mut self.checkpoint {
            ids.extend_from_slice(back.frontier.states_mut());
        }
        self.table.keep_only(&mut ids);
        frontier.states_mut().copy_from_slice(&ids[..split]);
        frontier.rehash();
        if let Some(back) = &mut self.checkpoint {
            back.frontier.states_mut().copy_from_slice(&ids[split..]);
            back.frontier.rehash();
        }
    }

    fn states_of(&self, frontier: &Frontier) -> Vec<S::State> {
        let mut ids: Vec<StateId> = (0..frontier.len())
            .filter(|index| frontier.is_alive(*index))
            .map(|index| frontier.state(index))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| self.table.state(id).clone()).collect()
    }
}

impl Window {
    fn close(&mut self, call: usize) {
        self.writes.retain(|open| open.call != call);
        self.reads.retain(|open| open.call != call);
    }
}

/// Whether an interchangeable operation that must return sooner is still to be done.
fn shadowed(sooner: &[Open], class: Class, row: &[u64]) -> bool {
    sooner.iter().any(|other| other.class == class && !other.bit.is_set(row))
}

/// Gives each call a bit; bits of calls that have returned are used again.
fn assign_bits<S: SequentialSpec>(
    calls: &[Call<S::Op>],
    classes: &[Class],
    table: &Table<'_, S>,
    events: &[Event],
) -> (Vec<Bit>, Layout) {
    let mut slots = vec![0; calls.len()];
    let mut free: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
    let mut used = [0, 0];
    let mut infos = 0;
    for event in events {
        match *event {
            Event::Invoke(call) if calls[call].returned.is_none() => {
                slots[call] = infos;
                infos += 1;
            }
            Event::Invoke(call) => {
                let kind = usize::from(table.is_read_only(classes[call]));
                slots[call] = free[kind].pop().unwrap_or_else(|| {
                    used[kind] += 1;
                    used[kind] - 1
                });
            }
            Event::Return(call) => free[usize::from(table.is_read_only(classes[call]))].push(slots[call]),
        }
    }
    let layout = Layout::for_bits(used[0], used[1], infos);
    let bit = |call: usize| match (calls[call].returned, table.is_read_only(classes[call])) {
        (None, _) => layout.info_bit(slots[call]),
        (Some(_), true) => layout.read_bit(slots[call]),
        (Some(_), false) => layout.write_bit(slots[call]),
    };
    ((0..calls.len()).map(bit).collect(), layout)
}
