//! The ports that clients call: accepts connections, encrypts them, and lets them end when the server stops.

use super::{App, CommonName, front};
use crate::{
    backend::Backend,
    tls::{self, Tls},
};
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// How long requests under way may take once the server is to stop.
const GRACE: Duration = Duration::from_secs(5);

/// A TLS handshake takes no longer.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long to wait after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A place where clients call, taken and not served yet.
#[derive(Debug)]
pub enum ClientListener {
    /// Of the network.
    Tcp(std::net::TcpListener),
    /// Of the file system. The file goes with the server.
    Unix(std::os::unix::net::UnixListener),
}

impl From<std::net::TcpListener> for ClientListener {
    fn from(listener: std::net::TcpListener) -> ClientListener {
        ClientListener::Tcp(listener)
    }
}

impl From<std::os::unix::net::UnixListener> for ClientListener {
    fn from(listener: std::os::unix::net::UnixListener) -> ClientListener {
        ClientListener::Unix(listener)
    }
}

impl ClientListener {
    /// Serves what calls here, as [`serve_with`].
    ///
    /// # Errors
    /// The operating system does not let it be served.
    pub async fn serve<B: Backend>(
        self,
        app: App<B>,
        tls: Option<Arc<Tls>>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        match self {
            ClientListener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                serve_with(TcpListener::from_std(listener)?, app, tls, shutdown).await;
            }
            ClientListener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                serve_at(UnixListener::from_std(listener)?, app, tls, shutdown).await;
                if let Some(path) = address.as_pathname() {
                    std::fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }
}

/// Serves connections until `shutdown` completes, then lets requests under way end, for at most five
/// seconds.
pub async fn serve<B: Backend>(listener: TcpListener, app: App<B>, shutdown: impl Future<Output = ()>) {
    serve_with(listener, app, None, shutdown).await;
}

/// As [`serve`], encrypted where there is `tls`.
pub async fn serve_with<B: Backend>(
    listener: TcpListener,
    app: App<B>,
    tls: Option<Arc<Tls>>,
    shutdown: impl Future<Output = ()>,
) {
    serve_at(listener, app, tls, shutdown).await;
}

/// Something that clients connect to.
trait Door {
    type Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    async fn accept(&self) -> io::Result<Self::Socket>;
}

impl Door for TcpListener {
    type Socket = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (socket, _) = TcpListener::accept(self).await?;
        // Answers are small and complete: waiting to fill a packet only delays them. A socket that cannot be
        // told so works all the same.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        Ok(socket)
    }
}

impl Door for UnixListener {
    type Socket = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(UnixListener::accept(self).await?.0)
    }
}

async fn serve_at<B: Backend>(
    door: impl Door,
    app: App<B>,
    tls: Option<Arc<Tls>>,
    shutdown: impl Future<Output = ()>,
) {
    let app = Arc::new(app);
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = door.accept() => match accepted {
                Ok(socket) => {
                    connections.spawn(accept(socket, tls.clone(), Arc::clone(&app), stopping.clone()));
                }
                Err(error) => refused(&error).await,
            },
            Some(_) = connections.join_next() => {}
            () = &mut shutdown => break,
        }
    }
    drop(door);
    app.close();
    drop(stop);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "closing connections with requests under way");
    }
}

async fn refused(error: &io::Error) {
    match error.kind() {
        // Of one client, which has already gone.
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => {}
        _this_process_or_machine => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn accept<B: Backend>(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    tls: Option<Arc<Tls>>,
    app: Arc<App<B>>,
    stopping: watch::Receiver<()>,
) {
    let Some(tls) = tls else { return front::serve(socket, None, app, stopping).await };
    let accepted = TlsAcceptor::from(tls.config()).accept(socket);
    match tokio::time::timeout(HANDSHAKE_MAX, accepted).await {
        Ok(Ok(socket)) => {
            let certificates = socket.get_ref().1.peer_certificates().filter(|_| tls.names_users());
            let name = certificates.and_then(|all| all.first()).and_then(tls::common_name).map(CommonName);
            front::serve(socket, name, app, stopping).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}
