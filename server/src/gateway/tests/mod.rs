//! The gateway over a loopback connection, as curl sees it.

mod streams;

use crate::api::tests::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    /// The body as JSON, without the parts of headers that are the same everywhere.
    fn json(&self) -> Value {
        let mut value: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{:?}", self.body));
        if let Some(Value::Object(header)) = value.get_mut("header")
            && header.remove("cluster_id").is_some()
        {
            assert!(header.remove("member_id").is_some(), "{}", self.body);
            assert_eq!(header.remove("raft_term"), Some(json!("2")), "{}", self.body);
        }
        value
    }
}

async fn send(server: &Server, method: &str, path: &str, body: &[u8]) -> Answer {
    let mut socket = server.connect().await;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(&[head.as_bytes(), body].concat()).await.expect("the server reads");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("an answer");
    let answer = String::from_utf8(answer).expect("a text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code");
    Answer { code, head: head.to_ascii_lowercase(), body: body.to_string() }
}

async fn post(server: &Server, path: &str, body: &str) -> Answer {
    send(server, "POST", path, body.as_bytes()).await
}

fn refusal(code: i32, message: &str) -> Value {
    json!({ "error": message, "code": code, "message": message })
}

// In base64, Zm9v is foo, Zm9w the end of its prefix, YmFy bar.

#[tokio::test]
async fn keys_and_values() {
    let server = Server::start().await;
    let foo = |version: &str, modified: &str, value: &str| {
        json!({
            "key": "Zm9v", "create_revision": "2", "mod_revision": modified, "version": version, "value": value
        })
    };
    for (path, body, want) in [
        ("kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#, json!({"header":{"revision":"2"}})),
        (
            "kv/put",
            r#"{"key":"Zm9v","value":"YmFyMg==","prev_kv":true}"#,
            json!({"header":{"revision":"3"},"prev_kv":foo("1", "2", "YmFy")}),
        ),
        (
            "kv/put",
            r#"{"key":"Zm9v","value":"YmFyMw==","prevKv":true}"#,
            json!({"header":{"revision":"4"},"prev_kv":foo("2", "3", "YmFyMg==")}),
        ),
        (
            "kv/range",
            r#"{"key":"Zm9v"}"#,
            json!({"header":{"revision":"4"},"kvs":[foo("3", "4", "YmFyMw==")],"count":"1"}),
        ),
        (
            "kv/range",
            r#"{"key":"Zm9v","range_end":"Zm9w","limit":"1","sort_order":"DESCEND","sort_target":"MOD"}"#,
            json!({"header":{"revision":"4"},"kvs":[foo("3", "4", "YmFyMw==")],"count":"1"}),
        ),
        (
            "kv/range",
            r#"{"key":"Zm9v","sort_order":2,"limit":1,"count_only":true}"#,
            json!({"header":{"revision":"4"},"count":"1"}),
        ),
        ("kv/range", r#"{"key":"bm9wZQ=="}"#, json!({"header":{"revision":"4"}})),
        (
            "kv/txn",
            r#"{"compare":[{"key":"Zm9v","target":"VALUE","result":"EQUAL","value":"YmFyMw=="}],
                "success":[{"requestPut":{"key":"azI=","value":"djI="}}]}"#,
            json!({"header":{"revision":"5"},"succeeded":true,
                "responses":[{"response_put":{"header":{"revision":"5"}}}]}),
        ),
        (
            "kv/txn",
            r#"{"compare":[{"key":"Zm9v","target":"MOD","result":"GREATER","mod_revision":"99"}],
                "failure":[{"request_delete_range":{"key":"azI="}}]}"#,
            json!({"header":{"revision":"6"},
                "responses":[{"response_delete_range":{"header":{"revision":"6"},"deleted":"1"}}]}),
        ),
        ("kv/deleterange", r#"{"key":"azI=","prev_kv":true}"#, json!({"header":{"revision":"6"}})),
        ("kv/compaction", r#"{"revision":"3"}"#, json!({"header":{"revision":"6"}})),
        ("maintenance/alarm", r#"{"action":"GET"}"#, json!({"header":{"revision":"6"}})),
        ("maintenance/defragment", "", json!({})),
        (
            "cluster/member/list",
            "",
            json!({"header":{},"members":[{"ID":crate::fake::MEMBER.0.to_string(),"name":"default",
                "peerURLs":["http://127.0.0.1:2380"],"clientURLs":["http://127.0.0.1:2379"]}]}),
        ),
    ] {
        let answer = post(&server, &format!("/v3/{path}"), body).await;
        assert_eq!((answer.code, answer.json()), (200, want), "{path} {body}");
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    }
    let beta = post(&server, "/v3beta/kv/range", r#"{"key":"Zm9v"}"#).await;
    assert_eq!(beta.json()["count"], "1", "an alias");
    let status = post(&server, "/v3/maintenance/status", "").await.json();
    assert_eq!(status["version"], crate::api::ETCD_VERSION);
    assert_eq!(status["leader"], crate::fake::MEMBER.0.to_string());
    let hash = post(&server, "/v3/maintenance/hash", "").await.json();
    let hash_kv = post(&server, "/v3/maintenance/hashkv", "{}").await.json();
    assert!(hash["hash"].is_u64(), "{hash}");
    assert_eq!(hash["hash"], hash_kv["hash"]);
    assert_eq!(hash_kv["compact_revision"], "3");
}

#[tokio::test]
async fn refusals() {
    let server = Server::start().await;
    let duplicate = r#"{"success":[{"requestPut":{"key":"YQ=="}},{"requestPut":{"key":"YQ=="}}]}"#;
    for (path, body, http, code, message) in [
        ("kv/range", "{}", 400, 3, "etcdserver: key is not provided"),
        ("kv/range", "", 400, 3, "etcdserver: key is not provided"),
        ("kv/range", r#"{"keyx":"Zm9v"}"#, 400, 3, "etcdserver: key is not provided"),
        ("kv/range", r#"{"key":"#, 400, 3, "unexpected EOF"),
        (
            "kv/range",
            r#"{"key":"!!"}"#,
            400,
            3,
            r#"proto: (line 1:8): invalid value for bytes field key: "!!""#,
        ),
        (
            "kv/txn",
            "{\"success\":[{\"request_range\":\n {\"key\":\"YQ==\",\"range_end\" : \"Y!==\"}}]}",
            400,
            3,
            r#"proto: (line 2:30): invalid value for bytes field rangeEnd: "Y!==""#,
        ),
        (
            "kv/range",
            r#"{"key":"Zm9v","revision":"9999"}"#,
            400,
            11,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        ("kv/txn", duplicate, 400, 3, "etcdserver: duplicate key given in txn request"),
        ("kv/txn", r#"{"success":[{}]}"#, 400, 3, "etcdserver: key not found"),
        ("kv/put", r#"{"key":"YQ==","lease":"-4"}"#, 404, 5, "etcdserver: requested lease not found"),
        (
            "kv/compaction",
            r#"{"revision":"-9"}"#,
            400,
            11,
            "etcdserver: mvcc: required revision has been compacted",
        ),
        (
            "maintenance/transfer-leadership",
            r#"{"targetID":"1"}"#,
            400,
            9,
            "etcdserver: bad leader transferee",
        ),
        ("kv/rag", "{}", 404, 5, "Not Found"),
        ("kv/range/", "{}", 404, 5, "Not Found"),
        ("lease/grant", r#"{"TTL":"9000000001"}"#, 400, 11, "etcdserver: too large lease TTL"),
        ("lease/revoke", r#"{"ID":"7"}"#, 404, 5, "etcdserver: requested lease not found"),
        ("kv/lease/revoke", "{}", 404, 5, "etcdserver: requested lease not found"),
        ("lock/lock", r#"{"name":"bG9jaw==","lease":"7"}"#, 500, 2, "etcdserver: requested lease not found"),
        ("election/leader", r#"{"name":"ZWxlYw=="}"#, 500, 2, "election: no leader"),
        ("election/resign", "{}", 500, 2, r#""leader" field must be provided"#),
        ("watch", r#"{"create_request":"#, 400, 3, "unexpected EOF"),
        ("cluster/member/add", "{}", 400, 3, "etcdserver: given member URLs are invalid"),
    ] {
        let answer = post(&server, &format!("/v3/{path}"), body).await;
        assert_eq!((answer.code, answer.json()), (http, refusal(code, message)), "{path} {body}");
    }
    server.fake.set_leaderless(true);
    let answer = post(&server, "/v3/kv/range", r#"{"key":"Zm9v"}"#).await;
    assert_eq!((answer.code, answer.json()), (503, refusal(14, "etcdserver: no leader")));
}

#[tokio::test]
async fn malformed_bodies_are_the_clients_mistake() {
    let server = Server::start().await;
    let deep = "[".repeat(100_000);
    let nested = r#"{"success":[{"request_txn":"#.repeat(60);
    for body in [
        &b"{"[..],
        b"[]",
        b"null",
        b"7",
        b"\"key\"",
        b"\xff\xfe\0",
        br#"{"key":"!!"}"#,
        br#"{"key":"Zg="}"#,
        br#"{"key":7}"#,
        br#"{"key":{"a":1}}"#,
        br#"{"key":"Zm9v","key":"Zm9v"}"#,
        br#"{"key":"Zm9v","limit":"many"}"#,
        br#"{"key":"Zm9v","limit":1.5}"#,
        br#"{"key":"Zm9v","limit":9223372036854775808}"#,
        br#"{"key":"Zm9v","limit":1e999}"#,
        br#"{"key":"Zm9v","serializable":"true"}"#,
        br#"{"compare":{},"success":7,"failure":"x","action":[],"revision":[],"targetID":-1,"key":[]}"#,
        deep.as_bytes(),
        nested.as_bytes(),
    ] {
        for path in ["kv/range", "kv/put", "kv/deleterange", "kv/txn", "kv/compaction", "maintenance/hashkv"]
        {
            let answer = send(&server, "POST", &format!("/v3/{path}"), body).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
            // A field that a message does not have is no mistake.
            let fine = answer.code == 200 && shown.starts_with("{\"");
            assert!(fine || answer.code == 400, "{path} {shown}: {} {}", answer.code, answer.body);
            assert!(
                fine || [3, 11].contains(&answer.json()["code"].as_i64().expect("a code")),
                "{}",
                answer.body
            );
        }
    }
}

#[tokio::test]
async fn large_bodies() {
    let server = Server::start().await;
    // Three bytes in four characters, all of them 0.
    let body = |bytes: usize| format!(r#"{{"key":"YQ==","value":"{}"}}"#, "AAAA".repeat(bytes / 3));
    for (bytes, http, code, message) in [
        (1_700_001, 400, 3, "etcdserver: request is too large"),
        (2_700_000, 429, 8, "grpc: received message larger than max (2700008 vs. 2097152)"),
        (6_600_000, 429, 8, "the body is larger than 8388608 bytes"),
    ] {
        let answer = post(&server, "/v3/kv/put", &body(bytes)).await;
        assert_eq!((answer.code, answer.json()), (http, refusal(code, message)), "{bytes}");
    }
}

#[tokio::test]
async fn pages() {
    let server = Server::start().await;
    let not_found = "404 page not found\n";
    let not_allowed = "Method Not Allowed\n";
    let wrong_method = r#"{"code":12,"error":"Method Not Allowed","message":"Method Not Allowed"}"#;
    let ready =
        "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n";
    for (method, path, code, body) in [
        ("GET", "/health", 200, r#"{"health":"true","reason":""}"#),
        ("GET", "/health?serializable=true", 200, r#"{"health":"true","reason":""}"#),
        ("PUT", "/health", 405, not_allowed),
        ("HEAD", "/health", 405, ""),
        ("GET", "/livez", 200, "ok\n"),
        ("GET", "/livez?verbose", 200, "[+]serializable_read ok\nok\n"),
        ("GET", "/livez?verbose=&exclude=serializable_read", 200, "ok\n"),
        ("GET", "/livez/serializable_read", 200, "ok\n"),
        ("GET", "/livez/linearizable_read", 404, not_found),
        ("GET", "/livezz", 404, not_found),
        ("GET", "/readyz", 200, "ok\n"),
        ("GET", "/readyz?verbose", 200, ready),
        ("GET", "/readyz/linearizable_read?verbose", 200, "[+]linearizable_read ok\nok\n"),
        ("POST", "/readyz", 405, not_allowed),
        ("GET", "/version", 200, r#"{"etcdserver":"3.5.30","etcdcluster":"3.5.0"}"#),
        ("POST", "/version", 405, not_allowed),
        ("GET", "/v3/kv/range", 501, wrong_method),
        ("PUT", "/v3/kv/range", 501, wrong_method),
        ("GET", "/", 404, not_found),
        ("GET", "/v2/keys", 404, not_found),
        ("POST", "/v3alpha/kv/range", 404, not_found),
        ("OPTIONS", "/v3/kv/range", 200, ""),
        ("OPTIONS", "/nope", 200, ""),
    ] {
        let answer = send(&server, method, path, b"").await;
        assert_eq!((answer.code, &answer.body[..]), (code, body), "{method} {path}");
        assert!(answer.head.contains("access-control-allow-origin: *"), "{method} {path}: {}", answer.head);
        assert_eq!(code == 405, answer.head.contains("allow: get\r\n"), "{method} {path}: {}", answer.head);
    }
}

#[tokio::test]
async fn pages_without_a_leader() {
    let server = Server::start().await;
    server.fake.set_leaderless(true);
    let not_ready = "[+]data_corruption ok\n[+]serializable_read ok\n[-]linearizable_read failed: etcdserver: no leader\n[+]non_learner ok\n";
    for (path, code, body) in [
        ("/health", 503, r#"{"health":"false","reason":"RAFT NO LEADER"}"#),
        ("/health?serializable=true", 200, r#"{"health":"true","reason":""}"#),
        ("/livez", 200, "ok\n"),
        ("/readyz", 503, not_ready),
        ("/readyz?exclude=linearizable_read", 200, "ok\n"),
        ("/readyz/serializable_read", 200, "ok\n"),
    ] {
        let answer = send(&server, "GET", path, b"").await;
        assert_eq!((answer.code, &answer.body[..]), (code, body), "{path}");
    }
}

#[tokio::test]
async fn metrics_count_what_was_done() {
    let server = Server::start().await;
    post(&server, "/v3/kv/put", r#"{"key":"Zm9v"}"#).await;
    post(&server, "/v3/kv/put", "{}").await;
    send(&server, "GET", "/health", b"").await;
    let answer = send(&server, "GET", "/metrics", b"").await;
    assert_eq!(answer.code, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let put = r#"grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary""#;
    for line in [
        &format!("grpc_server_started_total{{{put}}} 2"),
        &format!("grpc_server_msg_received_total{{{put}}} 2"),
        &format!("grpc_server_msg_sent_total{{{put}}} 1"),
        "etcd_debugging_mvcc_slow_watcher_total 0",
        &format!(r#"grpc_server_handled_total{{grpc_code="OK",{put}}} 1"#),
        &format!(r#"grpc_server_handled_total{{grpc_code="InvalidArgument",{put}}} 1"#),
        "etcd_cluster_version{cluster_version=\"3.5\"} 1",
        "etcd_server_has_leader 1",
        "etcd_server_is_leader 1",
        "etcd_server_is_learner 0",
        "etcd_server_version{server_version=\"3.5.30\"} 1",
        "etcd_server_health_success 1",
        "etcd_server_health_failures 0",
        "etcd_server_proposals_applied_total 1",
        "etcd_debugging_mvcc_current_revision 2",
        "etcd_mvcc_put_total 1",
        "etcd_mvcc_delete_total 0",
        "etcd_debugging_lease_granted_total 0",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 0",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 0",
        "etcd_disk_wal_fsync_duration_seconds_count 0",
    ] {
        assert!(answer.body.lines().any(|found| found == line), "no {line:?} in\n{}", answer.body);
    }
    for counted in
        ["etcd_network_client_grpc_received_bytes_total", "process_start_time_seconds", "os_fd_limit"]
    {
        let found =
            answer.body.lines().find_map(|line| line.strip_prefix(counted)?.trim().parse::<f64>().ok());
        assert!(found.is_some_and(|value| value > 1.0), "{counted}: {found:?}");
    }
    // Every sample follows a TYPE line of its family, and is a name, labels, and a number.
    let mut family = String::new();
    for line in answer.body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().expect("a name").to_string();
        } else if !line.starts_with("# HELP ") {
            assert!(line.starts_with(&family), "{line} under {family}");
            let (_, value) = line.rsplit_once(' ').expect("a value");
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
        }
    }
}
