//! The search: every state within the bounds, breadth first or depth first, each once.

use super::{
    Action, Bounds, Broken, Named,
    properties::sometimes,
    tables::{Tables, View},
    visited::Visited,
    world::{Go, Next, Scratch, World, action},
};
use std::{
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// How a search is done.
#[derive(Clone, Debug)]
pub struct Search {
    /// Within which bounds.
    pub bounds: Bounds,
    /// Whether states that differ by the names of nodes count as one.
    pub symmetry: bool,
    /// Depth first: little memory for what is still to be looked at, but long ways. One thread.
    pub depth_first: bool,
    /// Threads.
    pub threads: usize,
    /// Ends after so many distinct states.
    pub states_max: Option<usize>,
    /// Ends after so long.
    pub time_max: Option<Duration>,
    /// Ends at this depth.
    pub depth_max: Option<usize>,
}

/// How far a search has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Different states met.
    pub distinct: usize,
    /// States met, again and again.
    pub generated: u64,
    /// Steps from the first state, of those looked at now.
    pub depth: usize,
    /// States whose successors are still to be looked at; those that are known of.
    pub waiting: usize,
    /// Since the beginning.
    pub elapsed: Duration,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every state within the bounds was looked at.
    Exhausted,
    /// A property does not hold.
    Broken,
    /// `states_max`, `time_max` or `depth_max`.
    Limit,
    /// There are more different messages than a search can number.
    TooManyMessages,
}

/// A way to a broken promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Counterexample {
    /// The last of these breaks it.
    pub actions: Vec<Action>,
    /// What is broken.
    pub broken: Broken,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Report {
    /// At the end.
    pub progress: Progress,
    /// Why it ended.
    pub end: End,
    /// What is broken, and how.
    pub counterexample: Option<Counterexample>,
    /// What must happen somewhere, and whether it did.
    pub sometimes: Vec<(&'static str, bool)>,
    /// How many mirror images are counted as one state.
    pub mirrors: usize,
    /// Different states of one node, acts, states of the observer: what the core really computed.
    pub parts: [usize; 3],
}

impl Search {
    /// A search of named bounds, breadth first, with symmetry and on all cores.
    pub fn of(named: Named) -> Search {
        Search {
            bounds: named.bounds(),
            symmetry: true,
            depth_first: false,
            threads: thread::available_parallelism().map_or(1, usize::from),
            states_max: None,
            time_max: None,
            depth_max: None,
        }
    }

    /// Searches, and tells every second how far it is.
    pub fn run(&self, mut tell: impl FnMut(&Progress)) -> Report {
        let tables = Tables::new(self.bounds.clone(), self.symmetry);
        let run = Run::new(self, &tables);
        let mut views: Vec<View<'_>> = Vec::new();
        let threads = if self.depth_first { 1 } else { self.threads.max(1) };
        views.resize_with(threads, || View::new(&tables));
        let first = World::first(&mut views[0]);
        let name = first.name(&mut views[0]);
        run.visited().insert(name, 0);
        let mut block = Block::default();
        block.push(name, &first);
        let mut level = vec![block];
        while !level.is_empty() && !run.is_over() {
            if self.depth_max.is_some_and(|depth| run.progress().depth >= depth) {
                run.stop(End::Limit);
                break;
            }
            level = run.level(level, &mut views, &mut tell);
            run.depth.fetch_add(1, Relaxed);
        }
        run.report(&mut views[0])
    }
}

/// States in a row: each as its name and its numbers.
#[derive(Default)]
struct Block {
    words: Vec<u32>,
    states: usize,
}

/// Words in a block of states.
const BLOCK_WORDS: usize = 1 << 16;

impl Block {
    fn push(&mut self, name: u64, world: &World) {
        self.states += 1;
        let words = &mut self.words;
        words.extend([name as u32, (name >> 32) as u32]);
        words.extend([world.used as u32, (world.used >> 32) as u32, world.ghosts]);
        words.extend(&world.nodes);
        words.push(world.mail.len() as u32);
        words.extend(world.mail.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 16)));
        // Read from the end, too.
        let len = 6 + world.nodes.len() + world.mail.len().div_ceil(2);
        words.push(len as u32);
    }

    /// Takes out the last state.
    fn pop(&mut self, nodes: usize, world: &mut World) -> Option<u64> {
        let len = self.words.pop()? as usize;
        self.states -= 1;
        let begin = self.words.len() - len;
        let words = &self.words[begin..];
        let name = u64::from(words[0]) | u64::from(words[1]) << 32;
        world.used = u64::from(words[2]) | u64::from(words[3]) << 32;
        world.ghosts = words[4];
        world.nodes.clear();
        world.nodes.extend_from_slice(&words[5..5 + nodes]);
        let count = words[5 + nodes] as usize;
        world.mail.clear();
        world.mail.extend(words[6 + nodes..].iter().flat_map(|pair| [pair & 0xffff, pair >> 16]).take(count));
        self.words.truncate(begin);
        Some(name)
    }
}

/// What the workers share.
struct Run<'a> {
    search: &'a Search,
    tables: &'a Tables,
    visited: RwLock<Visited>,
    generated: AtomicU64,
    depth: AtomicU64,
    waiting: AtomicU64,
    marks: AtomicU8,
    over: AtomicBool,
    end: Mutex<Option<(End, u64)>>,
    begun: Instant,
}

impl<'a> Run<'a> {
    fn new(search: &'a Search, tables: &'a Tables) -> Run<'a> {
        Run {
            search,
            tables,
            visited: RwLock::new(Visited::new(1 << 20)),
            generated: AtomicU64::new(1),
            depth: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            marks: AtomicU8::new(0),
            over: AtomicBool::new(false),
            end: Mutex::new(None),
            begun: Instant::now(),
        }
    }

    fn visited(&self) -> std::sync::RwLockReadGuard<'_, Visited> {
        self.visited.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    fn stop(&self, end: End) {
        self.stop_at(end, 0);
    }

    fn stop_at(&self, end: End, name: u64) {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((end, name));
        self.over.store(true, Relaxed);
    }

    fn progress(&self) -> Progress {
        Progress {
            distinct: self.visited().len(),
            generated: self.generated.load(Relaxed),
            depth: self.depth.load(Relaxed) as usize,
            waiting: self.waiting.load(Relaxed) as usize,
            elapsed: self.begun.elapsed(),
        }
    }

    /// Looks at all states of a level, and gives those of the next.
    fn level(
        &self,
        level: Vec<Block>,
        views: &mut [View<'_>],
        tell: &mut impl FnMut(&Progress),
    ) -> Vec<Block> {
        let queue = Mutex::new(level);
        let next = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let (done, finished) = mpsc::channel::<()>();
            for view in views.iter_mut() {
                let (queue, next, done) = (&queue, &next, done.clone());
                scope.spawn(move || {
                    self.work(queue, next, view);
                    drop(done);
                });
            }
            drop(done);
            while finished.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
                tell(&self.progress());
                if self.search.time_max.is_some_and(|limit| self.begun.elapsed() >= limit) {
                    self.stop(End::Limit);
                }
            }
        });
        next.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, queue: &Mutex<Vec<Block>>, next: &Mutex<Vec<Block>>, view: &mut View<'_>) {
        let mut out = Block::default();
        let mut scratch = Scratch::default();
        let mut world = World::default();
        while !self.is_over() {
            let Some(mut block) = queue.lock().unwrap_or_else(PoisonError::into_inner).pop() else { break };
            let states = block.states;
            if self.search.depth_first {
                out = block;
                self.dive(&mut out, &mut world, &mut scratch, view);
                return;
            }
            self.take_block(
                &mut block,
                &mut world,
                &mut scratch,
                view,
                |full| {
                    self.waiting.fetch_add(full.states as u64, Relaxed);
                    next.lock().unwrap_or_else(PoisonError::into_inner).push(full);
                },
                &mut out,
            );
            let _ = self.waiting.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(states as u64)));
            self.after_block();
        }
        if !out.words.is_empty() {
            self.waiting.fetch_add(out.states as u64, Relaxed);
            next.lock().unwrap_or_else(PoisonError::into_inner).push(out);
        }
    }

    fn take_block(
        &self,
        block: &mut Block,
        world: &mut World,
        scratch: &mut Scratch,
        view: &mut View<'_>,
        mut full: impl FnMut(Block),
        out: &mut Block,
    ) {
        let visited = self.visited();
        let nodes = self.search.bounds.nodes as usize;
        while let Some(name) = block.pop(nodes, world) {
            if self.look(name, world, scratch, view, &visited, out) == Go::Stop {
                return;
            }
            if out.words.len() >= BLOCK_WORDS {
                full(std::mem::take(out));
            }
        }
    }

    /// Depth first: the newest state next.
    fn dive(&self, stack: &mut Block, world: &mut World, scratch: &mut Scratch, view: &mut View<'_>) {
        let nodes = self.search.bounds.nodes as usize;
        let mut looked = 0_u64;
        while let Some(name) = stack.pop(nodes, world) {
            let go = self.look(name, world, scratch, view, &self.visited(), stack);
            looked += 1;
            if looked.is_multiple_of(1024) {
                self.waiting.store(stack.states as u64, Relaxed);
                self.after_block();
            }
            if go == Go::Stop || self.is_over() {
                return;
            }
        }
    }

    fn look(
        &self,
        name: u64,
        world: &World,
        scratch: &mut Scratch,
        view: &mut View<'_>,
        visited: &Visited,
        out: &mut Block,
    ) -> Go {
        let (mut generated, mut marks) = (0, 0);
        let mut room = World::default();
        let go = world.expand(view, scratch, |_, next: &Next<'_>| {
            generated += 1;
            marks |= next.marks;
            if next.broken.is_some() {
                self.stop_at(End::Broken, name);
                return Go::Stop;
            }
            if visited.insert(next.name, name) {
                next.world(&mut room);
                if room.mail.last().is_some_and(|last| *last > 0xffff) {
                    self.stop(End::TooManyMessages);
                    return Go::Stop;
                }
                out.push(next.name, &room);
            }
            Go::On
        });
        self.generated.fetch_add(generated, Relaxed);
        if marks & !self.marks.load(Relaxed) != 0 {
            self.marks.fetch_or(marks, Relaxed);
        }
        go
    }

    fn after_block(&self) {
        if self.visited().is_crowded() {
            let mut visited = self.visited.write().unwrap_or_else(PoisonError::into_inner);
            if visited.is_crowded() {
                visited.grow();
            }
        }
        if self.search.states_max.is_some_and(|limit| self.visited().len() >= limit) {
            self.stop(End::Limit);
        }
    }

    fn report(&self, view: &mut View<'_>) -> Report {
        let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, name) = end.unwrap_or((End::Exhausted, 0));
        let marks = self.marks.load(Relaxed);
        let seen = sometimes(&self.search.bounds).into_iter().map(|(bit, name)| (name, marks & bit != 0));
        Report {
            progress: self.progress(),
            end,
            counterexample: (end == End::Broken).then(|| self.way_to(view, name)),
            sometimes: seen.collect(),
            mirrors: self.tables.mirrors(),
            parts: self.tables.sizes(),
        }
    }

    /// Walks again to the state named `last`, and one step on to where a promise is broken. States are met
    /// under the names of their mirror images; one of these has the same ways on as another.
    fn way_to(&self, view: &mut View<'_>, last: u64) -> Counterexample {
        let visited = self.visited();
        let mut names = vec![last];
        while let Some(&name) = names.last()
            && visited.parent(name) != 0
        {
            names.push(visited.parent(name));
        }
        names.pop();
        let mut world = World::first(view);
        let mut scratch = Scratch::default();
        let mut actions = Vec::new();
        for name in names.into_iter().rev() {
            let mut found = None;
            world.expand(view, &mut scratch, |_, next| {
                if next.name != name || next.broken.is_some() {
                    return Go::On;
                }
                let mut there = World::default();
                next.world(&mut there);
                found = Some((there, next.node(), next.act));
                Go::Stop
            });
            let (there, node, act) = found.expect("the state was met from the one before");
            actions.push(action(view, node, act));
            world = there;
        }
        let mut found = None;
        world.expand(view, &mut scratch, |_, next| match &next.broken {
            None => Go::On,
            Some(broken) => {
                found = Some((broken.clone(), next.node(), next.act));
                Go::Stop
            }
        });
        let (broken, node, act) = found.expect("a promise is broken from here");
        actions.push(action(view, node, act));
        Counterexample { actions, broken }
    }
}
