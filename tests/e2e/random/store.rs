//! One of the two stores, as a random test sees it.

use super::{
    call::{Call, Said, no, with_token},
    draw::{ADDED, Step, Who},
    wire::Http,
};
use crate::transcript::PATIENCE;
use serde_json::{Value, json};
use server::proto::etcdserverpb::{
    AuthenticateRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest,
    PutRequest, WatchCreateRequest, WatchRequest, WatchResponse, lease_client::LeaseClient,
    watch_client::WatchClient, watch_request::RequestUnion,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// How long a store may take for a step: longer than an answer of a stream, which is waited for within.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A store, and what it is that the other one cannot know.
pub struct Store {
    channel: Channel,
    http: Http,
    /// The newest token of each user.
    tokens: BTreeMap<String, String>,
    /// The member that was added last.
    added: u64,
}

impl Store {
    /// Connects.
    pub async fn at(endpoint: &str) -> Store {
        let channel = Endpoint::from_shared(endpoint.to_string()).expect("an address").connect().await;
        let channel = channel.expect("the store accepts");
        Store { channel, http: Http::to(endpoint), tokens: BTreeMap::new(), added: 0 }
    }

    fn token(&self, who: Who) -> Option<String> {
        match who {
            Who::Nobody => None,
            // The number is the index of an entry for which etcd waits, however long that takes.
            Who::Liar => Some("liar.1".into()),
            user => self.tokens.get(user.name()).cloned(),
        }
    }

    /// Carries out a step, and says what came of it, without what is the store's own.
    pub async fn take(&mut self, step: &Step, who: Who) -> Said {
        let token = self.token(who);
        let answer = tokio::time::timeout(ANSWER_MAX, self.ask(step, token.as_deref()));
        answer.await.unwrap_or_else(|_| Said::No(-1, "no answer in time".into()))
    }

    async fn ask(&mut self, step: &Step, token: Option<&str>) -> Said {
        match step {
            Step::Call(call) => self.call(call, token, false).await,
            Step::Gateway(call) => self.call(call, token, true).await,
            Step::KeepAlive(id) => self.keep_alive(*id, token).await,
            Step::Watch(request) => self.watch(request, token).await,
            Step::AnyLease(ttl) => self.any_lease(*ttl, token).await,
        }
    }

    async fn call(&mut self, call: &Call, token: Option<&str>, gateway: bool) -> Said {
        let call = self.with_own_ids(call);
        let over_http = if gateway { call.over_http(&mut self.http, token).await } else { None };
        let said = match over_http {
            Some(said) => said,
            None => call.over_grpc(&self.channel, token.map(|token| ("token", token)).as_slice()).await,
        };
        if let (Call::Authenticate(AuthenticateRequest { name, .. }), Said::Yes(answer)) = (&call, &said)
            && let Some(token) = answer["token"].as_str()
        {
            self.tokens.insert(name.clone(), token.into());
        }
        if let (Call::MemberAdd(_), Said::Yes(answer)) = (&call, &said)
            && let Some(id) = answer["member"]["ID"].as_str().and_then(|id| id.parse().ok())
        {
            self.added = id;
        }
        match said {
            Said::Yes(answer) => Said::Yes(without_own(&call, answer)),
            no => no,
        }
    }

    /// With this store's identity of the member that was added last.
    fn with_own_ids(&self, call: &Call) -> Call {
        let mut call = call.clone();
        match &mut call {
            Call::MemberRemove(request) if request.id == ADDED => request.id = self.added,
            Call::MemberPromote(request) if request.id == ADDED => request.id = self.added,
            _ => {}
        }
        call
    }

    async fn keep_alive(&mut self, id: i64, token: Option<&str>) -> Said {
        let requests = tokio_stream::once(LeaseKeepAliveRequest { id });
        let mut client = LeaseClient::new(self.channel.clone());
        let answer = async {
            let mut answers = client.lease_keep_alive(with_token(requests, token)).await?.into_inner();
            answers.message().await
        };
        match tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time") {
            Ok(Some(answer)) => {
                let revision = answer.header.map_or(-1, |header| header.revision);
                Said::Yes(json!({"id": answer.id, "ttl": answer.ttl, "revision": revision}))
            }
            Ok(None) => Said::Yes(Value::Null),
            Err(status) => no(&status),
        }
    }

    async fn any_lease(&mut self, ttl: i64, token: Option<&str>) -> Said {
        let mut client = LeaseClient::new(self.channel.clone());
        let granted = match client.lease_grant(with_token(LeaseGrantRequest { ttl, id: 0 }, token)).await {
            Ok(granted) => granted.into_inner(),
            Err(status) => return no(&status),
        };
        let revoked = client.lease_revoke(with_token(LeaseRevokeRequest { id: granted.id }, token)).await;
        let revoked = revoked.map_or_else(|status| no(&status), |_| Said::Yes(Value::Null));
        Said::Yes(json!({"positive": granted.id > 0, "ttl": granted.ttl, "revoked": format!("{revoked:?}")}))
    }

    /// Opens a watch, writes a key of its range twice, and follows until it has heard of that.
    async fn watch(&mut self, request: &WatchCreateRequest, token: Option<&str>) -> Said {
        let (requests, receiver) = mpsc::channel(4);
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(request.clone())) };
        requests.send(create).await.expect("there is room");
        let mut client = WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let opened = client.watch(with_token(ReceiverStream::new(receiver), token));
        let mut answers = match tokio::time::timeout(PATIENCE, opened).await.expect("an answer in time") {
            Ok(answers) => answers.into_inner(),
            Err(status) => return no(&status),
        };
        let mut heard: Vec<String> = Vec::new();
        let mut until = i64::MAX;
        loop {
            let answer = tokio::time::timeout(PATIENCE, answers.message()).await;
            let answer = match answer.unwrap_or_else(|_| panic!("{request:?}: silence after {heard:?}")) {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(status) => return no(&status),
            };
            note(&answer, &mut heard);
            let last =
                answer.events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
            if answer.created && !answer.canceled {
                match self.write_twice(request, token).await {
                    Ok(last) => until = last,
                    Err(said) => heard.push(format!("writes: {said:?}")),
                }
            }
            // Where nothing more can come, or all has.
            if answer.canceled || until == i64::MAX || last >= until || request.filters.len() == 2 {
                break;
            }
        }
        Said::Yes(json!(heard))
    }

    /// Puts and deletes the first key of a range: the revision of the last of them that passes the filters.
    async fn write_twice(&mut self, request: &WatchCreateRequest, token: Option<&str>) -> Result<i64, Said> {
        let mut client = server::proto::etcdserverpb::kv_client::KvClient::new(self.channel.clone());
        let key = if request.key.is_empty() { "\0".into() } else { request.key.clone() };
        let put = PutRequest { key: key.clone(), value: "seen".into(), ..PutRequest::default() };
        let put = client.put(with_token(put, token)).await.map_err(|status| no(&status))?.into_inner();
        let delete = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
        let delete =
            client.delete_range(with_token(delete, token)).await.map_err(|status| no(&status))?.into_inner();
        let header = if request.filters == [1] { put.header } else { delete.header };
        Ok(header.map_or(0, |header| header.revision))
    }
}

/// What a watch said, its events one by one: how they are spread over answers is the store's own affair.
fn note(answer: &WatchResponse, heard: &mut Vec<String>) {
    let WatchResponse { watch_id, created, canceled, compact_revision, cancel_reason, events, .. } = answer;
    if *created || *canceled {
        heard.push(format!("#{watch_id} {created} {canceled} {compact_revision} {cancel_reason:?}"));
    }
    heard.extend(events.iter().map(|event| format!("{event:?}")));
}

/// An answer without what each store has of its own, and in an order where there is none.
fn without_own(call: &Call, mut answer: Value) -> Value {
    if let Some(header) = answer.get_mut("header").and_then(Value::as_object_mut) {
        for own in ["cluster_id", "member_id", "raft_term"] {
            header.remove(own);
        }
        if header.is_empty() {
            answer.as_object_mut().expect("it has a header").remove("header");
        }
    }
    match call {
        Call::Status(_) => {
            for own in
                ["version", "dbSize", "leader", "raftIndex", "raftTerm", "raftAppliedIndex", "dbSizeInUse"]
            {
                answer.as_object_mut().expect("an object").remove(own);
            }
        }
        Call::HashKv(_) => drop(answer.as_object_mut().expect("an object").remove("hash")),
        Call::Authenticate(_) => answer["token"] = json!(answer["token"].is_string()),
        // Time passes.
        Call::TimeToLive(_) => {
            if answer["TTL"].as_str().and_then(|ttl| ttl.parse().ok()).is_some_and(|ttl: i64| ttl > 0) {
                answer["TTL"] = json!("some");
            }
            sort(&mut answer, "keys", |key| key.clone());
        }
        // That many etcd sorts in an order that is not its own.
        Call::RoleGet(_) if answer["perm"].as_array().is_some_and(|perms| perms.len() > 11) => {
            sort(&mut answer, "perm", |perm| perm.clone());
        }
        Call::Leases(_) => sort(&mut answer, "leases", |lease| lease["ID"].clone()),
        Call::MemberList(_)
        | Call::MemberAdd(_)
        | Call::MemberRemove(_)
        | Call::MemberUpdate(_)
        | Call::MemberPromote(_) => {
            let members = answer.get_mut("members").and_then(Value::as_array_mut);
            members.into_iter().flatten().for_each(without_own_member);
            answer.get_mut("member").into_iter().for_each(without_own_member);
            sort(&mut answer, "members", |member| member.clone());
        }
        Call::Alarm(_) => {
            // Of this store, or of a number that was asked for.
            for alarm in answer.get_mut("alarms").and_then(Value::as_array_mut).into_iter().flatten() {
                if alarm["memberID"].as_str().is_some_and(|id| id.len() > 3) {
                    alarm["memberID"] = json!("#");
                }
            }
            sort(&mut answer, "alarms", |alarm| alarm.clone());
        }
        _ => {}
    }
    answer
}

fn without_own_member(member: &mut Value) {
    let started = member.get("name").is_some();
    let fields = member.as_object_mut().expect("an object");
    fields.remove("ID");
    if started {
        fields.remove("peerURLs");
        fields.remove("clientURLs");
    }
}

fn sort(answer: &mut Value, list: &str, by: impl Fn(&Value) -> Value) {
    if let Some(list) = answer.get_mut(list).and_then(Value::as_array_mut) {
        list.sort_by_key(|item| by(item).to_string());
    }
}
