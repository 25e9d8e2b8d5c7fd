use super::*;
use stateright::{Checker, Model};

fn search(bounds: Bounds, symmetry: bool) -> Report {
    let search =
        Search { bounds, symmetry, threads: 2, states_max: Some(1_000_000), ..Search::of(Named::Smoke) };
    search.run(|_| {})
}

/// Small enough for stateright, with a crash and a slow disk.
fn small() -> Bounds {
    let smoke = Named::Smoke.bounds();
    Bounds { nodes: 2, terms: 2, crashes: 1, slow_disk: true, puts: 1, reads: 1, ..smoke }
}

#[test]
fn stateright_and_the_own_search_count_the_same_states() {
    let counts = [small(), Bounds { unheard: false, late: false, ..small() }].map(counted);
    assert!(counts[1] * 2 < counts[0], "{counts:?}: what standard leaves out is worth leaving out");
}

fn counted(bounds: Bounds) -> usize {
    let checker =
        RaftModel { bounds: bounds.clone() }.checker().target_state_count(3_000_000).spawn_bfs().join();
    checker.assert_properties();
    let own = search(bounds.clone(), false);
    assert_eq!(own.end, End::Exhausted, "{own:?}");
    assert_eq!(own.progress.distinct, checker.unique_state_count());
    let deep =
        Search { bounds: bounds.clone(), symmetry: false, depth_first: true, ..Search::of(Named::Smoke) };
    assert_eq!(deep.run(|_| {}).progress.distinct, own.progress.distinct);
    let mirrored = search(bounds, true);
    let (less, all) = (mirrored.progress.distinct, own.progress.distinct);
    assert!(less < all * 6 / 10, "{less} of {all} states: two nodes have two names");
    assert!(own.sometimes.iter().all(|(_, seen)| *seen), "{:?}", own.sometimes);
    all
}

#[test]
fn walks_go_where_they_are_told() {
    let walks = Walks {
        bounds: Named::Deep.bounds(),
        seed: 7,
        steps_max: 60,
        walks_max: 300,
        time_max: None,
        threads: 1,
    };
    let (one, two) = (walks.run(), Walks { threads: 2, ..walks.clone() }.run());
    assert_eq!((one.walks, one.steps), (two.walks, two.steps));
    assert!(one.counterexample.is_none(), "{:?}", one.counterexample);
}

/// A script's commands are the actions that it was written from.
#[test]
fn scripts_are_read_back() {
    let bounds = small();
    let walks =
        Walks { bounds: bounds.clone(), seed: 1, steps_max: 1, walks_max: 1, time_max: None, threads: 1 };
    assert!(walks.run().counterexample.is_none());
    let text = "# why\ncluster nodes=3 pre_vote=false check_quorum=false\nhold 1 sync=true\nhold 2 sync=true\nhold 3 sync=true\ncampaign 1\n\
                persist 1 1\nreceive 1 2 1\n---\nn1 is candidate\n\npersist 2 1\nreceive 2 1 1\npersist 1 1\npropose 1 7\n";
    let script = Script::parse(text).unwrap();
    let actions: Vec<Action> = script.play().0.into_iter().map(|(action, _)| action).collect();
    let shown: Vec<String> = actions.iter().map(ToString::to_string).collect();
    assert_eq!(actions.len(), 7, "{shown:#?}");
    let broken = Broken::Linearizability;
    let bounds = Bounds { nodes: 3, crashes: 1, slow_disk: true, ..bounds };
    let again = Script::write(&bounds, &Counterexample { actions: actions.clone(), broken });
    let back: Vec<Action> =
        Script::parse(&again).unwrap().play().0.into_iter().map(|(action, _)| action).collect();
    assert_eq!(back, actions, "{again}");
    for (bad, why) in [
        ("campaign 1", "begins with"),
        ("cluster nodes=9", "9 nodes"),
        ("cluster nodes=3\nfly 1", "`fly`"),
        ("cluster nodes=3\ncampaign 4", "no node 4"),
    ] {
        let error = Script::parse(bad).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[cfg(feature = "plant")]
mod plants {
    use super::*;
    use raft::Mutation;

    fn walk(named: Named, mutation: Mutation) -> Option<(Bounds, Counterexample)> {
        let mut bounds = named.bounds();
        bounds.mutation = Some(mutation);
        let walks = Walks {
            bounds: bounds.clone(),
            seed: 1,
            steps_max: 120,
            walks_max: 200_000,
            time_max: None,
            threads: 2,
        };
        walks.run().counterexample.map(|(_, found)| (bounds.clone(), shrink(&bounds, &found)))
    }

    #[test]
    fn walks_find_the_classic_mistakes_and_their_scripts_break_again() {
        for (named, mutation) in [
            (Named::Churn, Mutation::CommitsOldTerm),
            (Named::Deep, Mutation::VoteNotPersisted),
            (Named::Deep, Mutation::TornTailAccepted),
            (Named::Deep, Mutation::AckBeforeDurable),
        ] {
            let (bounds, found) = walk(named, mutation).unwrap_or_else(|| panic!("{mutation} is not found"));
            breaks_again(mutation, &bounds, &found);
        }
    }

    fn breaks_again(mutation: Mutation, bounds: &Bounds, found: &Counterexample) {
        let text = Script::write(bounds, found);
        let mut script = Script::parse(&text).unwrap_or_else(|error| panic!("{mutation}: {error}\n{text}"));
        script.bounds.mutation = Some(mutation);
        let broken = script.play().0.pop().and_then(|(_, replayed)| replayed.broken);
        assert_eq!(broken.map(|broken| broken.name()), Some(found.broken.name()), "{mutation}:\n{text}");
    }

    /// What nobody has heard of does not wait for the disk there, and still none of these gets away.
    #[test]
    fn the_standard_search_finds_what_a_crash_shows() {
        for mutation in [Mutation::VoteNotPersisted, Mutation::AckBeforeDurable, Mutation::TornTailAccepted] {
            let bounds = Bounds { mutation: Some(mutation), ..Named::Standard.bounds() };
            let search = Search {
                bounds: bounds.clone(),
                states_max: Some(20_000_000),
                ..Search::of(Named::Standard)
            };
            let report = search.run(|_| {});
            let found = report.counterexample.unwrap_or_else(|| panic!("{mutation}: {:?}", report.end));
            breaks_again(mutation, &bounds, &found);
        }
    }
}

/// Counterexamples that searches found with a planted mistake, each in a file with its name, among the core's golden
/// scripts.
fn counterexamples() -> Vec<(String, Script)> {
    let dir =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/raft/tests/scripts/counterexamples");
    let files = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut found: Vec<(String, Script)> = files
        .map(|file| {
            let path = file.expect("it can be listed").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_string();
            let text = std::fs::read_to_string(&path).expect("it can be read");
            (name, Script::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert!(found.len() >= 6, "{} counterexamples", found.len());
    found
}

#[test]
fn stored_counterexamples_break_nothing_in_the_real_core() {
    for (name, script) in counterexamples() {
        let (done, _) = script.play();
        let broken = done.into_iter().find_map(|(_, replayed)| replayed.broken);
        assert_eq!(broken, None, "{name}");
    }
}

#[cfg(feature = "plant")]
#[test]
fn stored_counterexamples_break_a_promise_where_their_mistake_is_planted() {
    for (name, mut script) in counterexamples() {
        script.bounds.mutation = Some(name.parse().expect("the name of a mutation"));
        let (done, _) = script.play();
        assert!(done.last().is_some_and(|(_, replayed)| replayed.broken.is_some()), "{name}");
    }
}
