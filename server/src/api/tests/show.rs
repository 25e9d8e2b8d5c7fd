//! Calls and their outcomes as short texts, so that a test is a table.

use super::Server;
use crate::proto::{
    etcdserverpb::{
        CompactionRequest, DeleteRangeRequest, HashKvRequest, PutRequest, RangeRequest, RangeResponse,
        ResponseHeader, TxnRequest, TxnResponse, kv_client::KvClient, maintenance_client::MaintenanceClient,
        response_op::Response,
    },
    mvccpb::KeyValue,
};
use tonic::{Status, transport::Channel};

/// A call of the API.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    HashKv(i64),
}

impl Call {
    async fn send(self, channel: &Channel) -> Result<String, Status> {
        let mut kv = KvClient::new(channel.clone());
        Ok(match self {
            Call::Range(request) => {
                let response = kv.range(request).await?.into_inner();
                format!("rev {}: {}", revision(&response.header), range(&response))
            }
            Call::Put(request) => {
                let response = kv.put(request).await?.into_inner();
                let old = response.prev_kv.map(|pair| format!(", was {}", show(&pair))).unwrap_or_default();
                format!("rev {}{old}", revision(&response.header))
            }
            Call::Delete(request) => {
                let response = kv.delete_range(request).await?.into_inner();
                format!(
                    "rev {}: {} deleted{}",
                    revision(&response.header),
                    response.deleted,
                    pairs(" ", &response.prev_kvs)
                )
            }
            Call::Txn(request) => {
                let response = kv.txn(request).await?.into_inner();
                format!("rev {}: {}", revision(&response.header), txn(&response))
            }
            Call::Compact(request) => {
                format!("rev {}", revision(&kv.compact(request).await?.into_inner().header))
            }
            Call::HashKv(revision) => {
                let mut maintenance = MaintenanceClient::new(channel.clone());
                let response = maintenance.hash_kv(HashKvRequest { revision }).await?.into_inner();
                format!(
                    "rev {}, compacted at {}",
                    self::revision(&response.header),
                    response.compact_revision
                )
            }
        })
    }
}

/// Every header on the outside says who answered.
fn revision(header: &Option<ResponseHeader>) -> i64 {
    let header = header.as_ref().expect("a header");
    assert_eq!(header.cluster_id, crate::fake::CLUSTER_ID, "{header:?}");
    assert_eq!(header.member_id, crate::fake::MEMBER.0, "{header:?}");
    assert_eq!(header.raft_term, 2, "{header:?}");
    header.revision
}

/// `key=value c(reate)/m(od)/v(ersion)`.
fn show(pair: &KeyValue) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}={} c{}/m{}/v{}",
        text(&pair.key),
        text(&pair.value),
        pair.create_revision,
        pair.mod_revision,
        pair.version
    )
}

fn pairs(before: &str, pairs: &[KeyValue]) -> String {
    pairs.iter().map(|pair| format!("{before}[{}]", show(pair))).collect()
}

fn range(response: &RangeResponse) -> String {
    let more = if response.more { "more, " } else { "" };
    format!("{more}{} in range{}", response.count, pairs(" ", &response.kvs))
}

fn txn(response: &TxnResponse) -> String {
    let parts = response.responses.iter().map(|op| match op.response.as_ref().expect("an answer") {
        Response::ResponseRange(response) => range(response),
        Response::ResponsePut(_) => "put".to_string(),
        Response::ResponseDeleteRange(response) => format!("{} deleted", response.deleted),
        Response::ResponseTxn(response) => format!("({})", txn(response)),
    });
    let parts: Vec<String> = parts.collect();
    format!("{} {}", if response.succeeded { "yes" } else { "no" }, parts.join("; ")).trim_end().to_string()
}

/// Makes the calls one after the other on a new server, and compares what each came to: the reason for the
/// row, the call, the outcome.
pub(super) async fn run(rows: Vec<(&str, Call, &str)>) {
    let server = Server::start().await;
    let channel = server.channel().await;
    for (why, call, want) in rows {
        let shown = format!("{call:?}");
        let outcome = match call.send(&channel).await {
            Ok(text) => text,
            Err(status) => format!("{:?}: {}", status.code(), status.message()),
        };
        assert_eq!(outcome, want, "{why}: {shown}");
    }
}
