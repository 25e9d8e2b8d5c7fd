//! The docker engine, spoken to over its socket.
//!
//! Requests name no version of the API, which stands for the engine's own: what is used here has not changed
//! since the API's 1.24. Source: Docker Engine API reference.

use crate::cluster::ClusterError;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Bytes, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write, net::Ipv4Addr, path::PathBuf, time::Duration};
use tokio::{net::UnixStream, time::timeout};

/// Where the harness's container finds the engine.
const SOCKET: &str = "/var/run/docker.sock";

/// How long the engine may take over one request. Making and starting a container takes some 200 ms, ten
/// times as much on a machine that is busy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long an image may take to arrive from a registry.
const PULL_TIMEOUT: Duration = Duration::from_secs(300);

/// Why the engine did not do what it was told.
#[derive(Debug)]
pub(super) enum EngineError {
    /// No conversation came about.
    Unreachable(String),
    /// It answered with an error.
    Refused {
        /// HTTP's status.
        status: StatusCode,
        /// What it said.
        message: String,
    },
}

impl EngineError {
    /// Whether the container, image or whatever was named is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, EngineError::Refused { status: StatusCode::NOT_FOUND, .. })
    }

    /// Whether a container was in a state in which there is nothing to do, such as a kill of one that has
    /// ended.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, EngineError::Refused { status: StatusCode::CONFLICT, .. })
    }

    /// The same for whoever runs a cluster.
    pub(super) fn during(self, doing: impl Into<String>) -> ClusterError {
        let (message, remedy) = match self {
            EngineError::Unreachable(message) => {
                (message, "see that the docker daemon runs, and that its socket is mounted into the harness")
            }
            EngineError::Refused { message, .. } => (message, "see what the docker daemon logs"),
        };
        ClusterError::Docker { doing: doing.into(), message, remedy: remedy.to_owned() }
    }
}

/// A container, as the engine describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspection {
    pub(super) id: String,
    /// With a slash before it.
    pub(super) name: String,
    pub(super) state: State,
    pub(super) config: Config,
    #[serde(default)]
    pub(super) host_config: HostConfig,
    pub(super) network_settings: NetworkSettings,
}

/// What a container is doing.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct State {
    /// `created`, `running`, `paused`, `exited`, ...
    pub(super) status: String,
    /// A paused container runs, too.
    pub(super) running: bool,
    pub(super) paused: bool,
    /// Of its first process, as the engine's machine counts; 0 when it does not run.
    pub(super) pid: u32,
    pub(super) exit_code: i64,
    #[serde(rename = "OOMKilled", default)]
    pub(super) out_of_memory: bool,
    #[serde(default)]
    pub(super) error: String,
}

/// The part of a container's settings that counts here.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Config {
    pub(super) labels: Option<BTreeMap<String, String>>,
}

/// The part of a container's resources that counts here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HostConfig {
    /// The most memory that it may have, in bytes; 0: all there is.
    #[serde(default)]
    pub(super) memory: u64,
}

/// The part of what a container uses that counts here.
#[derive(Debug, Deserialize)]
struct Usage {
    memory_stats: MemoryUsage,
}

#[derive(Debug, Deserialize)]
struct MemoryUsage {
    /// Numbers of the kernel's `memory.stat`.
    #[serde(default)]
    stats: BTreeMap<String, u64>,
}

/// A container's networks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NetworkSettings {
    networks: Option<BTreeMap<String, Endpoint>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Endpoint {
    #[serde(rename = "IPAddress", default)]
    address: String,
}

impl Inspection {
    /// The container's address, where it is on one network.
    pub(super) fn address(&self) -> Option<Ipv4Addr> {
        let mut addresses = self
            .network_settings
            .networks
            .iter()
            .flatten()
            .filter_map(|(_, endpoint)| endpoint.address.parse().ok());
        addresses.next().filter(|_| addresses.next().is_none())
    }

    /// What a label says.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.config.labels.as_ref()?.get(name).map(String::as_str)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WithId {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Complaint {
    message: String,
}

/// The docker engine.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    socket: PathBuf,
}

impl Engine {
    /// The engine whose socket is mounted into this container.
    pub(super) fn mounted() -> Engine {
        Engine { socket: PathBuf::from(SOCKET) }
    }

    /// Describes a container by its id or name.
    pub(super) async fn inspect(&self, container: &str) -> Result<Inspection, EngineError> {
        self.get(&format!("/containers/{container}/json")).await
    }

    /// The ids of all containers, running or not, that have every one of these labels (`name=value`).
    pub(super) async fn list(&self, labels: &[String]) -> Result<Vec<String>, EngineError> {
        let filters = json!({ "label": labels }).to_string();
        let found: Vec<WithId> =
            self.get(&format!("/containers/json?all=1&filters={}", escaped(&filters))).await?;
        Ok(found.into_iter().map(|container| container.id).collect())
    }

    /// Makes a container, and returns its id.
    pub(super) async fn create(&self, name: &str, container: &Value) -> Result<String, EngineError> {
        let path = format!("/containers/create?name={}", escaped(name));
        let made: WithId = parsed(&self.exchange(Method::POST, &path, Some(container)).await?)?;
        Ok(made.id)
    }

    /// Starts a container; one that runs is left alone.
    pub(super) async fn start(&self, container: &str) -> Result<(), EngineError> {
        self.post(&format!("/containers/{container}/start")).await
    }

    /// Sends a signal (`KILL`, `TERM`) to a container's first process.
    pub(super) async fn kill(&self, container: &str, signal: &str) -> Result<(), EngineError> {
        self.post(&format!("/containers/{container}/kill?signal={signal}")).await
    }

    /// Freezes every process of a container.
    pub(super) async fn pause(&self, container: &str) -> Result<(), EngineError> {
        self.post(&format!("/containers/{container}/pause")).await
    }

    /// Lets a frozen container run on.
    pub(super) async fn unpause(&self, container: &str) -> Result<(), EngineError> {
        self.post(&format!("/containers/{container}/unpause")).await
    }

    /// How much memory a container has of its own, in bytes: what the kernel can only take back by killing.
    pub(super) async fn memory_in_use(&self, container: &str) -> Result<u64, EngineError> {
        let usage: Usage =
            self.get(&format!("/containers/{container}/stats?stream=false&one-shot=true")).await?;
        // By the first name in version 2 of control groups, by the second in version 1.
        let own =
            ["anon", "total_rss", "rss"].into_iter().find_map(|name| usage.memory_stats.stats.get(name));
        Ok(own.copied().unwrap_or_default())
    }

    /// Sets the most memory that a container may have, in bytes, running or not.
    pub(super) async fn limit_memory(&self, container: &str, bytes: u64) -> Result<(), EngineError> {
        let path = format!("/containers/{container}/update");
        let limit = json!({"Memory": bytes, "MemorySwap": bytes});
        self.exchange(Method::POST, &path, Some(&limit)).await.map(drop)
    }

    /// Waits until a container does not run.
    pub(super) async fn wait(&self, container: &str) -> Result<(), EngineError> {
        self.post(&format!("/containers/{container}/wait?condition=not-running")).await
    }

    /// Removes a container, running or not. Its volumes stay.
    pub(super) async fn remove(&self, container: &str) -> Result<(), EngineError> {
        match self.exchange(Method::DELETE, &format!("/containers/{container}?force=1"), None).await {
            Err(error) if !error.is_missing() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// What a container has written since `since_s` seconds after 1970, in the engine's frames, see
    /// [`Frames`](super::frames::Frames). With `follow` the answer goes on until the container ends.
    pub(super) async fn logs(
        &self,
        container: &str,
        since_s: f64,
        follow: bool,
    ) -> Result<Incoming, EngineError> {
        let path = format!(
            "/containers/{container}/logs?stdout=1&stderr=1&since={since_s:.9}&follow={}",
            u8::from(follow)
        );
        let answer = within(ANSWER_TIMEOUT, self.send(Method::GET, &path, None)).await?;
        Ok(checked(answer).await?.into_body())
    }

    /// Fetches an image from its registry.
    pub(super) async fn pull(&self, image: &str) -> Result<(), EngineError> {
        // Without a tag every version would come.
        let tagged = image.rsplit('/').next().is_some_and(|name| name.contains([':', '@']));
        let image = if tagged { image.to_owned() } else { format!("{image}:latest") };
        let pulling = async {
            let path = format!("/images/create?fromImage={}", escaped(&image));
            let answer = checked(self.send(Method::POST, &path, None).await?).await?;
            // Progress, one object after the other; a failure on the way is told in the last.
            let progress = collected(answer).await?;
            let complaint = String::from_utf8_lossy(&progress).lines().rev().find_map(|line| {
                serde_json::from_str::<Value>(line).ok()?.get("error")?.as_str().map(str::to_owned)
            });
            match complaint {
                Some(message) => Err(EngineError::Refused { status: StatusCode::BAD_GATEWAY, message }),
                None => Ok(()),
            }
        };
        within(PULL_TIMEOUT, pulling).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        parsed(&self.exchange(Method::GET, path, None).await?)
    }

    async fn post(&self, path: &str) -> Result<(), EngineError> {
        self.exchange(Method::POST, path, None).await.map(drop)
    }

    /// One request and its whole answer, within [`ANSWER_TIMEOUT`].
    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, EngineError> {
        let whole = async { collected(checked(self.send(method, path, body).await?).await?).await };
        within(ANSWER_TIMEOUT, whole).await
    }

    /// Sends a request on a connection of its own.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, EngineError> {
        tracing::debug!(%method, path, ?body, "asking docker");
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|e| EngineError::Unreachable(format!("{}: {e}", self.socket.display())))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        // It ends with the answer's body; an error shows there.
        tokio::spawn(connection);
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "docker")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| EngineError::Unreachable(format!("{path}: {e}")))?;
        sender.send_request(request).await.map_err(lost)
    }
}

async fn within<T>(
    limit: Duration,
    exchange: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    match timeout(limit, exchange).await {
        Ok(outcome) => outcome,
        Err(_) => Err(EngineError::Unreachable(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// An answer that is no error. "Not modified" says that things are as they should be.
async fn checked(answer: Response<Incoming>) -> Result<Response<Incoming>, EngineError> {
    let status = answer.status();
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(answer);
    }
    let said = collected(answer).await?;
    let message = match serde_json::from_slice::<Complaint>(&said) {
        Ok(complaint) => complaint.message,
        Err(_) => String::from_utf8_lossy(&said).trim().to_owned(),
    };
    Err(EngineError::Refused { status, message })
}

async fn collected(answer: Response<Incoming>) -> Result<Bytes, EngineError> {
    Ok(answer.into_body().collect().await.map_err(lost)?.to_bytes())
}

fn parsed<T: DeserializeOwned>(answer: &[u8]) -> Result<T, EngineError> {
    serde_json::from_slice(answer)
        .map_err(|e| EngineError::Unreachable(format!("an answer that makes no sense: {e}")))
}

fn lost(error: hyper::Error) -> EngineError {
    EngineError::Unreachable(error.to_string())
}

/// A value for a query: everything but letters, digits and a few harmless signs as `%XX`.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => text.push(char::from(byte)),
            other => write!(text, "%{other:02X}").expect("to a string"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixListener,
    };

    /// An engine that gives one answer to one request, and the request.
    async fn answering(
        status: &'static str,
        said: &'static str,
    ) -> (Engine, tokio::task::JoinHandle<String>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let length_said = said.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length_said}\r\n\r\n{said}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (Engine { socket }, asked, dir)
    }

    #[tokio::test]
    async fn a_container_is_found_by_its_labels() {
        let (engine, asked, _dir) = answering("200 OK", r#"[{"Id":"aa"},{"Id":"bb"}]"#).await;
        assert_eq!(engine.list(&["a.b=c d".to_owned()]).await.unwrap(), ["aa", "bb"]);
        let asked = asked.await.unwrap();
        let wanted =
            "GET /containers/json?all=1&filters=%7B%22label%22%3A%5B%22a.b%3Dc%20d%22%5D%7D HTTP/1.1";
        assert_eq!(asked.lines().next(), Some(wanted));
    }

    #[tokio::test]
    async fn a_refusal_keeps_the_engines_words() {
        let (engine, _asked, _dir) = answering("409 Conflict", r#"{"message":"is not running"}"#).await;
        let error = engine.kill("n1", "KILL").await.unwrap_err();
        assert!(error.is_conflict() && !error.is_missing(), "{error:?}");
        assert!(error.during("killing n1").to_string().contains("killing n1: is not running"));
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_told_with_the_remedy() {
        let engine = Engine { socket: PathBuf::from("/nonexistent/docker.sock") };
        let error = engine.inspect("n1").await.unwrap_err().during("looking at n1").to_string();
        assert!(
            error.contains("/nonexistent/docker.sock") && error.contains("docker daemon runs"),
            "{error}"
        );
    }

    #[test]
    fn an_address_counts_only_where_it_is_the_only_one() {
        let inspection = |networks: Value| -> Inspection {
            serde_json::from_value(json!({
                "Id": "aa", "Name": "/n1", "Config": {"Labels": {"k": "v"}}, "NetworkSettings": {"Networks": networks},
                "State": {"Status": "running", "Running": true, "Paused": false, "Pid": 7, "ExitCode": 0}
            }))
            .unwrap()
        };
        let one = inspection(json!({"p_net": {"IPAddress": "10.1.2.3"}}));
        assert_eq!(one.address(), Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!((one.label("k"), one.label("x")), (Some("v"), None));
        let two = json!({"a": {"IPAddress": "10.1.2.3"}, "b": {"IPAddress": "10.1.3.3"}});
        assert_eq!(inspection(two).address(), None);
        assert_eq!(inspection(json!({"a": {"IPAddress": ""}})).address(), None);
    }
}
