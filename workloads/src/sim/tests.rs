use super::*;

/// A short run of this seed.
fn plan(seed: u64) -> Plan {
    let mut plan = Plan::of(seed);
    plan.safety_us = plan.safety_us.min(6_000_000);
    plan.faults.retain(|fault| fault.at_us < plan.safety_us);
    plan
}

#[test]
fn seeds_hold_and_repeat_exactly() {
    let mut traces = std::collections::BTreeSet::new();
    for seed in 1..=4 {
        let outcome = run(&plan(seed), false);
        assert_eq!(outcome.failure, None, "seed {seed}");
        assert!(outcome.ok > 0, "seed {seed}: no operation succeeded");
        assert_eq!(outcome.trace, run(&plan(seed), true).trace, "seed {seed}");
        traces.insert(outcome.trace);
    }
    assert_eq!(traces.len(), 4, "every seed is another run");
}

/// The canary: what must be found.
#[cfg(feature = "plant")]
#[test]
fn a_leader_that_acknowledges_too_early_is_found() {
    let found = (1..=30).find_map(|seed| {
        let mut plan = Plan::of(seed);
        plan.core.mutation = Some(raft::Mutation::AckBeforeCommit);
        run(&plan, false).failure
    });
    assert!(found.is_some(), "thirty seeds, and nothing");
}

/// A member that was removed in the last microsecond of the safety phase was once expected to serve.
#[test]
fn who_is_removed_at_the_last_moment_need_not_serve_any_more() {
    let leaves_last = |plan: &Plan| {
        let last =
            |fault: &Fault| fault.at_us + 1 == plan.safety_us && matches!(fault.kind, FaultKind::Leave(_));
        plan.faults.iter().any(last)
    };
    for plan in (1..).map(Plan::of).filter(leaves_last).take(3) {
        assert_eq!(run(&plan, false).failure, None, "{plan}");
    }
}
