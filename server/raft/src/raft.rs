//! The node as a whole: takes inputs, judges the terms of messages, moves between roles.

#[cfg(feature = "plant")]
use crate::mutation::Mutation;
use crate::{
    candidate::Candidate,
    config::{Config, Durable, StartError},
    follower,
    input::{Input, StepError},
    invariants::Before,
    leader::Leader,
    log::Log,
    message::{Body, Message},
    node::Node,
    progress::Progress,
    ready::{Mark, Ready},
    types::{LogIndex, Membership, NodeId, Role, SnapshotMeta, Term},
};

/// One participant. Equal nodes stay equal when they get equal inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    pub(crate) node: Node,
    pub(crate) part: Part,
}

/// What a node keeps only while it plays a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Follower,
    PreCandidate(Candidate),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

impl Raft {
    /// A node that continues from what is on its disk.
    ///
    /// # Errors
    /// All mistakes in `config`, or what is wrong with `durable`.
    pub fn new(config: Config, durable: Durable) -> Result<Raft, StartError> {
        Ok(Raft { node: Node::new(config, durable)?, part: Part::Follower })
    }

    /// Takes one input. Pure: the same `Raft` and `Input` give the same next state and `Ready`.
    ///
    /// # Errors
    /// The input had no effect, other than that of a message's term.
    ///
    /// # Panics
    /// If an invariant is broken: the node must stop then.
    pub fn step(&mut self, input: Input) -> Result<(), StepError> {
        let before = Before::of(self);
        let result = self.dispatch(input);
        self.finish_change();
        before.assert_followed_by(self);
        result
    }

    fn dispatch(&mut self, input: Input) -> Result<(), StepError> {
        match input {
            Input::Tick => self.on_tick(),
            Input::Receive(message) => return self.on_receive(message),
            Input::Persisted(mark) => return self.on_persisted(mark),
            Input::Campaign => return self.on_campaign(),
            Input::SnapshotTaken { index, keep } => return self.node.snapshot_taken(index, keep),
            Input::Propose(command) => {
                let (node, leader) = self.leading()?;
                return leader.propose(node, command);
            }
            Input::ProposeMembership { change, context } => {
                let (node, leader) = self.leading()?;
                return leader.propose_membership(node, &change, context);
            }
            Input::Read(id) => {
                let (node, leader) = self.leading()?;
                return leader.read(node, id);
            }
            Input::Transfer(to) => {
                let (node, leader) = self.leading()?;
                return leader.transfer(node, to);
            }
            Input::SnapshotReport { to, ok } => {
                if let Part::Leader(leader) = &mut self.part {
                    leader.on_snapshot_report(to, ok);
                }
            }
            Input::Unreachable(to) => {
                if let Part::Leader(leader) = &mut self.part {
                    leader.on_unreachable(to);
                }
            }
        }
        Ok(())
    }

    fn leading(&mut self) -> Result<(&mut Node, &mut Leader), StepError> {
        match &mut self.part {
            Part::Leader(leader) => Ok((&mut self.node, leader)),
            Part::Follower | Part::PreCandidate(_) | Part::Candidate(_) => {
                Err(StepError::NotLeader { leader: self.node.leader })
            }
        }
    }

    /// Whether [`Raft::ready`] would give anything out.
    pub fn has_ready(&self) -> bool {
        let unsent = match &self.part {
            Part::Leader(leader) => leader.has_unsent(&self.node),
            Part::Follower | Part::PreCandidate(_) | Part::Candidate(_) => false,
        };
        unsent || self.node.has_output(self.role())
    }

    /// Gives out what the steps since the last call produced. It may be called again before earlier turns
    /// are durable.
    pub fn ready(&mut self) -> Ready {
        if let Part::Leader(leader) = &mut self.part {
            leader.flush(&mut self.node);
        }
        let role = self.role();
        self.node.take_ready(role)
    }

    // Inputs that any role takes.

    fn on_tick(&mut self) {
        match &mut self.part {
            Part::Leader(leader) => {
                if !leader.tick(&mut self.node) {
                    self.become_follower(self.node.term, None);
                }
            }
            Part::Follower | Part::PreCandidate(_) | Part::Candidate(_) => {
                self.node.election_elapsed = self.node.election_elapsed.saturating_add(1);
                if self.node.election_elapsed >= self.node.election_timeout && self.node.may_campaign() {
                    self.campaign();
                }
            }
        }
    }

    fn on_campaign(&mut self) -> Result<(), StepError> {
        if self.role() == Role::Leader {
            return Ok(());
        }
        if !self.node.may_campaign() {
            return Err(StepError::NotVoter(self.node.id()));
        }
        self.campaign();
        Ok(())
    }

    fn on_persisted(&mut self, mark: Mark) -> Result<(), StepError> {
        // Most turns write nothing: then nothing follows from it.
        if !self.node.persisted(mark)? {
            return Ok(());
        }
        match &mut self.part {
            Part::Leader(leader) => leader.advance_commit(&mut self.node),
            Part::Candidate(candidate) => {
                candidate.count_own_vote(&self.node);
                self.tally();
            }
            Part::Follower | Part::PreCandidate(_) => {}
        }
        Ok(())
    }

    // Messages. The term comes first, then the role.

    fn on_receive(&mut self, message: Message) -> Result<(), StepError> {
        let from = message.from;
        message.check(self.node.id()).map_err(|why| StepError::Malformed { from, why })?;
        if message.term < self.node.term {
            #[cfg(feature = "plant")]
            if self.node.config.plants(Mutation::StaleTermAccepted)
                && let Part::Follower = self.part
                && let Body::Append { prev_index, prev_term, entries, commit } = message.body.clone()
            {
                self.node.on_append(follower::Append { from, prev_index, prev_term, entries, commit });
                return Ok(());
            }
            #[cfg(feature = "plant")]
            if self.node.config.plants(Mutation::StaleVotesCounted)
                && let Body::VoteReply { granted } = message.body
            {
                self.on_vote_reply(from, granted);
                return Ok(());
            }
            self.answer_stale(message);
            return Ok(());
        }
        if message.term > self.node.term && !self.meet_newer_term(&message) {
            return Ok(());
        }
        self.on_current(message)
    }

    /// Moves to a newer term where the message calls for it. Returns whether the message is to be handled.
    fn meet_newer_term(&mut self, message: &Message) -> bool {
        #[cfg(feature = "plant")]
        if self.node.config.plants(Mutation::IgnoresNewerTerm)
            && self.role() == Role::Leader
            && matches!(message.body, Body::AppendRejected { .. } | Body::HeartbeatReply { .. })
        {
            return false;
        }
        #[cfg(feature = "plant")]
        if self.node.config.plants(Mutation::TermNotRaisedByVote)
            && let Body::Vote { last_index, last_term, .. } = message.body
        {
            if self.node.is_up_to_date(last_index, last_term) {
                self.node.send_after_in(message.term, message.from, Body::VoteReply { granted: true });
            }
            return false;
        }
        match &message.body {
            // Both speak of a term that may never come.
            Body::PreVote { .. } | Body::PreVoteReply { granted: true } => {}
            // A server that was removed, or that was cut off, must not depose a leader that works. Raft
            // thesis, section 4.2.3.
            Body::Vote { transfer: false, .. }
                if self.node.config.check_quorum && self.node.hears_from_leader() =>
            {
                return false;
            }
            Body::Append { .. } | Body::Heartbeat { .. } | Body::InstallSnapshot { .. } => {
                self.become_follower(message.term, Some(message.from));
            }
            Body::PreVoteReply { granted: false }
            | Body::Vote { .. }
            | Body::VoteReply { .. }
            | Body::Appended { .. }
            | Body::AppendRejected { .. }
            | Body::HeartbeatReply { .. }
            | Body::TimeoutNow => self.become_follower(message.term, None),
        }
        true
    }

    /// Tells who is behind about the term, or it could stay so: a leader that was cut off would go on, and a
    /// candidate would wait for votes that cannot come.
    fn answer_stale(&mut self, message: Message) {
        let to = message.from;
        match message.body {
            Body::Append { prev_index, .. } => self.node.send(to, refusal_of(prev_index)),
            Body::InstallSnapshot { meta } => self.node.send(to, refusal_of(meta.index)),
            // Names no round: in the answer's term the receiver may lead again, and its rounds begin anew.
            Body::Heartbeat { round, .. } => {
                let round = if self.answers_stale_rounds() { round } else { 0 };
                self.node.send(to, Body::HeartbeatReply { round });
            }
            Body::PreVote { .. } => self.node.send(to, Body::PreVoteReply { granted: false }),
            Body::Vote { .. } => self.node.send(to, Body::VoteReply { granted: false }),
            Body::PreVoteReply { .. }
            | Body::VoteReply { .. }
            | Body::Appended { .. }
            | Body::AppendRejected { .. }
            | Body::HeartbeatReply { .. }
            | Body::TimeoutNow => {}
        }
    }

    fn answers_stale_rounds(&self) -> bool {
        #[cfg(feature = "plant")]
        if self.node.config.plants(Mutation::StaleRoundConfirmed) {
            return true;
        }
        false
    }

    fn on_current(&mut self, message: Message) -> Result<(), StepError> {
        let Message { from, term, body, to: _ } = message;
        match body {
            Body::PreVote { last_index, last_term } => {
                self.node.on_pre_vote(from, term, last_index, last_term);
            }
            Body::Vote { last_index, last_term, transfer: _ } => {
                self.node.on_vote(from, last_index, last_term);
            }
            Body::PreVoteReply { granted } => self.on_pre_vote_reply(from, term, granted),
            Body::VoteReply { granted } => self.on_vote_reply(from, granted),
            Body::Append { prev_index, prev_term, entries, commit } => {
                self.follow(from)?;
                let request = follower::Append { from, prev_index, prev_term, entries, commit };
                self.node.on_append(request);
            }
            Body::Heartbeat { commit, round } => {
                self.follow(from)?;
                return self.node.on_heartbeat(from, commit, round);
            }
            Body::InstallSnapshot { meta } => {
                self.follow(from)?;
                self.node.on_install(from, meta);
            }
            Body::TimeoutNow => self.on_timeout_now(),
            Body::Appended { matched } => {
                if let Part::Leader(leader) = &mut self.part {
                    return leader.on_appended(&mut self.node, from, matched);
                }
            }
            Body::AppendRejected { prev_index, hint_index, hint_term } => {
                if let Part::Leader(leader) = &mut self.part {
                    leader.on_rejected(&self.node, from, prev_index, hint_index, hint_term);
                }
            }
            Body::HeartbeatReply { round } => {
                if let Part::Leader(leader) = &mut self.part {
                    leader.on_heartbeat_reply(&mut self.node, from, round);
                }
            }
        }
        Ok(())
    }

    /// `from` leads the current term.
    fn follow(&mut self, from: NodeId) -> Result<(), StepError> {
        if let Some(leader) = self.node.leader
            && leader != from
        {
            return Err(StepError::TwoLeaders { term: self.node.term, leader, other: from });
        }
        match &self.part {
            Part::PreCandidate(_) | Part::Candidate(_) => self.become_follower(self.node.term, Some(from)),
            Part::Follower => self.node.leader = Some(from),
            Part::Leader(_) => unreachable!("a leader knows itself as the leader"),
        }
        self.node.election_elapsed = 0;
        Ok(())
    }

    fn on_timeout_now(&mut self) {
        match &self.part {
            Part::Follower if self.node.may_campaign() => self.become_candidate(true),
            Part::Follower | Part::PreCandidate(_) | Part::Candidate(_) | Part::Leader(_) => {}
        }
    }

    // Roles.

    /// Steps down, or moves to a newer term, or both.
    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        if term > self.node.term {
            self.node.enter_term(term);
        }
        self.node.leader = leader;
        match std::mem::replace(&mut self.part, Part::Follower) {
            // Who follows already keeps its timer: only a leader or a vote that was given resets it, lest
            // candidates that cannot win keep others from trying. Raft paper, section 5.2.
            Part::Follower => {}
            Part::PreCandidate(_) | Part::Candidate(_) => self.node.draw_election_timeout(),
            Part::Leader(leader) => {
                self.node.draw_election_timeout();
                leader.resign(&mut self.node.outbox.reads);
            }
        }
    }

    pub(crate) fn become_leader(&mut self) {
        assert!(
            matches!(self.part, Part::Candidate(_)),
            "{} becomes leader, but was no candidate",
            self.role()
        );
        let leader = Leader::elected(&mut self.node);
        self.part = Part::Leader(Box::new(leader));
    }

    /// A leader that is no longer a voter leads until that is committed. Raft thesis, section 4.2.2.
    fn finish_change(&mut self) {
        let Part::Leader(leader) = &mut self.part else { return };
        if self.node.memberships.current_index() > self.node.commit
            || self.node.membership().is_voter(self.node.id())
        {
            return;
        }
        leader.hand_over(&mut self.node);
        self.become_follower(self.node.term, None);
    }

    // What others may know.

    /// This node.
    pub fn id(&self) -> NodeId {
        self.node.id()
    }

    /// The current term.
    pub fn term(&self) -> Term {
        self.node.term
    }

    /// Whom this node voted for in the current term.
    pub fn vote(&self) -> Option<NodeId> {
        self.node.vote
    }

    /// This node's role.
    pub fn role(&self) -> Role {
        match &self.part {
            Part::Follower => Role::Follower,
            Part::PreCandidate(_) => Role::PreCandidate,
            Part::Candidate(_) => Role::Candidate,
            Part::Leader(_) => Role::Leader,
        }
    }

    /// Leader of the current term, where known.
    pub fn leader(&self) -> Option<NodeId> {
        self.node.leader
    }

    /// Last entry that is known to be committed.
    pub fn commit(&self) -> LogIndex {
        self.node.commit
    }

    /// First entry held, or the one to come in an empty log.
    pub fn first_index(&self) -> LogIndex {
        self.node.log.first_index()
    }

    /// Last entry of the log.
    pub fn last_index(&self) -> LogIndex {
        self.node.log.last_index()
    }

    /// The log up to here is known to be durable.
    pub fn persisted(&self) -> LogIndex {
        self.node.disk.persisted()
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.node.log
    }

    /// The membership in force, committed or not.
    pub fn membership(&self) -> &Membership {
        self.node.membership()
    }

    /// The newest state image.
    pub fn snapshot(&self) -> &SnapshotMeta {
        &self.node.snapshot
    }

    /// The parameters.
    pub fn config(&self) -> &Config {
        &self.node.config
    }

    /// Whether leadership is being handed over, and to whom.
    pub fn transferring_to(&self) -> Option<NodeId> {
        match &self.part {
            Part::Leader(leader) => leader.transferring_to(),
            Part::Follower | Part::PreCandidate(_) | Part::Candidate(_) => None,
        }
    }

    /// What a leader knows of each of its peers, in order of their ids; nothing on other roles.
    pub fn progress(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        let leader = match &self.part {
            Part::Leader(leader) => Some(leader),
            Part::Follower | Part::PreCandidate(_) | Part::Candidate(_) => None,
        };
        leader.into_iter().flat_map(|leader| leader.progress())
    }
}

fn refusal_of(prev_index: LogIndex) -> Body {
    Body::AppendRejected { prev_index, hint_index: LogIndex::ZERO, hint_term: Term::ZERO }
}
