//! Locks, elections, leases and liveness: what looks wrong and is not, and what is wrong and does not show at once.

use checker::AnomalyKind as Kind;
use checker::history::event::{Event, OpError, What};
use serde_json::{Value, json};

use crate::script::Script;

/// Events at given seconds.
struct Timed(Script);

impl Timed {
    /// A fault from 1 s to 2 s.
    fn after_a_fault(scenario: &str) -> Timed {
        let mut timed = Timed(Script::new(scenario));
        timed.fault(1, 2);
        timed
    }

    fn fault(&mut self, from_s: u64, to_s: u64) {
        let (f, fault) = ("kill".to_owned(), from_s);
        self.at(from_s, What::NemesisStart { f: f.clone(), fault, value: Value::Null, proof: json!("gone") });
        self.at(to_s, What::NemesisEnd { f, fault, proof: json!("back") });
    }

    fn at(&mut self, t_s: u64, what: What) -> &mut Timed {
        let i = self.0.events.len() as u64;
        self.0.events.push(Event { i, t: t_s * 1_000_000_000, what });
        self
    }

    fn invoke(&mut self, t_s: u64, p: u64, f: &str, value: Value) -> &mut Timed {
        self.at(t_s, What::Invoke { p, node: None, f: f.to_owned(), key: Some("k".to_owned()), value })
    }

    fn ok(&mut self, t_s: u64, p: u64, f: &str, value: Value) -> &mut Timed {
        self.at(t_s, What::Ok { p, f: f.to_owned(), key: Some("k".to_owned()), value, rev: None })
    }

    fn fail(&mut self, t_s: u64, p: u64, f: &str, kind: &str) -> &mut Timed {
        let error = OpError { kind: kind.to_owned(), text: String::new() };
        self.at(t_s, What::Fail { p, f: f.to_owned(), key: Some("k".to_owned()), error })
    }

    fn read(&mut self, t_s: u64) -> &mut Timed {
        self.invoke(t_s, 0, "read", Value::Null).ok(t_s, 0, "read", Value::Null)
    }
}

#[test]
fn a_store_that_answers_once_and_then_never_again_has_not_recovered() {
    let mut timed = Timed::after_a_fault("register");
    timed.read(3);
    for second in 4..50 {
        timed.invoke(second, 0, "read", Value::Null).fail(second, 0, "read", "deadline");
    }
    let text = timed.0.assert_finds(Kind::NoRecovery);
    assert!(text.contains("after 3.000000 s nothing succeeded for 30000 ms, though 46 operations"), "{text}");
}

#[test]
fn a_pause_in_which_nobody_asks_is_no_silence() {
    let mut timed = Timed::after_a_fault("register");
    // The only one that fails was asked for right after the fault; then the load is over.
    timed.invoke(2, 0, "read", Value::Null).fail(5, 0, "read", "deadline");
    timed.read(40).0.assert_valid();
    let mut asked = Timed::after_a_fault("register");
    asked.invoke(2, 0, "read", Value::Null).fail(5, 0, "read", "deadline");
    asked.invoke(20, 0, "read", Value::Null).fail(25, 0, "read", "deadline");
    asked.read(40).0.assert_finds(Kind::NoRecovery);
}

#[test]
fn a_fault_that_follows_ends_the_time_to_answer_in() {
    let mut timed = Timed::after_a_fault("register");
    for second in 3..20 {
        timed.invoke(second, 0, "read", Value::Null).fail(second, 0, "read", "deadline");
    }
    timed.fault(20, 70);
    timed.read(75).0.assert_valid();
}

#[test]
fn an_operation_that_the_store_refuses_was_answered() {
    let mut timed = Timed::after_a_fault("set");
    for second in 3..40 {
        timed.invoke(second, 0, "add", json!(second)).fail(second, 0, "add", "contention");
    }
    timed.invoke(41, 0, "read", Value::Null).ok(41, 0, "read", json!([]));
    timed.0.assert_valid();
}

#[test]
fn a_long_life_is_no_silence() {
    let life = json!({"ttl_s": 2, "renewed_ns": 35_000_000_000_u64, "renewals": 9, "gone_ns": 38_000_000_000_u64,
        "gone": [["a", 9]]});
    let mut timed = Timed::after_a_fault("lease");
    timed.invoke(3, 0, "lease", json!({})).ok(39, 0, "lease", life);
    timed.0.assert_valid();
    let mut failed = Timed::after_a_fault("lease");
    failed.invoke(3, 0, "lease", json!({})).fail(20, 0, "lease", "deadline");
    failed.invoke(39, 0, "lease", json!({})).fail(40, 0, "lease", "deadline");
    failed.0.assert_finds(Kind::NoRecovery);
}

#[test]
fn keys_outlive_their_lease_only_where_no_fault_explains_it() {
    let life = |ttl_s: i64| {
        json!({"ttl_s": ttl_s, "renewed_ns": 1_000_000_000_u64, "renewals": 1, "gone": [["a", 9]],
            "gone_ns": (1 + ttl_s as u64) * 1_000_000_000})
    };
    let left = json!({"waited_ms": 16_000, "ttl_s_max": 4, "keys": ["c"]});
    let history = |ttl_s: i64, fault: bool| {
        let mut timed = Timed::after_a_fault("lease");
        timed.invoke(3, 0, "lease", json!({})).ok(9, 0, "lease", life(ttl_s));
        timed.invoke(20, 1, "read", Value::Null);
        if fault {
            timed.fault(22, 30);
        }
        timed.ok(36, 1, "read", left.clone());
        timed
    };
    history(4, false).0.assert_finds(Kind::LeaseOutlived);
    // A leader that comes to office gives a lease its whole TTL again.
    history(4, true).0.assert_valid();
    // The store granted more than was asked for.
    history(8, false).0.assert_valid();
}

fn leader(term: i64, leader: i64) -> Value {
    json!({"term": term, "leader": leader})
}

#[test]
fn only_a_candidate_that_did_not_lose_leads_and_wins_one_term() {
    let good = || {
        let mut script = Script::new("election");
        script.did(0, "campaign", "e", json!(7), leader(5, 7), 0);
        // 8 finds 7 leading; nobody knows what became of 9.
        script.did(1, "campaign", "e", json!(8), leader(5, 7), 0);
        script.invoke(2, "campaign", "e", json!(9)).info(2);
        script.did(0, "observe", "e", Value::Null, leader(11, 9), 0);
        script
    };
    good().assert_valid();
    let text = good().did(0, "observe", "e", Value::Null, leader(15, 4), 0).assert_finds(Kind::PhantomValue);
    assert!(text.contains("saw 4 lead e, who had not"), "{text}");
    // It campaigned only after that.
    let mut later = good();
    later.did(0, "observe", "e", Value::Null, leader(15, 4), 0).did(
        1,
        "campaign",
        "e",
        json!(4),
        leader(15, 4),
        0,
    );
    later.assert_finds(Kind::PhantomValue);
    let text =
        good().did(0, "observe", "e", Value::Null, leader(15, 8), 0).assert_finds(Kind::FailedOpObserved);
    assert!(text.contains("saw 8 lead e, whose campaign #1"), "{text}");
    let mut failed = good();
    failed.invoke(3, "campaign", "e", json!(10)).fail(3);
    failed.did(0, "observe", "e", Value::Null, leader(15, 10), 0).assert_finds(Kind::FailedOpObserved);
    let text = good().did(0, "observe", "e", Value::Null, leader(15, 9), 0).assert_finds(Kind::AppliedTwice);
    assert!(text.contains("won 11, as seen by #3") && text.contains("and 15, as seen by #4"), "{text}");
    Script::new("election")
        .did(0, "campaign", "e", json!("x"), leader(5, 7), 0)
        .assert_unknown("a whole number");
}

#[test]
fn a_list_under_a_lock_holds_what_was_added_at_revisions_that_only_grow() {
    let hold = |script: &mut Script, p: u64, element: i64, fence: i64, wrote: i64| {
        let held = json!({"fence": fence, "from_ns": 1, "to_ns": 2, "wrote": wrote});
        script.did(p, "hold", "l", json!(element), held, wrote);
    };
    let good = || {
        let mut script = Script::new("lock");
        hold(&mut script, 0, 1, 5, 6);
        script.invoke(1, "hold", "l", json!(2)).info(1);
        hold(&mut script, 2, 3, 10, 11);
        script
    };
    let read = |found: Value, rev: i64| {
        let mut script = good();
        script.did(0, "read", "l", Value::Null, found, rev);
        script
    };
    read(json!([1, 3]), 11).assert_valid();
    read(json!([1, 2, 3]), 12).assert_valid();
    let text = read(json!([1, 3, 4]), 12).assert_finds(Kind::PhantomElement);
    assert!(text.contains("4 is in what #3"), "{text}");
    read(json!([1, 3, 3]), 12).assert_finds(Kind::DuplicateElement);
    read(json!([1, 3]), 9).assert_finds(Kind::StaleRead);
    let mut twice = good();
    hold(&mut twice, 0, 4, 12, 11);
    twice.assert_finds(Kind::DuplicateRevision);
}
