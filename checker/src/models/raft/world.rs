//! A state of the world in numbers, and the states that follow it.

use super::{
    Action, Broken,
    ghosts::Ghosts,
    local::Node,
    mail::post,
    tables::{Done, Hashes, RENAMINGS, Tables, View, add, take},
};
use raft::NodeId;

/// A state of the world; numbers are those of [`Tables`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct World {
    pub(super) nodes: Vec<u32>,
    pub(super) ghosts: u32,
    pub(super) used: u64,
    /// Every message ever sent that may still have an effect, in order.
    pub(super) mail: Vec<u32>,
}

/// What follows from one act, before it is known whether anybody needs it.
pub(super) struct Next<'a> {
    from: &'a World,
    at: usize,
    node: u32,
    ghosts: u32,
    used: u64,
    /// The mail, where it changed.
    mail: Option<&'a [u32]>,
    /// Names the state, and its mirror images.
    pub(super) name: u64,
    pub(super) act: u32,
    /// What the step showed.
    pub(super) marks: u8,
    pub(super) broken: Option<Broken>,
}

impl Next<'_> {
    /// Makes the state.
    pub(super) fn world(&self, world: &mut World) {
        world.nodes.clone_from(&self.from.nodes);
        world.nodes[self.at] = self.node;
        world.ghosts = self.ghosts;
        world.used = self.used;
        world.mail.clear();
        world.mail.extend_from_slice(self.mail.unwrap_or(&self.from.mail));
    }

    /// Where it happened.
    pub(super) fn node(&self) -> NodeId {
        NodeId(self.at as u64 + 1)
    }
}

/// Room that expansions share.
#[derive(Default)]
pub(super) struct Scratch {
    mail: Vec<u32>,
    acts: Vec<(u8, u32)>,
}

/// What to do after a state was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Stop,
}

fn mix(word: u64) -> u64 {
    // The finaliser of SplitMix64: a bijection that spreads every bit.
    let mut x = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The sums of what is under way. Within a window a message's place on its link counts.
fn mail_sums(view: &mut View<'_>, mail: &[u32]) -> Hashes {
    let mut sums: Hashes = [0; RENAMINGS];
    let ordered = view.tables.bounds.window > 1;
    let (mut link, mut place) = ((u8::MAX, u8::MAX), 0);
    for message in mail {
        let letter = view.letter(*message);
        place = if ordered && (letter.from, letter.to) == link { place + 1 } else { 0 };
        link = (letter.from, letter.to);
        for (sum, part) in sums.iter_mut().zip(&view.act(*message).hashes) {
            *sum = sum.wrapping_add(part.rotate_left(place * 9));
        }
    }
    sums
}

/// The same for a state and its mirror images; never 0.
fn name_of(sums: &Hashes) -> u64 {
    mix(sums.iter().copied().min().unwrap_or_default()).max(1)
}

impl World {
    /// The first state.
    pub(super) fn first(view: &mut View<'_>) -> World {
        let bounds = view.tables.bounds.clone();
        let nodes = (1..=bounds.nodes).map(|id| view.node_number(Node::new(NodeId(id), &bounds)));
        World {
            nodes: nodes.collect(),
            ghosts: view.ghosts_number(Ghosts::new(bounds.reads)),
            used: 0,
            mail: Vec::new(),
        }
    }

    fn sums(&self, view: &mut View<'_>) -> Hashes {
        let mut sums = [mix(self.used); RENAMINGS];
        for node in &self.nodes {
            add(&mut sums, &view.node(*node).hashes);
        }
        add(&mut sums, &view.ghost(self.ghosts).hashes);
        add(&mut sums, &mail_sums(view, &self.mail));
        sums
    }

    /// Names the state, and its mirror images.
    pub(super) fn name(&self, view: &mut View<'_>) -> u64 {
        name_of(&self.sums(view))
    }

    /// Lists what may happen: place and act.
    pub(super) fn acts(&self, view: &mut View<'_>, acts: &mut Vec<(u8, u32)>) {
        acts.clear();
        acts.extend(self.mail.iter().map(|message| (view.letter(*message).to, *message)));
        for (at, node) in (0..).zip(&self.nodes) {
            acts.extend(view.own_acts(*node, self.used).iter().map(|act| (at, *act)));
        }
    }

    /// Shows every state that follows.
    pub(super) fn expand(
        &self,
        view: &mut View<'_>,
        scratch: &mut Scratch,
        mut show: impl FnMut(&mut View<'_>, &Next<'_>) -> Go,
    ) -> Go {
        let sums = self.sums(view);
        let mut acts = std::mem::take(&mut scratch.acts);
        self.acts(view, &mut acts);
        let mut go = Go::On;
        for (at, act) in &acts {
            if let Some(next) = self.next(view, scratch, &sums, usize::from(*at), *act)
                && show(view, &next) == Go::Stop
            {
                go = Go::Stop;
                break;
            }
        }
        scratch.acts = acts;
        go
    }

    /// The state after one act; `None` where it does nothing.
    pub(super) fn after<'a>(
        &'a self,
        view: &mut View<'_>,
        scratch: &'a mut Scratch,
        at: u8,
        act: u32,
    ) -> Option<Next<'a>> {
        let sums = self.sums(view);
        self.next(view, scratch, &sums, usize::from(at), act)
    }

    fn next<'a>(
        &'a self,
        view: &mut View<'_>,
        scratch: &'a mut Scratch,
        sums: &Hashes,
        at: usize,
        act: u32,
    ) -> Option<Next<'a>> {
        let used = super::bounds::Used::unpack(self.used);
        let slow = used.slow(&view.tables.bounds);
        let done = view.act_on(self.nodes[at], act, slow)?;
        let is_message = view.letter(act).to != u8::MAX;
        let spent = if is_message { self.used } else { view.act(act).value.spend(used).pack() };
        let (mut ghosts, marks, broken) = view.absorb(self.ghosts, &done, at);
        if done.deadens {
            let low = |place| view.node(if place == at { done.node } else { self.nodes[place] }).value.low();
            let low = (0..self.nodes.len()).map(low).min().unwrap_or_default();
            ghosts = view.forget(ghosts, low);
        }
        let mut sums = *sums;
        let moved = self.move_mail(view, &mut scratch.mail, &mut sums, at, &done);
        let still = done.node == self.nodes[at] && ghosts == self.ghosts && spent == self.used;
        if still && !moved && broken.is_none() {
            return None;
        }
        if done.node != self.nodes[at] {
            take(&mut sums, &view.node(self.nodes[at]).hashes);
            add(&mut sums, &view.node(done.node).hashes);
        }
        if ghosts != self.ghosts {
            take(&mut sums, &view.ghost(self.ghosts).hashes);
            add(&mut sums, &view.ghost(ghosts).hashes);
        }
        if spent != self.used {
            let change = mix(spent).wrapping_sub(mix(self.used));
            sums.iter_mut().for_each(|sum| *sum = sum.wrapping_add(change));
        }
        let broken = broken.or_else(|| self.judge(view, at, &done, ghosts));
        Some(Next {
            from: self,
            at,
            node: done.node,
            ghosts,
            used: spent,
            mail: moved.then_some(scratch.mail.as_slice()),
            name: name_of(&sums),
            act,
            marks,
            broken,
        })
    }

    /// Makes the mail after a step, where it changes: what is dead from now on goes, what is new comes. Moves
    /// the sums along, and returns whether it changed.
    fn move_mail(
        &self,
        view: &mut View<'_>,
        mail: &mut Vec<u32>,
        sums: &mut Hashes,
        at: usize,
        done: &Done,
    ) -> bool {
        let mut changed = false;
        mail.clear();
        if done.sent.is_empty() && !done.deadens {
            return false;
        }
        for message in &self.mail {
            let dead = done.deadens
                && usize::from(view.letter(*message).to) == at
                && view.is_dead(*message, done.node);
            if dead {
                changed = true;
            } else {
                mail.push(*message);
            }
        }
        let window = view.tables.bounds.window;
        for message in &done.sent {
            let to = usize::from(view.letter(*message).to);
            let receiver = if to == at { done.node } else { self.nodes[to] };
            if !view.is_dead(*message, receiver) {
                let letters = view.letters();
                changed |= post(mail, *message, window, |known| {
                    let link = letters[*known as usize];
                    (link.from, link.to, if window > 0 { 0 } else { link.order })
                });
            }
        }
        if changed {
            take(sums, &mail_sums(view, &self.mail));
            add(sums, &mail_sums(view, mail));
        }
        changed
    }

    /// What a step broke, as seen from outside.
    fn judge(&self, view: &mut View<'_>, at: usize, done: &Done, ghosts: u32) -> Option<Broken> {
        if !done.look && ghosts == self.ghosts {
            return None;
        }
        for (place, other) in self.nodes.iter().enumerate() {
            if place != at && done.look && !view.match_logs(done.node, *other) {
                return Some(Broken::LogMatching);
            }
        }
        for (place, node) in self.nodes.iter().enumerate() {
            let node = if place == at { done.node } else { *node };
            if view.contradicts(ghosts, node) {
                return Some(Broken::LeaderCompleteness);
            }
        }
        None
    }
}

/// The action that a step was.
pub(super) fn action(view: &mut View<'_>, node: NodeId, act: u32) -> Action {
    Action { node, act: view.act(act).value.clone() }
}

impl Tables {
    /// How many mirror images a state may have.
    pub(super) fn mirrors(&self) -> usize {
        self.renamings.count()
    }
}
