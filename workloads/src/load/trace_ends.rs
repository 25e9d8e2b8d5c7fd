//! How the history of a load begins and ends: with a write of every key that is recorded, and a read.

use super::{
    drive::Plan,
    endpoint::Endpoint,
    http2::{Answer, Failure},
    stamp::Stamp,
    trace::{Act, Trace},
};
use server::proto::etcdserverpb::{PutRequest, RangeRequest, kv_client::KvClient};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tonic::{Request, Status, transport::Channel};

/// So many clients write, or read, at a time.
const CLIENTS: u64 = 32;
/// How long the store may take for one key, errors included.
const KEY_LIMIT: Duration = Duration::from_secs(30);
/// Pause after an error.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Write,
    Read,
}

impl Trace {
    /// Writes every key that is recorded, so that no read finds a value that nobody knows.
    ///
    /// # Errors
    /// A text for the user.
    pub async fn first_writes(self: &Arc<Trace>, plan: &Plan) -> Result<(), String> {
        self.each_key(plan, End::Write).await
    }

    /// Reads every key that is recorded, after the load and its faults.
    ///
    /// # Errors
    /// A text for the user.
    pub async fn last_reads(self: &Arc<Trace>, plan: &Plan) -> Result<(), String> {
        self.each_key(plan, End::Read).await
    }

    async fn each_key(self: &Arc<Trace>, plan: &Plan, end: End) -> Result<(), String> {
        let mut clients = JoinSet::new();
        for (number, endpoint) in (0..CLIENTS).zip(plan.endpoints.iter().cycle()) {
            let client = Client {
                trace: Arc::clone(self),
                endpoint: endpoint.clone(),
                channel: endpoint.channel()?,
                deadline: plan.deadline,
                value_bytes: plan.workload.values.min().max(Stamp::BYTES),
                process: self.process(),
            };
            let keys: Vec<String> = (number..self.keys())
                .step_by(CLIENTS as usize)
                .map(|key| {
                    let mut name = Vec::new();
                    plan.workload.write_key(key, &mut name);
                    String::from_utf8_lossy(&name).into_owned()
                })
                .collect();
            clients.spawn(client.run(keys, end));
        }
        while let Some(ended) = clients.join_next().await {
            ended.map_err(|error| error.to_string())??;
        }
        Ok(())
    }
}

struct Client {
    trace: Arc<Trace>,
    endpoint: Endpoint,
    channel: Channel,
    deadline: Duration,
    value_bytes: usize,
    process: u64,
}

impl Client {
    async fn run(mut self, keys: Vec<String>, end: End) -> Result<(), String> {
        for key in keys {
            let until = Instant::now() + KEY_LIMIT;
            // Each try is an operation of its own.
            while let Err(error) = self.once(&key, end).await {
                if Instant::now() >= until {
                    return Err(format!(
                        "{}: {key} can be neither written nor read: {error}",
                        self.endpoint.url
                    ));
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        Ok(())
    }

    async fn once(&mut self, key: &str, end: End) -> Result<(), String> {
        let act = match end {
            End::Write => Act::Write(self.trace.value()),
            End::Read => Act::Read { serializable: false },
        };
        self.trace.invoke(self.process, &self.endpoint.url, key, act);
        let call = async {
            match act {
                Act::Write(tag) => self.put(key, tag).await,
                Act::Read { .. } => self.get(key).await,
            }
        };
        let (outcome, error) = match tokio::time::timeout(self.deadline, call).await {
            Err(_) => (Err(Failure::Deadline), "no answer in time".to_owned()),
            Ok(Err(status)) => {
                let code = u32::try_from(i32::from(status.code())).unwrap_or(2);
                (Err(Failure::Status(code)), status.to_string())
            }
            Ok(Ok(answer)) => (Ok(answer), String::new()),
        };
        if !self.trace.complete(self.process, key, act, &outcome) {
            self.process = self.trace.process();
        }
        outcome.map(drop).map_err(|_| error)
    }

    async fn put(&self, key: &str, tag: u64) -> Result<Answer, Status> {
        let mut value = vec![b'x'; self.value_bytes];
        Stamp { due_ns: 0, sent_ns: 0, tag }.write(&mut value);
        let put = PutRequest { key: key.to_owned().into(), value: value.into(), ..PutRequest::default() };
        let mut request = Request::new(put);
        self.endpoint.authorize(request.metadata_mut()).map_err(Status::internal)?;
        let answer = KvClient::new(self.channel.clone()).put(request).await?.into_inner();
        let revision = answer.header.map_or(0, |header| header.revision);
        Ok(Answer { revision, ..Answer::default() })
    }

    async fn get(&self, key: &str) -> Result<Answer, Status> {
        let mut request =
            Request::new(RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() });
        self.endpoint.authorize(request.metadata_mut()).map_err(Status::internal)?;
        let mut client = KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let answer = client.range(request).await?.into_inner();
        let revision = answer.header.map_or(0, |header| header.revision);
        let kv = answer.kvs.first();
        let tag = kv.and_then(|kv| Stamp::read(&kv.value)).map_or(0, |stamp| stamp.tag);
        let mod_revision = kv.map_or(0, |kv| kv.mod_revision);
        Ok(Answer { revision, tag, mod_revision, ..Answer::default() })
    }
}
