//! What goes over the connection: malformed and oversized requests, metadata, and how a server stops.

use super::Server;
use crate::proto::etcdserverpb::{PutRequest, RangeRequest, RangeResponse, kv_client::KvClient};
use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{DecodeContext, WireType},
};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

/// A message that is sent as it is.
#[derive(Clone, Debug, Default)]
struct Raw(Bytes);

impl Message for Raw {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        prost::encoding::skip_field(wire_type, tag, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

async fn send(channel: &Channel, path: &'static str, body: &[u8]) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("the connection stands");
    let codec = ProstCodec::<Raw, Raw>::default();
    let request = Request::new(Raw(Bytes::copy_from_slice(body)));
    grpc.unary(request, PathAndQuery::from_static(path), codec).await.map(drop)
}

#[tokio::test]
async fn malformed_requests_are_refused_and_the_connection_goes_on() {
    let server = Server::start().await;
    let channel = server.channel().await;
    let eof = "grpc: error unmarshalling request: unexpected EOF";
    for (path, body, code, text) in [
        (
            "/etcdserverpb.KV/Nope",
            &b""[..],
            Code::Unimplemented,
            "unknown method Nope for service etcdserverpb.KV",
        ),
        ("/etcdserverpb.Nope/Range", b"", Code::Unimplemented, "unknown service etcdserverpb.Nope"),
        ("/nope", b"", Code::Unimplemented, "malformed method name: \"/nope\""),
        // Field 1 promises ten bytes and has two.
        ("/etcdserverpb.KV/Range", b"\x0a\x0aab", Code::Internal, eof),
        ("/etcdserverpb.KV/Put", b"\x0a", Code::Internal, ""),
        ("/etcdserverpb.Maintenance/HashKV", b"\x08", Code::Internal, ""),
        // A string that is no UTF-8, a varint without end, a group.
        ("/grpc.health.v1.Health/Check", b"\x0a\x01\xff", Code::Internal, ""),
        ("/etcdserverpb.KV/Compact", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Code::Internal, ""),
        ("/etcdserverpb.KV/Txn", b"\x0b\x0b\x0b", Code::Internal, ""),
    ] {
        let status = send(&channel, path, body).await.expect_err(path);
        assert_eq!(status.code(), code, "{path} {body:?}: {status}");
        if text.is_empty() {
            let why = status.message().strip_prefix("grpc: error unmarshalling request: ");
            assert!(why.is_some(), "{path} {body:?}: {status}");
        } else {
            assert_eq!(status.message(), text, "{path} {body:?}");
        }
    }
    // Deeper than any decoder should follow: a transaction within a transaction, and so on.
    let mut nested = Vec::new();
    for _ in 0..300 {
        let op = [&[0x22], &varint(nested.len())[..], &nested].concat();
        nested = [&[0x12], &varint(op.len())[..], &op].concat();
    }
    let status = send(&channel, "/etcdserverpb.KV/Txn", &nested).await.expect_err("too deep");
    assert_eq!(status.code(), Code::Internal, "{status}");
    send(&channel, "/etcdserverpb.Maintenance/Status", b"").await.expect("the connection goes on");
}

fn varint(value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(value as u64, &mut bytes);
    bytes
}

#[tokio::test]
async fn messages_beyond_the_limit_are_refused_unread() {
    let server = Server::start().await;
    let mut kv = KvClient::new(server.channel().await);
    let mut put = async |bytes: usize| {
        let value = vec![b'x'; bytes].into();
        kv.put(PutRequest { key: "k".into(), value, ..PutRequest::default() }).await
    };
    let status = put(1_572_864).await.expect_err("more than may be proposed");
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "etcdserver: request is too large")
    );
    let status = put(2_697_180).await.expect_err("more than is read");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "grpc: received message larger than max (2697188 vs. 2097152)");
    put(10).await.expect("the connection goes on");
}

#[tokio::test]
async fn who_wants_a_leader_is_refused_without_one() {
    let server = Server::start().await;
    let mut kv = KvClient::new(server.channel().await);
    let request = || {
        let read = RangeRequest { key: "k".into(), serializable: true, ..RangeRequest::default() };
        let mut request = Request::new(read);
        request.metadata_mut().insert("hasleader", "true".parse().expect("ASCII"));
        request
    };
    let _: RangeResponse = kv.range(request()).await.expect("there is one").into_inner();
    server.fake.set_leaderless(true);
    let status = kv.range(request()).await.expect_err("there is none");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
}

#[tokio::test]
async fn a_server_that_stops_closes_its_connections() {
    let server = Server::start().await;
    let address = server.address;
    let mut kv = KvClient::new(server.channel().await);
    let put = PutRequest { key: "k".into(), ..PutRequest::default() };
    kv.put(put.clone()).await.expect("a put");
    let mut idle = server.connect().await;
    let stopped = server.stop();
    tokio::time::timeout(Duration::from_secs(10), stopped).await.expect("it stops").expect("in good order");
    let mut rest = Vec::new();
    // Either end may have been the first to close; nothing must be left open.
    let _ = idle.read_to_end(&mut rest).await;
    kv.put(put).await.expect_err("nobody is there");
    tokio::net::TcpStream::connect(address).await.expect_err("nobody listens");
}

#[tokio::test]
async fn rubbish_does_not_disturb_others() {
    let server = Server::start().await;
    let mut kv = KvClient::new(server.channel().await);
    for bytes in [
        &b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x04\x01\x04\0\0\0\x01\xff\xff\xff\xff",
        b"GET \xff\xfe HTTP/1.1\r\n\r\n",
        b"POST /v3/kv/put HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
    ] {
        let mut socket = server.connect().await;
        socket.write_all(bytes).await.expect("the server reads");
        socket.shutdown().await.expect("the end");
        // It answers or hangs up.
        let _ = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut Vec::new()))
            .await
            .expect("the server does not wait for more");
        kv.put(PutRequest { key: "k".into(), ..PutRequest::default() }).await.expect("others are served");
    }
}
