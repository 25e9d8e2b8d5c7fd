//! What peers, disks and configurations can get wrong is an error, never a panic.

use bytes::Bytes;
use raft::{
    Body, Config, ConfigError, Durable, DurableError, Entry, HardState, Input, LogIndex, Membership, Message,
    NodeId, Payload, Raft, SnapshotMeta, StartError, StepError, Term,
};

const ME: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);
const HUGE: u64 = u64::MAX;

fn entry(index: u64, term: u64) -> Entry {
    Entry { index: LogIndex(index), term: Term(term), payload: Payload::Command(Bytes::from_static(b"x")) }
}

fn meta(index: u64, term: u64) -> SnapshotMeta {
    let membership = Membership::of_voters([ME, PEER, NodeId(3)]);
    SnapshotMeta { index: LogIndex(index), term: Term(term), membership }
}

/// A follower in term 5 with three entries of terms 1, 1 and 4, the first of which is committed.
fn durable() -> Durable {
    Durable {
        hard_state: HardState { term: Term(5), vote: None, commit: LogIndex(1) },
        snapshot: Some(meta(0, 0)),
        entries: vec![entry(1, 1), entry(2, 1), entry(3, 4)],
    }
}

fn raft() -> Raft {
    Raft::new(Config::new(ME, 7), durable()).expect("it is valid")
}

fn from_peer(term: u64, body: Body) -> Message {
    Message { from: PEER, to: ME, term: Term(term), body }
}

fn append(prev_index: u64, prev_term: u64, entries: Vec<Entry>) -> Body {
    Body::Append {
        prev_index: LogIndex(prev_index),
        prev_term: Term(prev_term),
        entries,
        commit: LogIndex(0),
    }
}

fn vote(last_index: u64, last_term: u64) -> Body {
    Body::Vote { last_index: LogIndex(last_index), last_term: Term(last_term), transfer: false }
}

#[test]
fn malformed_messages_are_dropped() {
    let no_voters = SnapshotMeta { membership: Membership::default(), ..meta(9, 4) };
    for (message, why) in [
        (Message { to: NodeId(3), ..from_peer(5, Body::TimeoutNow) }, "for another node"),
        (Message { from: ME, ..from_peer(5, Body::TimeoutNow) }, "from itself"),
        (Message { from: NodeId(0), ..from_peer(5, Body::TimeoutNow) }, "from nobody"),
        (from_peer(5, append(3, 4, vec![entry(5, 5)])), "a gap before the entries"),
        (from_peer(5, append(3, 4, vec![entry(4, 5), entry(6, 5)])), "a gap within the entries"),
        (from_peer(5, append(3, 4, vec![entry(4, 3)])), "terms fall from the entry before"),
        (from_peer(5, append(3, 4, vec![entry(4, 5), entry(5, 4)])), "terms fall within"),
        (from_peer(5, append(3, 4, vec![entry(4, 6)])), "an entry of a term to come"),
        (from_peer(5, append(HUGE, 4, vec![entry(0, 5)])), "indexes wrap around"),
        (from_peer(5, append(HUGE, 4, vec![])), "an index out of bounds"),
        (from_peer(HUGE, Body::TimeoutNow), "a term out of bounds"),
        (from_peer(6, vote(9, 6)), "a candidate's log cannot be of its own term"),
        (from_peer(6, vote(HUGE, 5)), "a candidate's log out of bounds"),
        (from_peer(5, Body::InstallSnapshot { meta: meta(9, 6) }), "an image of a term to come"),
        (from_peer(5, Body::InstallSnapshot { meta: no_voters }), "an image without voters"),
        (
            from_peer(
                5,
                Body::AppendRejected { prev_index: LogIndex(3), hint_index: LogIndex(4), hint_term: Term(1) },
            ),
            "a hint after what was rejected",
        ),
    ] {
        let mut raft = raft();
        let before = raft.clone();
        let result = raft.step(Input::Receive(message));
        assert!(matches!(result, Err(StepError::Malformed { .. })), "{why}: {result:?}");
        assert_eq!(raft, before, "{why}: the node changed");
    }
}

#[test]
fn a_second_leader_of_a_term_is_not_followed() {
    let mut raft = raft();
    let heartbeat = Body::Heartbeat { commit: LogIndex(0), round: 0 };
    raft.step(Input::Receive(from_peer(6, heartbeat.clone()))).expect("it leads term 6");
    let other = NodeId(3);
    let result = raft.step(Input::Receive(Message { from: other, ..from_peer(6, heartbeat) }));
    assert_eq!(result, Err(StepError::TwoLeaders { term: Term(6), leader: PEER, other }));
    assert_eq!(raft.leader(), Some(PEER));
}

#[test]
fn a_lost_log_is_noticed() {
    let mut raft = raft();
    let heartbeat = Body::Heartbeat { commit: LogIndex(9), round: 0 };
    let result = raft.step(Input::Receive(from_peer(6, heartbeat)));
    assert_eq!(result, Err(StepError::LogLost { commit: LogIndex(9), last: LogIndex(3) }));
    assert_eq!(raft.commit(), LogIndex(1), "a commit index that cannot be checked is not taken");
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_counts_for_nothing() {
    let membership = Membership::of_voters([ME, PEER]);
    let mut raft = Raft::new(Config::new(ME, 7), Durable::bootstrap(membership)).expect("it is valid");
    raft.step(Input::Campaign).expect("it is a voter");
    let granted = Body::PreVoteReply { granted: true };
    raft.step(Input::Receive(from_peer(1, granted))).expect("it is well-formed");
    let mark = raft.ready().mark();
    raft.step(Input::Persisted(mark)).expect("the mark is its own");
    raft.step(Input::Receive(from_peer(1, Body::VoteReply { granted: true }))).expect("it is well-formed");
    assert_eq!(raft.role(), raft::Role::Leader);
    let result = raft.step(Input::Receive(from_peer(1, Body::Appended { matched: LogIndex(5) })));
    assert!(matches!(result, Err(StepError::Malformed { from: PEER, .. })), "{result:?}");
    assert_eq!(raft.commit(), LogIndex::ZERO);
}

#[test]
fn marks_of_another_start_are_refused() {
    let mut writer = raft();
    writer.step(Input::Campaign).expect("it is a voter");
    let granted = Body::PreVoteReply { granted: true };
    writer.step(Input::Receive(from_peer(6, granted))).expect("it is well-formed");
    let mark = writer.ready().mark();
    assert_eq!(raft().step(Input::Persisted(mark)), Err(StepError::UnknownMark));
}

#[test]
fn damaged_disks_are_refused() {
    let with = |change: fn(&mut Durable)| {
        let mut durable = durable();
        change(&mut durable);
        Raft::new(Config::new(ME, 7), durable).map(|_| ()).map_err(|error| match error {
            StartError::Durable(error) => error,
            StartError::Config(errors) => panic!("the configuration is valid: {errors:?}"),
        })
    };
    assert_eq!(with(|_| {}), Ok(()));
    assert_eq!(
        with(|disk| drop(disk.entries.remove(0))),
        Err(DurableError::Gap { snapshot: LogIndex(0), first: LogIndex(2) })
    );
    assert_eq!(with(|disk| drop(disk.entries.remove(1))), Err(DurableError::Disorder { index: LogIndex(3) }));
    assert_eq!(
        with(|disk| disk.entries[2].term = Term(0)),
        Err(DurableError::Disorder { index: LogIndex(3) })
    );
    assert_eq!(
        with(|disk| disk.entries[0] = entry(0, 1)),
        Err(DurableError::Disorder { index: LogIndex(0) })
    );
    assert_eq!(
        with(|disk| disk.hard_state.commit = LogIndex(4)),
        Err(DurableError::CommitLost { commit: LogIndex(4), last: LogIndex(3) })
    );
    assert_eq!(
        with(|disk| disk.hard_state.term = Term(3)),
        Err(DurableError::TermLost { term: Term(3), last_term: Term(4) })
    );
}

/// A crash between storing an image and writing that it replaces the log leaves both.
#[test]
fn an_image_goes_before_the_log() {
    for (image, first, last, term, why) in [
        (meta(2, 1), 2, 3, 5, "the log stays, but for its first entry, which becomes the base"),
        (meta(3, 4), 2, 3, 5, "also where it ends with the image"),
        (meta(0, 0), 1, 3, 5, "nothing is lost where the image ends right before the log"),
        (meta(3, 5), 4, 3, 5, "a log that contradicts the image goes"),
        (meta(9, 5), 10, 9, 5, "a log that ends before the image goes"),
        (meta(9, 8), 10, 9, 8, "the image may be of a newer term than was written"),
    ] {
        let durable = Durable { snapshot: Some(image.clone()), ..durable() };
        let raft = Raft::new(Config::new(ME, 7), durable).expect(why);
        let found = (raft.first_index().0, raft.last_index().0, raft.term().0);
        assert_eq!(found, (first, last, term), "{why}");
        assert!(raft.commit() >= image.index, "{why}: what the image holds is committed");
    }
}

#[test]
fn configurations_are_judged_whole() {
    let config = Config {
        election_ticks: 3,
        heartbeat_ticks: 3,
        max_append_bytes: 0,
        max_inflight: 0,
        max_uncommitted_bytes: 0,
        ..Config::new(NodeId(0), 7)
    };
    let zero = |name| ConfigError::Zero { name };
    let errors = vec![
        ConfigError::IdZero,
        ConfigError::Ticks { election: 3, heartbeat: 3 },
        zero("max_append_bytes"),
        zero("max_inflight"),
        zero("max_uncommitted_bytes"),
    ];
    assert_eq!(Raft::new(config, durable()), Err(StartError::Config(errors)));
    let never = Config { heartbeat_ticks: 0, ..Config::new(ME, 7) };
    assert_eq!(never.validate(), Err(vec![ConfigError::Ticks { election: 10, heartbeat: 0 }]));
    assert_eq!(Config::new(ME, 7).validate(), Ok(()));
}
