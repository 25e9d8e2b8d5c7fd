//! Connections: tells HTTP/2 from HTTP/1.1 by what a client says first, and serves either.

mod body;
mod driver;

use super::{App, CommonName, counted::Counted};
use crate::{backend::Backend, http2::frame::PREFACE};
use bytes::{Bytes, BytesMut};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    sync::watch,
};

/// Serves a connection until its client closes it, or until what is under way is served after `stopping` changed.
pub(super) async fn serve<B: Backend>(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    name: Option<CommonName>,
    app: Arc<App<B>>,
    mut stopping: watch::Receiver<()>,
) {
    let mut socket = Counted::new(socket, app.metrics());
    let first = tokio::select! {
        first = first_octets(&mut socket) => first,
        // An error too: the sender is gone.
        _ = stopping.changed() => return,
    };
    let served = match first {
        Ok(first) if first.starts_with(PREFACE) => {
            driver::serve(socket, &first[PREFACE.len()..], name, app, stopping).await;
            Ok(())
        }
        Ok(first) => http1(Prefixed { first: first.freeze(), socket }, app, stopping).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = served {
        tracing::debug!(error, "connection ended");
    }
}

/// As much as it takes to know whether it is the preface of HTTP/2, or less at the end.
async fn first_octets(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<BytesMut> {
    let mut first = BytesMut::with_capacity(4096);
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) && socket.read_buf(&mut first).await? > 0
    {
    }
    Ok(first)
}

async fn http1<B: Backend>(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Arc<App<B>>,
    mut stopping: watch::Receiver<()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Certificates name users over gRPC only, which takes HTTP/2. As etcd.
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(app.handle(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    served.map_err(Into::into)
}

/// A socket of which the first octets were read already.
struct Prefixed<S> {
    first: Bytes,
    socket: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, to);
        }
        let octets = self.first.len().min(to.remaining());
        to.put_slice(&self.first.split_to(octets));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
