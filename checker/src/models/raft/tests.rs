use super::*;
use stateright::{Checker, Model};

/// A bounded look; the exhaustive runs take minutes.
#[test]
fn the_first_states_of_the_smoke_model_hold() {
    let model = RaftModel { bounds: Bounds::smoke() };
    let checker = model.checker().target_state_count(30_000).spawn_bfs().join();
    assert!(checker.unique_state_count() > 1_000, "the model has states");
    checker.assert_no_discovery("election safety");
    checker.assert_no_discovery("log matching");
    checker.assert_no_discovery("leader completeness");
    checker.assert_no_discovery("state machine safety");
    checker.assert_no_discovery("durable before sent");
    checker.assert_no_discovery("restart");
    checker.assert_no_discovery("invariants of the core");
    checker.assert_no_discovery("linearizability");
}
