//! A stand-in for etcd: answers Status and Range, and talks to its peers all the time, so that a cut link
//! has something to lose. `n1` always leads. It keeps nothing and agrees on nothing.

use server::proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, CompactionRequest, CompactionResponse, DefragmentRequest,
    DefragmentResponse, DeleteRangeRequest, DeleteRangeResponse, DowngradeRequest, DowngradeResponse,
    HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse,
    PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader, SnapshotRequest, SnapshotResponse,
    StatusRequest, StatusResponse, TxnRequest, TxnResponse,
    kv_server::{Kv, KvServer},
    maintenance_server::{Maintenance, MaintenanceServer},
};
use std::{env, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tonic::{Request, Response, Status};

#[derive(Clone)]
struct Node {
    member_id: u64,
}

pub(crate) fn main() -> i32 {
    let flag = |name: &str| {
        let prefix = format!("--{name}=");
        env::args().find_map(|argument| argument.strip_prefix(&prefix).map(str::to_owned)).unwrap_or_default()
    };
    if env::args().any(|argument| argument == "--version") {
        println!("etcd Version: 0.0.1");
        return 0;
    }
    let name = flag("name");
    let node = Node { member_id: name[1..].parse().expect("nodes are called n1, n2, ...") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let peers =
            TcpListener::bind(address(&flag("listen-peer-urls"))).await.expect("the peer port is free");
        tokio::spawn(listen(peers));
        for member in flag("initial-cluster").split(',') {
            match member.split_once('=') {
                Some((peer, url)) if peer != name => drop(tokio::spawn(chatter(address(url)))),
                _ => {}
            }
        }
        println!("{name} serves");
        tonic::transport::Server::builder()
            .add_service(KvServer::new(node.clone()))
            .add_service(MaintenanceServer::new(node))
            .serve(address(&flag("listen-client-urls")).parse().expect("an address"))
            .await
            .expect("the client port is free");
    });
    0
}

fn address(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

async fn listen(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut chunk = [0; 64];
            while let Ok(1..) = stream.read(&mut chunk).await {
                if stream.write_all(b"pong").await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Sends a few bytes all the time, on a connection that is made again when it breaks.
async fn chatter(to: String) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(&to).await {
            while stream.write_all(b"ping").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("a stand-in has no such call"))
}

#[tonic::async_trait]
impl Kv for Node {
    async fn range(&self, _: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        Ok(Response::new(RangeResponse::default()))
    }
    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        not_here()
    }
    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        not_here()
    }
    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        not_here()
    }
    async fn compact(&self, _: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        not_here()
    }
}

#[tonic::async_trait]
impl Maintenance for Node {
    type SnapshotStream = tokio_stream::Empty<Result<SnapshotResponse, Status>>;

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let header = ResponseHeader { member_id: self.member_id, raft_term: 1, ..Default::default() };
        Ok(Response::new(StatusResponse {
            header: Some(header),
            leader: 1,
            raft_term: 1,
            ..Default::default()
        }))
    }
    async fn alarm(&self, _: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        not_here()
    }
    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        not_here()
    }
    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        not_here()
    }
    async fn hash_kv(&self, _: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        not_here()
    }
    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        not_here()
    }
    async fn move_leader(
        &self,
        _: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        not_here()
    }
    async fn downgrade(&self, _: Request<DowngradeRequest>) -> Result<Response<DowngradeResponse>, Status> {
        not_here()
    }
}
