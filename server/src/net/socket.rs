//! Sockets with the timeouts that peers need.
//!
//! After a cut heals, what delays traffic is not the cut but the kernel's patience: it sends again at
//! doubling intervals, and tries to connect again after a second at the earliest. So a connection on which
//! sent bytes stay unacknowledged is given up after an election timeout, and tries to connect are short.

use super::{Settings, handshake::HandshakeError, stream::PeerStream};
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    fmt, io,
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

/// A try to connect takes no longer: below the kernel's first retransmission, after one second.
const CONNECT_MAX: Duration = Duration::from_millis(500);

/// Where a member listens for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `host:port`.
    pub host_port: String,
    /// Whether connections are encrypted.
    pub tls: bool,
}

impl Address {
    /// Of a peer URL.
    pub fn of_url(url: &str) -> Address {
        let (scheme, host_port) = url.split_once("://").unwrap_or(("http", url));
        Address { host_port: host_port.into(), tls: scheme == "https" }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.host_port)
    }
}

/// Connects to `address`, trying all that the name stands for.
///
/// # Errors
/// The last try's; what either side has against the other's certificate; or that this member has none.
pub fn connect(address: &Address, settings: &Settings) -> Result<PeerStream, HandshakeError> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
    for resolved in address.host_port.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, settings.election.min(CONNECT_MAX)) {
            Ok(stream) => {
                prepare(&stream, settings)?;
                return encrypt(stream, address, settings);
            }
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

fn encrypt(stream: TcpStream, address: &Address, settings: &Settings) -> Result<PeerStream, HandshakeError> {
    if !address.tls {
        return Ok(PeerStream::plain(stream));
    }
    let Some(tls) = &settings.tls else { return Err(HandshakeError::NoCertificate) };
    let host = address.host_port.rsplit_once(':').map_or(&address.host_port[..], |(host, _)| host);
    PeerStream::encrypted(stream, tls.call(host))
}

/// Sets the timeouts of a peer connection.
pub fn prepare(stream: &TcpStream, settings: &Settings) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(settings.election))?;
    stream.set_write_timeout(Some(settings.election))?;
    let timeout_ms = u32::try_from(settings.election.as_millis()).unwrap_or(u32::MAX);
    setsockopt(stream, sockopt::TcpUserTimeout, &timeout_ms)?;
    Ok(())
}
