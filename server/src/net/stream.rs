//! A connection between members, encrypted or not, read and written by one thread.

use super::handshake::HandshakeError;
use rustls::Connection;
use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// Encryption is agreed upon within this time: who sends a byte now and then holds a thread no longer.
const AGREEMENT_MAX: Duration = Duration::from_secs(10);

/// A connection between members.
#[derive(Debug)]
pub struct PeerStream {
    socket: TcpStream,
    session: Option<Box<Connection>>,
}

impl PeerStream {
    /// Not encrypted.
    pub fn plain(socket: TcpStream) -> PeerStream {
        PeerStream { socket, session: None }
    }

    /// Encrypted, once both sides have agreed how.
    ///
    /// # Errors
    /// The socket's, or what either side has against the other.
    pub fn encrypted(
        mut socket: TcpStream,
        session: Result<Connection, rustls::Error>,
    ) -> Result<PeerStream, HandshakeError> {
        let mut session = session.map_err(HandshakeError::Tls)?;
        let begun = Instant::now();
        // What the last message of ours is must go out too: it may say why the other side is refused.
        while session.is_handshaking() || session.wants_write() {
            if begun.elapsed() > AGREEMENT_MAX {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            if session.wants_write() {
                session.write_tls(&mut socket)?;
            } else if receive(&mut session, &mut socket)? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(PeerStream { socket, session: Some(Box::new(session)) })
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The socket, and what encrypts on it.
    pub fn into_parts(self) -> (TcpStream, Option<Box<Connection>>) {
        (self.socket, self.session)
    }
}

/// Takes in what the other side sent: how many bytes.
pub fn receive(session: &mut Connection, from: &mut (impl Read + Write)) -> io::Result<usize> {
    let count = session.read_tls(from)?;
    if let Err(error) = session.process_new_packets() {
        // Tells the other side why, if it still listens.
        let _ = session.write_tls(from);
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    Ok(count)
}

/// Encrypts `plain` behind `sealed`.
pub fn seal(session: &mut Connection, mut plain: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
    while !plain.is_empty() {
        let taken = session.writer().write(plain)?;
        plain = &plain[taken..];
        while session.wants_write() {
            session.write_tls(sealed)?;
        }
    }
    Ok(())
}

impl Read for PeerStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else { return self.socket.read(out) };
        loop {
            match session.reader().read(out) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            receive(session, &mut self.socket)?;
            while session.wants_write() {
                session.write_tls(&mut self.socket)?;
            }
        }
    }
}

impl Write for PeerStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else { return self.socket.write(bytes) };
        let taken = session.writer().write(bytes)?;
        while session.wants_write() {
            session.write_tls(&mut self.socket)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
