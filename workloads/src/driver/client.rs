//! The calls of etcd's API that the workloads use.

use super::{clock::Clock, connection::Connection, error::DriverError, watch::Responses};
use http::Uri;
use server::proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, HashKvRequest,
    HashKvResponse, LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader, StatusRequest, StatusResponse,
    TxnRequest, TxnResponse, WatchRequest, kv_client::KvClient, maintenance_client::MaintenanceClient,
};
use std::{future::Future, pin::Pin, time::Duration};
use tokio::{sync::mpsc, time::Instant};
use tonic::{Request, Response, Status};

/// What an answer takes its time to be.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, DriverError>> + Send>>;

/// A member in this process, in place of a connection to one: what the simulator gives its clients.
pub trait Port: Send {
    /// Reads keys.
    fn range(&self, request: RangeRequest) -> Answer<RangeResponse>;
    /// Writes one key.
    fn put(&self, request: PutRequest) -> Answer<PutResponse>;
    /// Deletes keys.
    fn delete_range(&self, request: DeleteRangeRequest) -> Answer<DeleteRangeResponse>;
    /// Compares, then reads and writes.
    fn txn(&self, request: TxnRequest) -> Answer<TxnResponse>;
    /// Forgets history below a revision.
    fn compact(&self, request: CompactionRequest) -> Answer<CompactionResponse>;
    /// Makes a lease.
    fn lease_grant(&self, request: LeaseGrantRequest) -> Answer<LeaseGrantResponse>;
    /// Ends a lease.
    fn lease_revoke(&self, request: LeaseRevokeRequest) -> Answer<LeaseRevokeResponse>;
    /// Renews a lease, and gives its TTL in seconds: 0 for one that is gone.
    fn lease_keep_alive(&self, id: i64) -> Answer<i64>;
    /// Opens a stream of watches.
    ///
    /// # Errors
    /// Why there is none.
    fn watch(&self, requests: mpsc::Receiver<WatchRequest>) -> Result<Responses, DriverError>;
    /// What the member's clients take for the time.
    fn clock(&self) -> Clock;
}

/// A client of one member: connects when first used, and again after its connection broke. Never retries.
pub struct Client {
    origin: Uri,
    authority: String,
    deadline: Duration,
    /// When the operation under way must be over, where one was started.
    until: Option<Instant>,
    connection: Option<Connection>,
    /// Takes the place of a connection.
    port: Option<Box<dyn Port>>,
}

impl Client {
    /// A client of the member at `url` (`http://host:port`); `deadline` bounds each call, connecting
    /// included, or all calls of one operation together.
    ///
    /// # Errors
    /// A text for the user, when `url` is not of that form.
    pub fn new(url: &str, deadline: Duration) -> Result<Client, String> {
        let with_scheme = if url.contains("://") { url.to_string() } else { format!("http://{url}") };
        let origin: Uri = with_scheme.parse().map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        if origin.scheme_str() != Some("http") {
            return Err(format!("`{url}`: only http:// endpoints are supported"));
        }
        let (Some(host), Some(port)) = (origin.host(), origin.port_u16()) else {
            return Err(format!("`{url}` lacks a host or a port: write http://HOST:PORT"));
        };
        let authority = format!("{host}:{port}");
        let origin = Uri::builder()
            .scheme("http")
            .authority(authority.as_str())
            .path_and_query("/")
            .build()
            .map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        Ok(Client { origin, authority, deadline, until: None, connection: None, port: None })
    }

    /// A client of a member in this process.
    pub fn of_port(port: Box<dyn Port>, deadline: Duration) -> Client {
        Client {
            origin: Uri::default(),
            authority: String::new(),
            deadline,
            until: None,
            connection: None,
            port: Some(port),
        }
    }

    /// Begins an operation: the calls from here to the next start share one deadline.
    pub fn start_operation(&mut self) -> &mut Client {
        self.until = Some(Instant::now() + self.deadline);
        self
    }

    /// What the time is where the member lives.
    pub fn clock(&self) -> Clock {
        self.port.as_ref().map_or(Clock::Machine, |port| port.clock())
    }

    /// The member in this process that takes the place of a connection.
    pub(super) fn port(&self) -> Option<&dyn Port> {
        self.port.as_deref()
    }

    /// How long an operation, or a single call, may take.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether there is a connection that may still work.
    pub fn is_connected(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.is_closed())
    }

    /// Reads keys.
    ///
    /// # Errors
    /// As every call here: see [`DriverError`].
    pub async fn range(&mut self, request: RangeRequest) -> Result<RangeResponse, DriverError> {
        if let Some(port) = &self.port {
            let answer = port.range(request);
            return answer.await;
        }
        self.kv(request, async |kv, request| kv.range(request).await).await
    }

    /// Writes one key.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub async fn put(&mut self, request: PutRequest) -> Result<PutResponse, DriverError> {
        if let Some(port) = &self.port {
            let answer = port.put(request);
            return answer.await;
        }
        self.kv(request, async |kv, request| kv.put(request).await).await
    }

    /// Deletes keys.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub async fn delete_range(
        &mut self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, DriverError> {
        if let Some(port) = &self.port {
            let answer = port.delete_range(request);
            return answer.await;
        }
        self.kv(request, async |kv, request| kv.delete_range(request).await).await
    }

    /// Compares, then reads and writes.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub async fn txn(&mut self, request: TxnRequest) -> Result<TxnResponse, DriverError> {
        if let Some(port) = &self.port {
            let answer = port.txn(request);
            return answer.await;
        }
        self.kv(request, async |kv, request| kv.txn(request).await).await
    }

    /// Forgets history below a revision.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub async fn compact(&mut self, request: CompactionRequest) -> Result<CompactionResponse, DriverError> {
        if let Some(port) = &self.port {
            let answer = port.compact(request);
            return answer.await;
        }
        self.kv(request, async |kv, request| kv.compact(request).await).await
    }

    /// What the member says of itself.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub async fn status(&mut self) -> Result<StatusResponse, DriverError> {
        self.maintenance(StatusRequest {}, async |maintenance, request| maintenance.status(request).await)
            .await
    }

    /// Hash of the member's key-value state at `revision`, 0 for its newest.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub async fn hash_kv(&mut self, revision: i64) -> Result<HashKvResponse, DriverError> {
        self.maintenance(HashKvRequest { revision }, async |maintenance, request| {
            maintenance.hash_kv(request).await
        })
        .await
    }

    /// Where requests go.
    pub(super) fn origin(&self) -> Uri {
        self.origin.clone()
    }

    /// When the operation under way must be over.
    pub(super) fn until(&self) -> Instant {
        self.until.unwrap_or(Instant::now() + self.deadline)
    }

    /// The connection, made if there is none that may still work.
    pub(super) async fn connected(&mut self, until: Instant) -> Result<Connection, DriverError> {
        match &self.connection {
            Some(connection) if !connection.is_closed() => Ok(connection.clone()),
            Some(_) | None => {
                let within = until.saturating_duration_since(Instant::now());
                self.connection = None;
                Ok(self.connection.insert(Connection::open(&self.authority, within).await?).clone())
            }
        }
    }

    /// Gives the connection up if an error shows that it is of no more use.
    pub(super) fn after(&mut self, error: &DriverError) {
        if error.breaks_connection() {
            self.connection = None;
        }
    }

    async fn kv<Q, A>(
        &mut self,
        message: Q,
        send: impl AsyncFnOnce(&mut KvClient<Connection>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, DriverError> {
        self.call(message, async |connection, origin, request| {
            // An answer is taken whatever its size: a limit would turn it into an error of our own making.
            let mut kv = KvClient::with_origin(connection, origin).max_decoding_message_size(usize::MAX);
            send(&mut kv, request).await
        })
        .await
    }

    async fn maintenance<Q, A>(
        &mut self,
        message: Q,
        send: impl AsyncFnOnce(&mut MaintenanceClient<Connection>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, DriverError> {
        self.call(message, async |connection, origin, request| {
            let mut maintenance = MaintenanceClient::with_origin(connection, origin);
            send(&mut maintenance, request).await
        })
        .await
    }

    pub(super) async fn call<Q, A>(
        &mut self,
        message: Q,
        send: impl AsyncFnOnce(Connection, Uri, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, DriverError> {
        let start = Instant::now();
        let until = self.until();
        let connection = self.connected(until).await?;
        let mut request = Request::new(message);
        // The server is told too, so that it need not work for nobody.
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        let answer = tokio::time::timeout_at(until, send(connection, self.origin.clone(), request)).await;
        let result = match answer {
            Err(_) => Err(DriverError::Deadline { after_ms: millis(start.elapsed()) }),
            Ok(Err(status)) => Err(DriverError::from_status(&status)),
            Ok(Ok(answer)) => Ok(answer.into_inner()),
        };
        result.inspect_err(|error| self.after(error))
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The revision in an answer's header.
///
/// # Errors
/// [`DriverError::Malformed`] when there is no header.
pub fn revision(header: Option<&ResponseHeader>) -> Result<i64, DriverError> {
    header
        .map(|header| header.revision)
        .ok_or_else(|| DriverError::Malformed { text: "the answer has no header".into() })
}
