//! A connection's socket: made, read and written without ever waiting, encrypted or not.

use super::endpoint::{Encryption, Endpoint};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use rustls::ClientConnection;
use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::Arc,
};

/// A TCP connection, perhaps still being made.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Socket {
    /// Begins to connect. The socket can be written to once it is connected, or has failed to be.
    pub(super) fn connect(endpoint: &Endpoint) -> io::Result<Socket> {
        let address = endpoint.address;
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Stream, flags, None)?;
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(fd);
        stream.set_nodelay(true)?;
        let tls = match &endpoint.encryption {
            None => None,
            Some(Encryption { config, name }) => {
                let tls = ClientConnection::new(Arc::clone(config), name.clone());
                Some(Box::new(tls.map_err(io::Error::other)?))
            }
        };
        Ok(Socket { stream, tls })
    }

    /// Whether connecting has succeeded, asked when the socket can be written to.
    pub(super) fn connected(&self) -> io::Result<()> {
        match self.stream.take_error()? {
            Some(error) => Err(error),
            None => self.stream.peer_addr().map(drop),
        }
    }

    /// Reads what there is; `None` when there is nothing. 0 is the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(tls) = &mut self.tls else { return unless_blocked(self.stream.read(buffer)) };
        loop {
            if let Some(length) = unless_blocked(tls.reader().read(buffer))? {
                return Ok(Some(length));
            }
            match unless_blocked(tls.read_tls(&mut self.stream))? {
                None => return Ok(None),
                Some(0) => return Ok(Some(0)),
                Some(_) => {
                    tls.process_new_packets().map_err(io::Error::other)?;
                }
            }
        }
    }

    /// Writes what the socket takes; `None` when it takes nothing now. Nothing may be written, to get out what is
    /// held.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let Some(tls) = &mut self.tls else { return unless_blocked(self.stream.write(bytes)) };
        let taken = tls.writer().write(bytes)?;
        while tls.wants_write() {
            if unless_blocked(tls.write_tls(&mut self.stream))?.is_none() {
                return Ok((taken > 0).then_some(taken));
            }
        }
        Ok(Some(taken))
    }

    /// Whether there is something to be written that [`Socket::write`] has taken.
    pub(super) fn holds_output(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// For waiting.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn unless_blocked(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
