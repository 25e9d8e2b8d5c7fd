//! Puts off writing to a connection until everybody who has an answer for it has had a turn.
//!
//! The HTTP/2 library writes whenever its connection's task runs, which mostly is once for every answer: under load
//! more than half of a server's CPU time went into system calls that each sent one. Here what is written is held, and
//! a flush first lets all tasks run that are ready, whose answers then go out together. It is put off once and no
//! longer, so an answer that is alone waits for nobody.

use bytes::{Buf, BytesMut};
use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is held; more is written first.
const HELD_BYTES_MAX: usize = 64 << 10;
/// A buffer that a burst has grown is given back above this.
const HELD_BYTES_KEPT: usize = 256 << 10;

/// A turn for all others.
type Turn = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A socket whose writes go out together.
pub(super) struct Coalesced<S> {
    socket: S,
    held: BytesMut,
    /// The turn that a flush waits for; `None` while there is none to wait for.
    turn: Option<Turn>,
}

impl<S: AsyncWrite + Unpin> Coalesced<S> {
    pub(super) fn new(socket: S) -> Coalesced<S> {
        Coalesced { socket, held: BytesMut::new(), turn: None }
    }

    /// Writes what is held, down to `left` bytes.
    fn poll_drain(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<io::Result<()>> {
        while self.held.len() > left {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(written);
        }
        if self.held.is_empty() && self.held.capacity() > HELD_BYTES_KEPT {
            self.held = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the turn of all others, once for each flush.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let turn = self.turn.get_or_insert_with(|| Box::pin(tokio::task::yield_now()));
        ready!(turn.as_mut().poll(cx));
        self.turn = None;
        Poll::Ready(())
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.held.len() >= HELD_BYTES_MAX {
            ready!(this.poll_drain(cx, HELD_BYTES_MAX / 2))?;
        }
        let before = this.held.len();
        for slice in slices {
            let room = HELD_BYTES_MAX.saturating_sub(this.held.len());
            this.held.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        Poll::Ready(Ok(this.held.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.held.is_empty() {
            ready!(this.poll_turn(cx));
            ready!(this.poll_drain(cx, 0))?;
        }
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx, 0))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Remembers what is written, call by call.
    #[derive(Clone, Default)]
    struct Noted(Arc<Mutex<Vec<Vec<u8>>>>);

    impl AsyncWrite for Noted {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.lock().expect("nobody panics with it").push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_others_write_in_their_turn_goes_out_with_it() {
        let noted = Noted::default();
        let socket = Arc::new(tokio::sync::Mutex::new(Coalesced::new(noted.clone())));
        for n in 0..5_u8 {
            let socket = Arc::clone(&socket);
            tokio::spawn(async move {
                // Only a flush waits for others, so the lock is free whenever this runs.
                let mut socket = socket.try_lock().expect("nobody holds it over a turn");
                socket.write_all(&[n]).await.expect("it is held");
            });
        }
        std::future::poll_fn(|cx| {
            let mut socket = socket.try_lock().expect("nobody holds it over a turn");
            let socket = Pin::new(&mut *socket);
            if socket.held.is_empty() && noted.0.lock().expect("nobody panics with it").is_empty() {
                let mut socket = socket;
                ready!(socket.as_mut().poll_write(cx, b"x"))?;
                return socket.poll_flush(cx);
            }
            socket.poll_flush(cx)
        })
        .await
        .expect("it is written");
        assert_eq!(*noted.0.lock().expect("nobody panics with it"), [b"x\0\x01\x02\x03\x04"]);
    }

    #[tokio::test]
    async fn everything_arrives_in_order_through_a_narrow_socket() {
        for (narrow, piece) in [(1, 1), (7, 1000), (4096, 100_000), (1 << 20, 1 << 18)] {
            let (mut client, socket) = tokio::io::duplex(narrow);
            let sent: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
            let expected = sent.clone();
            let write = tokio::spawn(async move {
                let mut socket = Coalesced::new(socket);
                for (number, bytes) in sent.chunks(piece).enumerate() {
                    socket.write_all(bytes).await.expect("the client reads");
                    if number % 3 == 0 {
                        socket.flush().await.expect("the client reads");
                    }
                }
                socket.shutdown().await.expect("the client reads");
            });
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.expect("memory can be read");
            write.await.expect("it does not panic");
            assert!(read == expected, "pieces of {piece} through {narrow}");
        }
    }

    #[tokio::test]
    async fn an_end_of_the_client_is_an_error() {
        let (client, socket) = tokio::io::duplex(8);
        drop(client);
        let mut socket = Coalesced::new(socket);
        socket.write_all(&[1; 100]).await.expect("it is held");
        assert!(socket.flush().await.is_err());
    }
}
