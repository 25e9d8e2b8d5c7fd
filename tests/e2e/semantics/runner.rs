//! The language of the scripts.
//!
//! A command is a line after `>`. One that begins with a capital is a unary call, with its request
//! (`Put {key: a, value: 1}`); `$member` and `$peer` stand for the store's identity and peer URL, and the tag
//! `[hasleader]` asks for a leader. The others:
//!
//! - `ask W {..}` sends a request on the stream of watches W, `hear W 2` shows the next answers, `end W` ends it;
//! - `renew [1, 2]` renews leases, one after the other on one stream;
//! - `snapshot` fetches a backup;
//! - `raw PATH HEX` calls with bytes that need be no message;
//! - `http POST PATH BODY` asks over HTTP; `follow F PATH BODY` posts and goes on, `lines F 2` shows what comes;
//! - `metrics NAME ..` shows these families of the metrics page, without what is said of them in words.

use super::{backup, http::Answer, raw, request, show};
use crate::{
    random::call::Call,
    transcript::{PATIENCE, Store, Watch, revision, show as show_watch},
};
use goldenscript::{Command, Context, Runner};
use server::proto::etcdserverpb::{
    LeaseKeepAliveRequest, MemberListRequest, WatchRequest, cluster_client::ClusterClient,
};
use std::{collections::BTreeMap, error::Error};
use tokio::runtime::Runtime;

/// One store, and what is open at it.
pub struct Asked {
    runtime: Runtime,
    endpoint: String,
    store: Store,
    member: String,
    peer: String,
    /// Whether refusals over HTTP must name their text twice, for clients of old and of new releases.
    errors_twice: bool,
    watches: BTreeMap<String, Watch>,
    followed: BTreeMap<String, Answer>,
}

impl Asked {
    /// Connects.
    pub fn at(endpoint: &str, errors_twice: bool) -> Asked {
        let runtime = Runtime::new().expect("a runtime");
        let (store, member, peer) = runtime.block_on(async {
            let store = Store::at(endpoint).await;
            let mut cluster = ClusterClient::new(store.channel.clone());
            let members = cluster.member_list(MemberListRequest::default()).await.expect("members");
            let member = members.into_inner().members.into_iter().next().expect("it has one");
            (store, member.id.to_string(), member.peer_ur_ls.concat())
        });
        Asked {
            runtime,
            endpoint: endpoint.to_string(),
            store,
            member,
            peer,
            errors_twice,
            watches: BTreeMap::new(),
            followed: BTreeMap::new(),
        }
    }

    fn answer(&mut self, line: &str, context: &Context) -> Result<String, String> {
        let line = line.replace("$member", &self.member).replace("$peer", &self.peer);
        let (name, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if name.starts_with(|c: char| c.is_ascii_uppercase()) {
            let wants_leader = context.tags.contains("hasleader");
            return self.call(&Call::named(name, request::parse(rest)?)?, wants_leader);
        }
        let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
        match name {
            "ask" => self.ask(first, more),
            "hear" => self.hear(first, count(more)?),
            "end" => self.watches.remove(first).map(|_| String::new()).ok_or_else(|| format!("no {first}")),
            "renew" => self.renew(rest),
            "snapshot" => Ok(self.runtime.block_on(backup::over_grpc(&self.store.channel))),
            "raw" => Ok(self.runtime.block_on(raw::call(&self.store.channel, first, more))),
            "http" => self.http(first, more),
            "follow" => self.follow(first, more),
            "lines" => self.lines(first, count(more)?),
            "metrics" => Ok(self.metrics(rest)),
            _ => Err(format!("there is no command {name}")),
        }
    }

    fn call(&mut self, call: &Call, wants_leader: bool) -> Result<String, String> {
        let metadata = wants_leader.then_some(("hasleader", "true"));
        let said = self.runtime.block_on(call.over_grpc(&self.store.channel, metadata.as_slice()));
        Ok(show::said(&said))
    }

    fn ask(&mut self, stream: &str, text: &str) -> Result<String, String> {
        let request = serde_json::from_value::<WatchRequest>(request::parse(text)?);
        let request = request.map_err(|error| format!("{text}: {error}"))?;
        let Asked { runtime, store, watches, .. } = self;
        runtime.block_on(async {
            if !watches.contains_key(stream) {
                watches.insert(stream.to_string(), store.watch().await);
            }
            watches[stream].send(request.request_union.ok_or("it asks nothing")?).await;
            Ok(String::new())
        })
    }

    fn hear(&mut self, stream: &str, count: usize) -> Result<String, String> {
        let watch = self.watches.get_mut(stream).ok_or_else(|| format!("nothing was asked on {stream}"))?;
        Ok(self.runtime.block_on(async {
            let mut heard = Vec::new();
            for _ in 0..count {
                heard.push(watch.next().await);
            }
            // Those of each watch in their order, and the watches by their ids: between them there is none.
            heard.sort_by_key(|answer| answer.watch_id);
            heard
                .iter()
                .map(|answer| show_watch(answer).trim_end().to_string())
                .collect::<Vec<_>>()
                .join("\n")
        }))
    }

    fn renew(&mut self, ids: &str) -> Result<String, String> {
        let ids: Vec<i64> = serde_yaml_ng::from_str(ids).map_err(|error| error.to_string())?;
        let count = ids.len();
        let requests = tokio_stream::iter(ids.into_iter().map(|id| LeaseKeepAliveRequest { id }));
        self.runtime.block_on(async {
            let mut answers =
                self.store.lease.lease_keep_alive(requests).await.expect("a stream").into_inner();
            let mut shown = Vec::new();
            for _ in 0..count {
                let next = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time");
                let answer = next.expect("an answer").expect("one for each");
                shown.push(format!("rev {}, {} for {}", revision(&answer.header), answer.id, answer.ttl));
            }
            Ok(shown.join("\n"))
        })
    }

    fn http(&mut self, method: &str, rest: &str) -> Result<String, String> {
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        self.runtime.block_on(async {
            let answer = Answer::of(&self.endpoint, method, path, body).await;
            let mut shown = vec![answer.head()];
            if method == "OPTIONS" {
                let fields = ["allow-headers", "allow-methods", "allow-origin"];
                shown.extend(fields.map(|field| {
                    format!("{field}: {}", answer.field(&format!("access-control-{field}")).unwrap_or("none"))
                }));
            }
            let text = answer.text().await;
            if path.ends_with("/snapshot") {
                shown.push(backup::in_json(&text));
            } else {
                let mut lines: Vec<String> = text.lines().map(|line| self.shown(line)).collect();
                // Checks come in no order.
                let checks = lines.iter().take_while(|line| line.starts_with('[')).count();
                lines[..checks].sort_unstable();
                shown.extend(lines);
            }
            Ok(shown.join("\n"))
        })
    }

    fn follow(&mut self, name: &str, rest: &str) -> Result<String, String> {
        let (path, body) = rest.split_once(' ').ok_or("a path and a body")?;
        let answer = self.runtime.block_on(Answer::of(&self.endpoint, "POST", path, body));
        let head = answer.head();
        self.followed.insert(name.to_string(), answer);
        Ok(head)
    }

    fn lines(&mut self, name: &str, count: usize) -> Result<String, String> {
        let mut answer =
            self.followed.remove(name).ok_or_else(|| format!("nothing is followed as {name}"))?;
        let lines = self.runtime.block_on(async {
            let mut lines = Vec::new();
            for _ in 0..count {
                lines.push(answer.line().await.unwrap_or_else(|| "the end".into()));
            }
            lines
        });
        self.followed.insert(name.to_string(), answer);
        Ok(lines.iter().map(|line| self.shown(line)).collect::<Vec<_>>().join("\n"))
    }

    fn shown(&self, line: &str) -> String {
        show::json(line, self.errors_twice)
    }

    fn metrics(&self, families: &str) -> String {
        let page = self.runtime.block_on(async {
            let answer = Answer::of(&self.endpoint, "GET", "/metrics", "").await;
            let head = answer.head().split(';').next().expect("a part").to_string();
            format!("{head}\n{}", answer.text().await)
        });
        let of_these = |line: &&str| {
            let line = line.trim_start_matches("# TYPE ");
            families.split(' ').any(|family| line.split([' ', '{']).next() == Some(family))
        };
        let mut lines = page.lines();
        lines.next().into_iter().chain(lines.filter(of_these)).collect::<Vec<_>>().join("\n")
    }
}

fn count(text: &str) -> Result<usize, String> {
    if text.is_empty() { Ok(1) } else { text.parse().map_err(|_| format!("{text:?} is no number")) }
}

impl Runner for Asked {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        Ok(self.answer(&command.name, context)?)
    }
}
