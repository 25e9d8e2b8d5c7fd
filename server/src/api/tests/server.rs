//! A server for one test.

use crate::{
    api::{Limits, app, serve},
    fake::Fake,
};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tonic::transport::{Channel, Endpoint};

/// A server on a free loopback port.
pub(crate) struct Server {
    pub(crate) fake: Fake,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let fake = Fake::new();
        let (stop, stopped) = oneshot::channel();
        let app = app(fake.clone(), limits, Arc::default());
        let serving = tokio::spawn(serve(listener, app, async { stopped.await.unwrap_or_default() }));
        Server { fake, address, stop, serving }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        endpoint.connect().await.expect("the server accepts")
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the server accepts")
    }

    /// Asks the server to stop; the handle ends once it has.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        self.stop.send(()).expect("the server waits for it");
        self.serving
    }
}
