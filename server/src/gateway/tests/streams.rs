//! Leases, locks and elections, and answers that keep coming.

use super::{post, refusal};
use crate::api::tests::Server;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// An answer that keeps coming.
struct Lines(BufReader<TcpStream>);

impl Lines {
    async fn of(server: &Server, path: &str, body: &str) -> Lines {
        let mut socket = server.connect().await;
        let request =
            format!("POST /v3/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(request.as_bytes()).await.expect("the server reads");
        let mut lines = Lines(BufReader::new(socket));
        assert_eq!(lines.line().await, "HTTP/1.1 200 OK");
        let mut kinds = Vec::new();
        loop {
            match lines.line().await {
                line if line.is_empty() => break,
                line => kinds.push(line.to_ascii_lowercase()),
            }
        }
        assert!(kinds.contains(&"content-type: application/json".to_string()), "{kinds:?}");
        assert!(kinds.contains(&"transfer-encoding: chunked".to_string()), "{kinds:?}");
        lines
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await;
        read.expect("a line in time").expect("the connection stands");
        line.trim_end().to_string()
    }

    /// The next document, without what is the same in all headers. A chunk holds one line.
    async fn next(&mut self) -> Value {
        let length = self.line().await;
        assert!(usize::from_str_radix(&length, 16).is_ok_and(|length| length > 0), "{length}");
        let mut value: Value = serde_json::from_str(&self.line().await).expect("a document");
        assert_eq!(self.line().await, "");
        if let Some(Value::Object(header)) = value.pointer_mut("/result/header") {
            header.retain(|name, _| name == "revision");
        }
        value
    }

    /// The next one is none.
    async fn ends(&mut self) {
        assert_eq!(self.line().await, "0");
    }
}

// In base64: Zm9v is foo, Zm9w the end of its prefix, YmFy bar.

#[tokio::test]
async fn watches() {
    let server = Server::start().await;
    let create = r#"{"create_request":{"key":"Zm9v","range_end":"Zm9w","prevKv":true}}"#;
    let mut lines = Lines::of(&server, "watch", create).await;
    assert_eq!(lines.next().await, json!({"result":{"header":{"revision":"1"},"created":true}}));
    post(&server, "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#).await;
    let kv = json!({"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"});
    let put = json!({"result":{"header":{"revision":"2"},"events":[{"kv":kv}]}});
    assert_eq!(lines.next().await, put);
    post(&server, "/v3/kv/deleterange", r#"{"key":"Zm9v"}"#).await;
    let deleted = json!({"type":"DELETE","kv":{"key":"Zm9v","mod_revision":"3"},"prev_kv":kv});
    assert_eq!(lines.next().await, json!({"result":{"header":{"revision":"3"},"events":[deleted]}}));

    // Several requests in one body: history of a key, and of one that is compacted.
    post(&server, "/v3/kv/compaction", r#"{"revision":"3"}"#).await;
    let create = r#"{"create_request":{"key":"Zm9v","start_revision":"2"}}
        {"createRequest":{"key":"Zm9v","watchId":"5"}} {"progress_request":{}}"#;
    let mut lines = Lines::of(&server, "watch", create).await;
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(lines.next().await);
    }
    for want in [
        json!({"result":{"header":{"revision":"3"},"created":true}}),
        json!({"result":{"header":{},"canceled":true,"compact_revision":"3"}}),
        json!({"result":{"header":{"revision":"3"},"watch_id":"5","created":true}}),
        json!({"result":{"header":{"revision":"3"},"watch_id":"-1"}}),
    ] {
        assert!(all.contains(&want), "no {want} in {all:?}");
    }
    // The server stops: so does the stream, in good order.
    let stopped = server.stop();
    let end = lines.next().await;
    assert_eq!(end["error"]["grpc_code"], 14, "{end}");
    assert_eq!(end["error"]["message"], "etcdserver: server stopped", "{end}");
    lines.ends().await;
    stopped.await.expect("in good order");
}

#[tokio::test]
async fn leases() {
    let server = Server::start().await;
    for (path, body, want) in [
        (
            "lease/grant",
            r#"{"TTL":"60","ID":"1234"}"#,
            json!({"header":{"revision":"1"},"ID":"1234","TTL":"60"}),
        ),
        (
            "lease/timetolive",
            r#"{"ID":"1234","keys":true}"#,
            json!({"header":{"revision":"1"},"ID":"1234","TTL":"60","grantedTTL":"60"}),
        ),
        ("kv/lease/timetolive", r#"{"ID":999}"#, json!({"header":{"revision":"1"},"ID":"999","TTL":"-1"})),
        ("lease/leases", "", json!({"header":{"revision":"1"},"leases":[{"ID":"1234"}]})),
        ("kv/lease/leases", "{}", json!({"header":{"revision":"1"},"leases":[{"ID":"1234"}]})),
    ] {
        let answer = post(&server, &format!("/v3/{path}"), body).await;
        assert_eq!((answer.code, answer.json()), (200, want), "{path} {body}");
    }
    let exists = post(&server, "/v3/lease/grant", r#"{"TTL":60,"ID":1234}"#).await;
    assert_eq!((exists.code, exists.json()), (400, refusal(9, "etcdserver: lease already exists")));
    let mut lines = Lines::of(&server, "lease/keepalive", r#"{"ID":"1234"}{"ID":999}"#).await;
    assert_eq!(lines.next().await, json!({"result":{"header":{"revision":"1"},"ID":"1234","TTL":"60"}}));
    assert_eq!(lines.next().await, json!({"result":{"header":{"revision":"1"},"ID":"999"}}));
    lines.ends().await;
    let revoked = post(&server, "/v3/kv/lease/revoke", r#"{"ID":"1234"}"#).await;
    assert_eq!((revoked.code, revoked.json()), (200, json!({"header":{"revision":"1"}})));
}

#[tokio::test]
async fn locks_and_elections() {
    let server = Server::start().await;
    post(&server, "/v3/lease/grant", r#"{"TTL":"60","ID":"10"}"#).await;
    let locked = post(&server, "/v3/lock/lock", r#"{"name":"Zm9v","lease":"10"}"#).await;
    // foo/a
    assert_eq!((locked.code, locked.json()), (200, json!({"header":{"revision":"2"},"key":"Zm9vL2E="})));
    let unlocked = post(&server, "/v3/lock/unlock", r#"{"key":"Zm9vL2E="}"#).await;
    assert_eq!((unlocked.code, unlocked.json()), (200, json!({"header":{"revision":"3"}})));
    let campaign = r#"{"name":"Zm9v","value":"YmFy","lease":"10"}"#;
    let led = post(&server, "/v3/election/campaign", campaign).await;
    let key = json!({"name":"Zm9v","key":"Zm9vL2E=","rev":"4","lease":"10"});
    assert_eq!((led.code, led.json()), (200, json!({"header":{"revision":"4"},"leader":key})));
    let mut lines = Lines::of(&server, "election/observe", r#"{"name":"Zm9v"}"#).await;
    let kv = json!({
        "key":"Zm9vL2E=","create_revision":"4","mod_revision":"4","version":"1","value":"YmFy","lease":"10"
    });
    assert_eq!(lines.next().await, json!({"result":{"header":{"revision":"4"},"kv":kv}}));
    let leader = post(&server, "/v3/election/leader", r#"{"name":"Zm9v"}"#).await;
    assert_eq!((leader.code, leader.json()), (200, json!({"header":{"revision":"4"},"kv":kv})));
    let proclaim = json!({"leader": key, "value": "Zm9v"}).to_string();
    assert_eq!(post(&server, "/v3/election/proclaim", &proclaim).await.code, 200);
    assert_eq!(lines.next().await["result"]["kv"]["value"], "Zm9v");
    let resign = json!({"leader": key}).to_string();
    let resigned = post(&server, "/v3/election/resign", &resign).await;
    assert_eq!((resigned.code, resigned.json()), (200, json!({"header":{"revision":"6"}})));
    let late = post(&server, "/v3/election/proclaim", &proclaim).await;
    assert_eq!((late.code, late.json()), (500, refusal(2, "election: not leader")));
}
