//! What keeps coming through the JSON gateway, line by line, and the calls around it: real etcd and our server must
//! answer alike.

use crate::pair::{Held, Pair, curl, follow, mask_json};
use serde_json::Value;

/// One store, and what it has answered.
struct Session<'a> {
    endpoint: &'a str,
    said: Vec<String>,
}

impl Session<'_> {
    /// Posts a request: the answer, which is noted too.
    fn ask(&mut self, path: &str, body: &str) -> Value {
        let answer = curl(&["-X", "POST", "-d", "@-", &format!("{}{path}", self.endpoint)], body).stdout;
        let (answer, code) = answer.rsplit_once('\n').expect("curl prints the code last");
        // The gateway of etcd 3.4 calls a failed precondition so, that of 3.5 a bad request.
        let code = code.replace("412", "400");
        self.said.push(format!("{path} {body}: {code} {}", masked(answer)));
        serde_json::from_str(answer).unwrap_or_default()
    }

    /// Posts requests, and notes the first lines of what comes.
    fn open(&mut self, path: &str, body: &str, lines: usize) -> Held {
        let held = follow(&format!("{}{path}", self.endpoint), body);
        self.said.push(format!("{path} {body}"));
        self.hear(&held, lines);
        held
    }

    fn hear(&mut self, held: &Held, lines: usize) {
        for _ in 0..lines {
            self.said.push(masked(&held.line()));
        }
    }
}

/// Without what is each store's own, and without what time has passed.
fn masked(line: &str) -> String {
    let mut value: Value = serde_json::from_str(&mask_json(line)).unwrap_or_else(|_| line.into());
    if value.get("grantedTTL").is_some() {
        value["TTL"] = "some".into();
    }
    value.to_string()
}

/// `dw==` is w.
fn watches(session: &mut Session<'_>) {
    const WATCH: &str = "/v3/watch";
    let put = |session: &mut Session<'_>, value: &str| {
        session.ask("/v3/kv/put", &format!(r#"{{"key":"dw==","value":"{value}"}}"#));
    };
    let held = session.open(WATCH, r#"{"create_request":{"key":"dw==","prev_kv":true}}"#, 1);
    for value in ["MQ==", "Mg==", ""] {
        put(session, value);
        session.hear(&held, 1);
    }
    session.ask("/v3/kv/deleterange", r#"{"key":"dw=="}"#);
    session.hear(&held, 1);
    session.open(WATCH, r#"{"create_request":{"key":"YQ=="}}{"create_request":{"key":"Yg=="}}"#, 2);
    session.open(WATCH, r#"{"create_request":{"key":"YQ==","range_end":"YQ=="}}"#, 1);
    session.open(WATCH, r#"{"createRequest":{"key":"dw==","startRevision":"2"}}"#, 2);
    session.open(WATCH, r#"{"create_request":{"key":"dw==","watch_id":"9"}} {"progress_request":{}}"#, 2);
    // In etcd two threads say these, and either may be first.
    let both = session.said.len() - 2;
    session.said[both..].sort_unstable();
    session.open(
        WATCH,
        r#"{"create_request":{"key":"dw==","watch_id":9}}{"cancel_request":{"watch_id":9}}"#,
        2,
    );
    let held = session.open(
        WATCH,
        r#"{"create_request":{"key":"AA==","range_end":"AA==","filters":["NOPUT"],"progress_notify":true}}"#,
        1,
    );
    put(session, "Mw==");
    session.ask("/v3/kv/deleterange", r#"{"key":"dw=="}"#);
    session.hear(&held, 1);
    session.ask("/v3/kv/compaction", r#"{"revision":"6"}"#);
    session.open(WATCH, r#"{"create_request":{"key":"dw==","start_revision":"3"}}"#, 2);
    session.open(WATCH, r#"{"create_request":{"key":"dw==","start_revision":"6"}}"#, 2);
}

fn leases(session: &mut Session<'_>) {
    for (path, body) in [
        ("grant", r#"{"ID":"5","TTL":"6000"}"#),
        ("grant", r#"{"ID":5,"TTL":6000}"#),
        ("grant", r#"{"ID":"6","TTL":"9000000001"}"#),
        ("timetolive", r#"{"ID":"5","keys":true}"#),
        ("timetolive", r#"{"ID":"7"}"#),
        ("leases", "{}"),
    ] {
        session.ask(&format!("/v3/lease/{path}"), body);
    }
    session.ask("/v3/kv/put", r#"{"key":"bA==","value":"MQ==","lease":"5"}"#);
    session.ask("/v3/kv/lease/timetolive", r#"{"ID":"5","keys":true}"#);
    session.ask("/v3/kv/lease/leases", "");
    session.open("/v3/lease/keepalive", r#"{"ID":"5"}"#, 1);
    session.open("/v3/lease/keepalive", r#"{"ID":"5"}{"ID":5} {"ID":"7"}"#, 3);
    session.ask("/v3/kv/lease/revoke", r#"{"ID":"5"}"#);
    session.ask("/v3/lease/revoke", r#"{"ID":"5"}"#);
    session.ask("/v3/kv/range", r#"{"key":"bA=="}"#);
}

/// `ZQ==` is e, `bA==` l.
fn recipes(session: &mut Session<'_>) {
    session.ask("/v3/lease/grant", r#"{"ID":"5","TTL":"6000"}"#);
    let locked = session.ask("/v3/lock/lock", r#"{"name":"bA==","lease":"5"}"#);
    session.ask("/v3/lock/unlock", &serde_json::json!({ "key": locked["key"] }).to_string());
    session.ask("/v3/election/leader", r#"{"name":"ZQ=="}"#);
    let elected = session.ask("/v3/election/campaign", r#"{"name":"ZQ==","lease":"5","value":"MQ=="}"#);
    let held = session.open("/v3/election/observe", r#"{"name":"ZQ=="}"#, 1);
    let leader = &elected["leader"];
    let proclaim = serde_json::json!({ "leader": leader, "value": "Mg==" }).to_string();
    session.ask("/v3/election/proclaim", &proclaim);
    session.hear(&held, 1);
    session.ask("/v3/election/leader", r#"{"name":"ZQ=="}"#);
    session.ask("/v3/election/resign", &serde_json::json!({ "leader": leader }).to_string());
    session.ask("/v3/election/leader", r#"{"name":"ZQ=="}"#);
    session.ask("/v3/election/proclaim", &proclaim);
    session.ask("/v3/election/proclaim", "{}");
    session.ask("/v3/election/campaign", r#"{"name":"ZQ==","lease":"77"}"#);
}

/// `Zm9v` is foo, `Zm9w` fop.
fn users(session: &mut Session<'_>) {
    for (path, body) in [
        ("enable", "{}"),
        ("authenticate", r#"{"name":"root","password":"x"}"#),
        ("user/add", r#"{"name":"u","password":"pw"}"#),
        ("user/add", r#"{"name":"n","options":{"no_password":true}}"#),
        ("user/add", "{}"),
        ("user/list", "{}"),
        ("user/get", r#"{"name":"none"}"#),
        ("user/changepw", r#"{"name":"u","password":"pw2"}"#),
        ("role/add", r#"{"name":"r"}"#),
        ("role/add", r#"{"name":"r"}"#),
        ("role/grant", r#"{"name":"r","perm":{"permType":"READWRITE","key":"Zm9v","range_end":"Zm9w"}}"#),
        ("role/grant", r#"{"name":"r","perm":{"permType":1,"key":"Zm9v"}}"#),
        ("role/get", r#"{"role":"r"}"#),
        ("role/list", "{}"),
        ("role/revoke", r#"{"role":"r","key":"Zm9v"}"#),
        ("user/grant", r#"{"user":"u","role":"r"}"#),
        ("user/get", r#"{"name":"u"}"#),
        ("user/revoke", r#"{"name":"u","role":"r"}"#),
        ("user/revoke", r#"{"name":"u","role":"r"}"#),
        ("role/delete", r#"{"role":"r"}"#),
        ("user/delete", r#"{"name":"u"}"#),
    ] {
        session.ask(&format!("/v3/auth/{path}"), body);
    }
}

#[test]
fn the_gateway_answers_alike() {
    let Some(pair) = Pair::start("the_gateway_answers_alike") else { return };
    let run = |endpoint: &str| {
        let mut session = Session { endpoint, said: Vec::new() };
        for script in [watches, leases, recipes, users] {
            script(&mut session);
        }
        session.said
    };
    let (theirs, ours) = (run(&pair.etcd.endpoint), run(&pair.ours.endpoint));
    let differing = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours);
    let shown: Vec<String> =
        differing.map(|(theirs, ours)| format!("  etcd: {theirs}\n  ours: {ours}")).collect();
    assert!(shown.is_empty(), "{} differences\n{}", shown.len(), shown.join("\n"));
    assert!(theirs.len() == ours.len() && theirs.len() > 60, "the scripts ran");
}
