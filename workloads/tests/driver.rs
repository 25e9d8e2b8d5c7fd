//! The driver against servers that behave in every bad way: which errors prove that nothing happened.

use server::proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
    kv_server::{Kv, KvServer},
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tonic::{Code, Request, Response, Status};
use workloads::driver::{Certainty, Client, DriverError};

/// Long enough for anything that does answer.
const PATIENT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

fn client(address: SocketAddr, deadline: Duration) -> Client {
    Client::new(&format!("http://{address}"), deadline).unwrap()
}

async fn put(client: &mut Client) -> Result<PutResponse, DriverError> {
    client.put(PutRequest { key: "k".into(), ..PutRequest::default() }).await
}

/// A listener, and its address.
async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads until the client's request has surely arrived: its path is in the header block, in the clear or
/// coded, so what is waited for is the body, the key `k` in a put's encoding.
async fn read_request(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    let mut chunk = [0; 1024];
    while !seen.windows(3).any(|window| window == b"\x0a\x01k") {
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "the client went away after {seen:?}");
        seen.extend_from_slice(&chunk[..n]);
    }
}

#[tokio::test]
async fn a_refused_connection_proves_that_nothing_was_sent() {
    let (listener, address) = listen().await;
    drop(listener);
    let error = put(&mut client(address, PATIENT)).await.unwrap_err();
    assert!(matches!(error, DriverError::Refused { .. }), "{error}");
    assert_eq!(error.certainty(), Certainty::Definite);
}

#[tokio::test]
async fn silence_after_the_request_proves_nothing() {
    let (listener, address) = listen().await;
    let held = tokio::spawn(async move { listener.accept().await.unwrap() });
    let mut client = client(address, SHORT);
    let error = put(&mut client).await.unwrap_err();
    assert!(matches!(error, DriverError::Deadline { .. }), "{error}");
    assert_eq!(error.certainty(), Certainty::Indeterminate);
    assert!(!client.is_connected(), "a silent connection is given up");
    drop(held.await.unwrap());
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_proves_nothing() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
    });
    let error = put(&mut client(address, PATIENT)).await.unwrap_err();
    assert_eq!(error.certainty(), Certainty::Indeterminate, "{error}");
    server.await.unwrap();
}

/// A member that answers every put with the next of its answers.
struct Scripted {
    answers: Vec<Result<i64, Status>>,
    calls: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Kv for Scripted {
    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let call = self.calls.fetch_add(1, SeqCst);
        let revision = self.answers[call].clone()?;
        let header = (revision > 0).then(|| ResponseHeader { revision, ..ResponseHeader::default() });
        Ok(Response::new(PutResponse { header, prev_kv: None }))
    }

    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let limit = request.metadata().get("grpc-timeout").map(|value| value.to_str().unwrap().to_string());
        Err(Status::new(Code::FailedPrecondition, limit.unwrap_or_default()))
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn compact(&self, _: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Serves on a port of its own until the sender is dropped. Gives the address and the count of puts.
async fn serve(
    answers: Vec<Result<i64, Status>>,
) -> (SocketAddr, Arc<AtomicUsize>, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let (listener, address) = listen().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let kv = KvServer::new(Scripted { answers, calls: Arc::clone(&calls) });
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        tonic::transport::Server::builder()
            .add_service(kv)
            .serve_with_incoming_shutdown(tokio_stream::wrappers::TcpListenerStream::new(listener), async {
                // The sender's drop is the signal.
                let _ = stopped.await;
            })
            .await
            .unwrap();
    });
    (address, calls, stop, server)
}

#[tokio::test]
async fn every_answer_is_one_call_and_nothing_is_sent_again() {
    let unavailable = |text: &str| Err(Status::new(Code::Unavailable, text));
    let answers = vec![
        Ok(7),
        unavailable("etcdserver: leader changed"),
        unavailable("etcdserver: no leader"),
        Err(Status::new(Code::ResourceExhausted, "etcdserver: too many requests")),
        Ok(8),
    ];
    let count = answers.len();
    let (address, calls, _stop, _server) = serve(answers).await;
    let mut client = client(address, PATIENT);
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.push(match put(&mut client).await {
            Ok(answer) => format!("{}", workloads::driver::revision(answer.header.as_ref()).unwrap()),
            Err(error) => format!("{} {:?}", error.kind(), error.certainty()),
        });
    }
    let want = ["7", "leader_changed Indeterminate", "no_leader Definite", "too_many_requests Definite", "8"];
    assert_eq!(seen, want);
    assert_eq!(calls.load(SeqCst), count, "each call reached the member once");
}

#[tokio::test]
async fn a_member_that_was_stopped_is_refused_definitely_and_found_again() {
    let (address, _, stop, server) = serve(vec![Ok(1)]).await;
    let mut client = client(address, PATIENT);
    put(&mut client).await.unwrap();
    drop(stop);
    server.await.unwrap();
    let error = put(&mut client).await.unwrap_err();
    assert_eq!(error.certainty(), Certainty::Definite, "{error}");
}

#[tokio::test]
async fn the_server_is_told_the_deadline_and_one_operation_has_only_one() {
    let (address, _, _stop, _server) = serve(Vec::new()).await;
    let mut client = client(address, PATIENT);
    client.start_operation();
    let mut limits_us = Vec::new();
    for _ in 0..2 {
        let error = client.range(RangeRequest::default()).await.unwrap_err();
        let DriverError::Rejected { text, .. } = &error else { panic!("{error}") };
        let (number, unit) = text.split_at(text.len() - 1);
        let scale =
            [("n", 0.001), ("u", 1.0), ("m", 1000.0), ("S", 1e6)].iter().find(|(name, _)| *name == unit);
        limits_us.push(number.parse::<f64>().unwrap() * scale.expect(text).1);
    }
    assert!(limits_us[0] <= PATIENT.as_secs_f64() * 1e6, "{limits_us:?}");
    assert!(limits_us[1] < limits_us[0], "the second call has less time left: {limits_us:?}");
}

#[tokio::test]
async fn an_answer_without_a_header_is_malformed() {
    let (address, _, _stop, _server) = serve(vec![Ok(0)]).await;
    let answer = put(&mut client(address, PATIENT)).await.unwrap();
    let error = workloads::driver::revision(answer.header.as_ref()).unwrap_err();
    assert_eq!((error.kind(), error.certainty()), ("malformed", Certainty::Indeterminate));
}
