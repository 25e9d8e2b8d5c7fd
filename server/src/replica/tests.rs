//! Replicas without a shell: every message is delivered, dropped or held by the test.

use super::*;
use crate::{
    error::ApiError,
    proto::{
        etcdserverpb::{LeaseGrantRequest, PutRequest},
        internal::{Command, LeaseExpire, command::Request},
    },
    state_machine::StateMachine,
};
use bytes::Bytes;
use prost::Message as _;
use raft::{
    Durable, Raft, Storage, Write,
    types::{LogIndex, Membership, NodeId, Role},
};
use std::convert::Infallible;

const ELECTION_TICKS: u32 = 10;

/// A disk that keeps nothing: no test here restarts a replica.
struct Nowhere;

impl Storage for Nowhere {
    type Error = Infallible;
    fn save(&mut self, _: &Write) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Member {
    id: NodeId,
    replica: Replica,
    applier: Applier,
    state: StateMachine,
    /// What requests came to, by number.
    outcomes: Vec<(u64, Result<(), ApiError>)>,
}

struct Net {
    members: Vec<Member>,
    wire: Vec<(NodeId, Outgoing)>,
    /// Members that nothing reaches or leaves.
    cut: Vec<NodeId>,
}

impl Net {
    fn new() -> Net {
        let voters = [NodeId(1), NodeId(2), NodeId(3)];
        let membership = Membership { voters: voters.into(), ..Membership::default() };
        let member = |id: NodeId| {
            let durable = Durable::bootstrap(membership.clone());
            let meta = durable.snapshot.clone().unwrap();
            let config = raft::Config { election_ticks: ELECTION_TICKS, ..raft::Config::new(id, 1) };
            let settings = Settings {
                epoch: 100 + id.0,
                leader_wait_ticks: 2 * u64::from(ELECTION_TICKS),
                read_retry_ticks: 5,
                parked_max: 3,
                remember_ticks: 1000,
            };
            Member {
                id,
                replica: Replica::new(Raft::new(config, durable).unwrap(), settings, LogIndex::ZERO),
                applier: Applier::new(id, settings.epoch, meta),
                state: StateMachine::new(),
                outcomes: Vec::new(),
            }
        };
        Net { members: voters.map(member).into(), wire: Vec::new(), cut: Vec::new() }
    }

    /// A net whose first member leads.
    fn led() -> Net {
        let mut net = Net::new();
        while net.member(1).replica.raft().role() != Role::Leader {
            net.step(1, Input::Tick);
            net.settle();
        }
        net
    }

    fn member(&mut self, id: u64) -> &mut Member {
        &mut self.members[id as usize - 1]
    }

    fn step(&mut self, id: u64, input: Input) {
        let _ = self.member(id).replica.step(input);
    }

    fn put(&mut self, id: u64, number: u64) {
        let put = PutRequest { key: "k".into(), value: number.to_string().into(), ..PutRequest::default() };
        self.propose(id, number, Request::Put(put));
    }

    fn propose(&mut self, id: u64, number: u64, request: Request) {
        let epoch = 100 + id;
        let command = Command { origin: id, epoch, number, request: Some(request), ..Command::default() };
        self.step(id, Input::Propose { number, command: command.encode_to_vec().into() });
    }

    fn tick_all(&mut self, ticks: u32) {
        for _ in 0..ticks {
            for id in 1..=3 {
                self.step(id, Input::Tick);
            }
            self.settle();
        }
    }

    /// Takes one turn of each member; what they say goes onto the wire.
    fn turns(&mut self) {
        for member in &mut self.members {
            let Turn { mut ready, outgoing, refused, reads, lost } = member.replica.turn();
            let mut said = std::mem::take(&mut ready.messages);
            let batch = Batch::prepare(std::mem::take(&mut ready.committed));
            let Ok(saved) = ready.save(&mut Nowhere);
            said.extend(saved.messages);
            let raft = said
                .into_iter()
                .map(|message| Outgoing { to: message.to, message: PeerMessage::Raft(message) });
            self.wire.extend(raft.chain(outgoing).map(|outgoing| (member.id, outgoing)));
            let mut answers = Answers::default();
            member.applier.apply(&mut member.state, batch, &mut answers);
            for decided in reads {
                member.applier.wait(decided, &mut answers);
            }
            let answered = |number: &u64| member.outcomes.iter().any(|(other, _)| other == number);
            let lost: Vec<_> = lost
                .into_iter()
                .filter(|number| {
                    !answered(number) && !answers.outcomes.iter().any(|(other, _)| other == number)
                })
                .map(|number| (number, Err(ApiError::NoLeader)))
                .collect();
            member.outcomes.extend(answers.outcomes.into_iter().map(|(n, outcome)| (n, outcome.map(drop))));
            member.outcomes.extend(answers.reads.into_iter().map(|number| (number, Ok(()))));
            member.outcomes.extend(refused.into_iter().map(|(number, why)| (number, Err(why))));
            member.outcomes.extend(lost);
            let _ = member.replica.step(Input::Persisted(saved.mark));
            let _ = member.replica.step(Input::Applied(member.applier.applied()));
        }
    }

    fn deliver(&mut self, (from, outgoing): (NodeId, Outgoing)) {
        if !self.cut.contains(&from) && !self.cut.contains(&outgoing.to) {
            self.step(outgoing.to.0, Input::Receive { from, message: outgoing.message });
        }
    }

    /// Takes turns and delivers until nothing is said any more.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.turns();
            if self.wire.is_empty() {
                return;
            }
            for said in std::mem::take(&mut self.wire) {
                self.deliver(said);
            }
        }
        panic!("never silent: {:?}", self.wire);
    }

    /// Takes what lies on the wire that `pick` picks.
    fn intercept(&mut self, pick: impl Fn(&PeerMessage) -> bool) -> Vec<(NodeId, Outgoing)> {
        let (taken, rest) = self.wire.drain(..).partition(|(_, outgoing)| pick(&outgoing.message));
        self.wire = rest;
        taken
    }

    /// Lets everything happen until reads are answered, and gives the answers, which have not arrived.
    fn until_read_indexed(&mut self) -> Vec<(NodeId, Outgoing)> {
        for _ in 0..20 {
            let answers = self.intercept(is_read_indexed);
            for said in std::mem::take(&mut self.wire) {
                self.deliver(said);
            }
            if !answers.is_empty() {
                return answers;
            }
            self.turns();
        }
        panic!("no read is answered");
    }

    fn outcome(&mut self, id: u64, number: u64) -> Vec<Result<(), ApiError>> {
        let outcomes = self.member(id).outcomes.iter();
        outcomes.filter(|(other, _)| *other == number).map(|(_, outcome)| *outcome).collect()
    }
}

fn is_propose(message: &PeerMessage) -> bool {
    matches!(message, PeerMessage::Propose { .. })
}

fn is_read_indexed(message: &PeerMessage) -> bool {
    matches!(message, PeerMessage::ReadIndexed { .. })
}

#[test]
fn a_followers_proposal_goes_to_the_leader_once_and_is_answered_where_it_was_asked() {
    let mut net = Net::led();
    net.put(2, 7);
    net.turns();
    assert_eq!(net.intercept(is_propose).len(), 1);
    // Lost on the way: it is not sent again, whatever happens.
    net.tick_all(5);
    net.turns();
    assert_eq!(net.intercept(is_propose), []);
    assert_eq!(net.outcome(2, 7), []);

    net.put(3, 8);
    net.settle();
    net.tick_all(2);
    assert_eq!(net.outcome(3, 8), [Ok(())]);
    assert_eq!((net.outcome(1, 8), net.outcome(2, 8)), (vec![], vec![]));
    assert!(net.members.iter().all(|member| member.state.kv().revision() == 2));
}

#[test]
fn a_proposal_that_surely_did_not_go_out_is_tried_again() {
    let mut net = Net::led();
    net.put(2, 7);
    net.turns();
    let (_, back) = net.intercept(is_propose).remove(0);
    net.step(2, Input::Undelivered(back));
    net.tick_all(3);
    assert_eq!(net.outcome(2, 7), [Ok(())]);
    assert_eq!(net.member(1).state.kv().revision(), 2);
}

#[test]
fn a_leader_of_another_term_refuses_what_was_not_meant_for_it() {
    let mut net = Net::led();
    net.put(2, 7);
    net.turns();
    let (from, mut late) = net.intercept(is_propose).remove(0);
    if let PeerMessage::Propose { term, .. } = &mut late.message {
        *term = raft::Term(term.0 - 1);
    }
    net.deliver((from, late));
    net.settle();
    assert_eq!(net.outcome(2, 7), [Err(ApiError::NoLeader)]);
    assert_eq!(net.member(1).state.kv().revision(), 1);
}

#[test]
fn proposals_that_a_change_of_leaders_lost_are_refused_when_that_is_certain() {
    let mut net = Net::led();
    // The old leader appends one of its own and one of a follower, and reaches nobody with them.
    net.put(1, 7);
    net.put(2, 8);
    net.turns();
    let forwarded = net.intercept(is_propose);
    net.wire.clear();
    net.deliver(forwarded.into_iter().next().unwrap());
    net.turns();
    net.wire.clear();
    net.cut = vec![NodeId(1)];
    for _ in 0..10 * ELECTION_TICKS {
        net.step(2, Input::Tick);
        net.step(3, Input::Tick);
        net.settle();
    }
    assert_eq!(net.outcome(2, 8), [Err(ApiError::NoLeader)]);
    assert_eq!(net.outcome(1, 7), [], "the old leader cannot know yet");
    net.put(2, 9);
    net.settle();
    net.cut.clear();
    net.tick_all(3 * ELECTION_TICKS);
    assert_eq!(net.outcome(1, 7), [Err(ApiError::NoLeader)]);
    assert_eq!(net.outcome(2, 9), [Ok(())]);
    assert!(net.members.iter().all(|member| member.state.kv().revision() == 2));
}

#[test]
fn without_a_leader_requests_wait_a_while_and_are_refused_then() {
    let mut net = Net::led();
    net.cut = vec![NodeId(2)];
    while net.member(2).replica.raft().leader().is_some() {
        net.tick_all(1);
    }
    net.put(2, 7);
    net.step(2, Input::Read { number: 8 });
    net.tick_all(2 * ELECTION_TICKS - 1);
    assert_eq!((net.outcome(2, 7), net.outcome(2, 8)), (vec![], vec![]));
    for number in [9, 10, 11] {
        net.put(2, number);
    }
    net.settle();
    assert_eq!(net.outcome(2, 11), [Err(ApiError::TooManyRequests)], "three may wait");
    net.tick_all(3);
    assert_eq!(net.outcome(2, 7), [Err(ApiError::NoLeader)]);
    assert_eq!(net.outcome(2, 8), [Err(ApiError::NoLeader)]);
    // What still waits goes out once there is a leader.
    net.cut.clear();
    net.tick_all(5);
    assert_eq!(net.outcome(2, 9), [Ok(())]);
    assert_eq!(net.member(2).state.kv().revision(), 3);
}

#[test]
fn reads_of_a_turn_share_a_round_and_wait_until_its_index_is_applied() {
    let mut net = Net::led();
    for number in 1..=50 {
        net.step(2, Input::Read { number });
    }
    net.turns();
    let is_read = |message: &PeerMessage| matches!(message, PeerMessage::ReadIndex { .. });
    let mut rounds = net.intercept(is_read);
    assert_eq!(rounds.len(), 1);
    // The leader commits an entry that the follower does not have yet.
    net.cut = vec![NodeId(2)];
    net.put(1, 7);
    net.settle();
    net.cut.clear();
    net.deliver(rounds.remove(0));
    net.turns();
    // The round's heartbeat carries the commit index; the entry itself is sent again later.
    for _ in 0..3 {
        for said in net.intercept(
            |message| !matches!(message, PeerMessage::Raft(m) if matches!(m.body, raft::Body::Append { .. })),
        ) {
            net.deliver(said);
        }
        net.wire.clear();
        net.turns();
    }
    assert_eq!(net.outcome(2, 1), [], "entry {} is not applied", net.member(1).applier.applied());
    net.wire.clear();
    net.tick_all(10);
    for number in 1..=50 {
        assert_eq!(net.outcome(2, number), [Ok(())], "read {number}");
    }
}

#[test]
fn reads_of_all_members_share_the_leaders_next_round() {
    let mut net = Net::led();
    let is_heartbeat = |message: &PeerMessage| matches!(message, PeerMessage::Raft(m) if matches!(m.body, raft::Body::Heartbeat { .. }));
    net.step(1, Input::Read { number: 1 });
    net.turns();
    let first = net.intercept(is_heartbeat);
    assert_eq!(first.len(), 2, "a round of heartbeats");
    // While that is under way everybody asks.
    for id in 1..=3 {
        net.step(id, Input::Read { number: 10 + id });
    }
    net.settle();
    for id in 1..=3 {
        assert_eq!(net.outcome(id, 10 + id), [], "the round began before the read");
    }
    first.into_iter().for_each(|said| net.deliver(said));
    let mut heartbeats = 0;
    for _ in 0..20 {
        net.turns();
        heartbeats += net.wire.iter().filter(|(_, outgoing)| is_heartbeat(&outgoing.message)).count();
        for said in std::mem::take(&mut net.wire) {
            net.deliver(said);
        }
    }
    assert_eq!(heartbeats, 2, "one round for all");
    assert_eq!(net.outcome(1, 1), [Ok(())]);
    for id in 1..=3 {
        assert_eq!(net.outcome(id, 10 + id), [Ok(())], "member {id}");
    }
}

#[test]
fn a_round_that_ends_lets_the_next_begin_at_once() {
    let mut net = Net::led();
    net.step(1, Input::Read { number: 1 });
    net.turns();
    net.step(1, Input::Read { number: 2 });
    for said in std::mem::take(&mut net.wire) {
        net.deliver(said);
    }
    net.turns();
    for said in std::mem::take(&mut net.wire) {
        net.deliver(said);
    }
    net.turns();
    assert_eq!(net.outcome(1, 1), [Ok(())]);
    assert!(net.member(1).replica.has_turn(), "nothing else may wake the leader for a while");
    net.settle();
    assert_eq!(net.outcome(1, 2), [Ok(())]);
}

#[test]
fn a_read_that_comes_while_a_round_is_under_way_is_no_part_of_it() {
    let mut net = Net::led();
    net.step(2, Input::Read { number: 1 });
    net.turns();
    net.step(2, Input::Read { number: 2 });
    for said in net.until_read_indexed() {
        net.deliver(said);
    }
    net.turns();
    assert_eq!(net.outcome(2, 1), [Ok(())]);
    assert_eq!(net.outcome(2, 2), [], "whatever was committed since the round began it must see");
    net.settle();
    assert_eq!(net.outcome(2, 2), [Ok(())]);
}

#[test]
fn who_is_asked_and_does_not_lead_says_so() {
    let mut net = Net::led();
    let tag = Tag { epoch: 5, number: 1 };
    net.step(2, Input::Receive { from: NodeId(3), message: PeerMessage::ReadIndex { tag } });
    net.turns();
    let answers = net.intercept(is_read_indexed);
    let nothing = PeerMessage::ReadIndexed { tag, index: None };
    assert_eq!(answers, [(NodeId(2), Outgoing { to: NodeId(3), message: nothing })]);
}

#[test]
fn an_answer_to_a_round_that_was_given_up_answers_nothing() {
    let mut net = Net::led();
    net.step(2, Input::Read { number: 1 });
    net.turns();
    let late = net.until_read_indexed();
    net.cut = vec![NodeId(1)];
    for _ in 0..7 {
        net.step(2, Input::Tick);
        net.turns();
    }
    for (from, outgoing) in late {
        net.step(outgoing.to.0, Input::Receive { from, message: outgoing.message });
    }
    net.turns();
    assert_eq!(net.outcome(2, 1), [], "the late answer was taken");
    net.wire.clear();
    net.cut.clear();
    net.tick_all(10);
    assert_eq!(net.outcome(2, 1), [Ok(())]);
}

#[test]
fn answers_to_an_earlier_life_are_not_taken() {
    let mut net = Net::led();
    net.step(2, Input::Read { number: 1 });
    net.turns();
    net.wire.clear();
    let stale = Tag { epoch: 99, number: 1 };
    let index = Some(LogIndex::ZERO);
    let from = NodeId(1);
    net.step(2, Input::Receive { from, message: PeerMessage::ReadIndexed { tag: stale, index } });
    net.step(
        2,
        Input::Receive { from, message: PeerMessage::ProposeRefused { tag: stale, refusal: Refusal::Busy } },
    );
    net.turns();
    assert_eq!(net.outcome(2, 1), []);
}

#[test]
fn a_member_that_applies_too_slowly_refuses() {
    let mut net = Net::led();
    for number in 1..=5100 {
        net.put(1, number);
    }
    // Everything is committed, nothing is said to be applied.
    for member in &mut net.members {
        let _ = member.replica.step(Input::Applied(LogIndex::ZERO));
    }
    net.settle();
    for id in [1, 2] {
        net.step(id, Input::Applied(LogIndex::ZERO));
    }
    net.put(1, 6000);
    net.put(2, 6001);
    net.settle();
    assert_eq!(net.outcome(1, 6000), [Err(ApiError::TooManyRequests)]);
    assert_eq!(net.outcome(2, 6001), [Err(ApiError::TooManyRequests)]);
}

#[test]
fn who_led_once_cannot_end_leases() {
    let mut net = Net::led();
    let term = net.member(1).replica.raft().term().0;
    let grant = Request::LeaseGrant(LeaseGrantRequest { id: 7, ttl: 5 });
    net.propose(1, 1, grant);
    net.settle();
    // As if a member that led the term before had found so, and handed it on to who leads now.
    let expire = |term| Request::LeaseExpire(LeaseExpire { term, ids: vec![7] });
    net.propose(2, 2, expire(term - 1));
    net.settle();
    net.tick_all(2);
    assert_eq!(net.outcome(2, 2), [Err(ApiError::NotLeader)]);
    assert!(net.members.iter().all(|member| member.state.leases().contains(7)));
    net.propose(1, 3, expire(term));
    net.settle();
    net.tick_all(2);
    assert_eq!(net.outcome(1, 3), [Ok(())]);
    assert!(net.members.iter().all(|member| member.state.leases().is_empty()));
    assert!(net.members.iter().all(|member| member.state.applied() == net.members[0].state.applied()));
}

#[test]
fn bytes_that_are_no_command_are_passed_over_by_all_alike() {
    let mut net = Net::led();
    let command = Bytes::from_static(b"\xff\xff\xff");
    net.step(1, Input::Propose { number: 1, command });
    net.put(1, 2);
    net.settle();
    net.tick_all(2);
    assert_eq!(net.outcome(1, 2), [Ok(())]);
    assert!(net.members.iter().all(|member| member.state.kv().revision() == 2));
    assert!(net.members.iter().all(|member| member.state.applied() == net.members[0].state.applied()));
}

#[cfg(feature = "plant")]
#[test]
fn these_tests_fail_where_what_they_show_is_broken() {
    use crate::plant::{Plant, choose_for_thread};
    for (plant, test) in [
        (Plant::ReadOfEarlierLife, answers_to_an_earlier_life_are_not_taken as fn()),
        (Plant::ReadJoinsRound, a_read_that_comes_while_a_round_is_under_way_is_no_part_of_it),
        (Plant::ExpiryOfEarlierTerm, who_led_once_cannot_end_leases),
    ] {
        let _chosen = choose_for_thread(Some(plant));
        assert!(std::panic::catch_unwind(test).is_err(), "{plant} is not noticed");
    }
}
