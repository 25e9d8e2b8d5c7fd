//! Members that apply the same entries hold the same state, and every entry is applied once.

use super::{advance, apply, attributes, chunks, command, compaction, state, to_command};
use crate::{
    error::ApiError,
    mvcc::{
        Scrub,
        tests::{
            properties::config,
            random::steps,
            requests::{delete, get, put, txn, yes},
        },
    },
    proto::{
        etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest, ResponseHeader},
        internal::{Command, LeaseExpire, MemberAdd, command::Request},
    },
    state_machine::{Response, StateMachine},
};
use proptest::prelude::*;
use prost::Message as _;
use raft::types::{LogIndex, NodeId};

#[test]
fn every_command_has_its_answer() {
    let mut state = StateMachine::new();
    let revision = |header: Option<ResponseHeader>| header.expect("a header").revision;
    for (request, want) in [
        (Request::Put(put("a", "1")), Ok(("put", 2))),
        (Request::Put(put("", "1")), Err(ApiError::EmptyKey)),
        (Request::DeleteRange(delete("a")), Ok(("delete", 3))),
        (Request::Txn(txn(yes(), vec![put("b", "1").into()], vec![])), Ok(("txn", 4))),
        (Request::LeaseGrant(LeaseGrantRequest { id: 7, ttl: 5 }), Ok(("grant", 4))),
        (Request::LeaseGrant(LeaseGrantRequest { id: 7, ttl: 5 }), Err(ApiError::LeaseExists)),
        (Request::LeaseRevoke(LeaseRevokeRequest { id: 7 }), Ok(("revoke", 4))),
        (Request::LeaseRevoke(LeaseRevokeRequest { id: 7 }), Err(ApiError::LeaseNotFound)),
        (Request::LeaseExpire(LeaseExpire { term: 1, ids: vec![7, 8] }), Ok(("expire", 0))),
    ] {
        let outcome = apply(&mut state, &command(request.clone()));
        let answer = outcome.map(|response| match response {
            Response::Put(response) => ("put", revision(response.header)),
            Response::DeleteRange(response) => ("delete", revision(response.header)),
            Response::Txn(response) => ("txn", revision(response.header)),
            Response::Compaction(response) => ("compaction", revision(response.header)),
            Response::LeaseGrant(answer) => ("grant", revision(answer.header)),
            Response::LeaseRevoke(answer) => ("revoke", revision(answer.header)),
            Response::LeaseExpire => ("expire", 0),
            Response::Members | Response::Alarm(_) | Response::Downgrade | Response::Auth { .. } => {
                ("cluster", 0)
            }
        });
        assert_eq!(answer, want, "{request:?}");
    }
    let compacted = apply(&mut state, &compaction(3)).expect("a readable revision");
    assert!(matches!(compacted, Response::Compaction(_)), "{compacted:?}");
    assert_eq!(apply(&mut state, &compaction(3)), Err(ApiError::Compacted));
    assert_eq!(apply(&mut state, &compaction(9)), Err(ApiError::FutureRevision));
    let add = MemberAdd { member_id: 5, peer_urls: vec!["http://n5:1".into()], is_learner: false };
    assert_eq!(apply(&mut state, &command(Request::MemberAdd(add.clone()))), Ok(Response::Members));
    assert_eq!(apply(&mut state, &command(Request::MemberAdd(add))), Err(ApiError::MemberExists));
    let name = |state: &StateMachine| state.roster().members[&NodeId(5)].name.clone();
    for told in ["n5", "new"] {
        let version = state.roster_version();
        assert_eq!(apply(&mut state, &attributes(5, told)), Ok(Response::Members));
        assert_eq!(name(&state), told, "the newest word counts");
        assert_ne!(state.roster_version(), version);
    }
    assert_eq!(apply(&mut state, &Command::default()), Err(ApiError::KeyNotFound), "no request");
    assert_eq!((state.applied(), state.kv().revision()), (LogIndex(17), 4));
    state.note_applied(LogIndex(18));
    assert_eq!((state.applied(), state.kv().revision()), (LogIndex(18), 4));
}

#[test]
#[should_panic(expected = "entry 2 follows 2 in the state")]
fn an_entry_is_not_applied_twice() {
    let mut state = StateMachine::new();
    state.note_applied(LogIndex(1));
    state.note_applied(LogIndex(2));
    let _ = state.apply(LogIndex(2), &attributes(1, "n1"));
}

#[test]
#[should_panic(expected = "entry 3 follows 1 in the state")]
fn an_entry_is_not_left_out() {
    let mut state = StateMachine::new();
    state.note_applied(LogIndex(1));
    state.note_applied(LogIndex(3));
}

#[test]
fn physical_compaction_is_done_once_the_scrub_is() {
    let mut state = StateMachine::new();
    for value in ["1", "2", "3"] {
        apply(&mut state, &command(Request::Put(put("a", value)))).expect("a put");
    }
    assert!(state.kv().compaction_done(), "there was none");
    let held = state.kv().size_bytes();
    apply(&mut state, &compaction(4)).expect("a readable revision");
    assert!(!state.kv().compaction_done());
    assert_eq!(state.kv().range(&get("a")).map(|response| response.count), Ok(1));
    assert!(state.kv().size_in_use_bytes() < held, "superseded versions are not in use at once");
    assert_eq!(state.kv().size_bytes(), held, "and are freed later");
    let image = state.begin_image();
    assert_eq!(state.scrub(100), Scrub::Pinned, "an image needs everything that it began with");
    state.end_image(image);
    assert_eq!(state.scrub(1), Scrub::More);
    while state.scrub(1) == Scrub::More {}
    assert!(state.kv().compaction_done());
    assert_eq!(state.kv().size_bytes(), state.kv().size_in_use_bytes());
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn members_agree(steps in steps(50), budget in 1_usize..5) {
        let (mut one, mut two) = (state(), state());
        for step in &steps {
            let Some(command) = to_command(&one, step) else { continue };
            // As the log carries it.
            let decoded = Command::decode(&*command.encode_to_vec()).expect("it was encoded here");
            prop_assert_eq!(apply(&mut one, &command), apply(&mut two, &decoded));
            two.scrub(budget);
        }
        prop_assert_eq!(one.kv().hash(), two.kv().hash());
        prop_assert_eq!(one.kv().hash_kv(0), two.kv().hash_kv(0));
        prop_assert_eq!(chunks(&one, 100), chunks(&two, 100));
        advance(&mut one, &crate::mvcc::tests::random::Step::Put(put("a", "another")));
        prop_assert_ne!(one.kv().hash(), two.kv().hash());
    }
}
