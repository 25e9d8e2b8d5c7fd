//! Connections: HTTP/1.1 and HTTP/2 on one port, told apart by their first bytes.

use super::{App, CommonName, authority::Lenient, coalesce::Coalesced};
use crate::{
    backend::Backend,
    tls::{self, Tls},
};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use std::{convert::Infallible, future::Future, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// Flow control: what a client may send before it must wait, on one stream and on a connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Clients that give up reset their streams, and a busy one gives up many at once. The library's default of
/// 20 resets that wait to be seen would take that for an attack.
const PENDING_RESETS_MAX: usize = 4096;

/// etcd's defaults for connections without traffic.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2 * 60 * 60);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long requests under way may take once the server is to stop.
const GRACE: Duration = Duration::from_secs(5);

/// A TLS handshake takes no longer.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long to wait after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

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
    let app = Arc::new(app);
    let builder = Arc::new(builder());
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    let (builder, app) = (Arc::clone(&builder), Arc::clone(&app));
                    connections.spawn(accept(socket, tls.clone(), builder, app, stopping.clone()));
                }
                Err(error) => refused(&error).await,
            },
            Some(_) = connections.join_next() => {}
            () = &mut shutdown => break,
        }
    }
    drop(listener);
    app.close();
    drop(stop);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "closing connections with requests under way");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(u32::MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
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
    socket: TcpStream,
    tls: Option<Arc<Tls>>,
    builder: Arc<Builder<TokioExecutor>>,
    app: Arc<App<B>>,
    stopping: watch::Receiver<()>,
) {
    // Answers are small and complete: waiting to fill a packet only delays them. A socket that cannot be
    // told so works all the same.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let Some(tls) = tls else { return connection(socket, None, builder, app, stopping).await };
    let accepted = TlsAcceptor::from(tls.config()).accept(socket);
    match tokio::time::timeout(HANDSHAKE_MAX, accepted).await {
        Ok(Ok(socket)) => {
            let certificates = socket.get_ref().1.peer_certificates().filter(|_| tls.asks_clients());
            let name = certificates.and_then(|all| all.first()).and_then(tls::common_name).map(CommonName);
            connection(socket, name, builder, app, stopping).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn connection<B: Backend>(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    name: Option<CommonName>,
    builder: Arc<Builder<TokioExecutor>>,
    app: Arc<App<B>>,
    mut stopping: watch::Receiver<()>,
) {
    let service = service_fn(|mut request: http::Request<hyper::body::Incoming>| {
        let app = Arc::clone(&app);
        if let Some(name) = &name {
            request.extensions_mut().insert(name.clone());
        }
        async move { Ok::<_, Infallible>(app.handle(request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(Coalesced::new(Lenient::new(socket))), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        // An error too: the sender is gone.
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(error, "connection ended");
    }
}
