//! Sockets with the timeouts that peers need.
//!
//! After a cut heals, what delays traffic is not the cut but the kernel's patience: it sends again at
//! doubling intervals, and tries to connect again after a second at the earliest. So a connection on which
//! sent bytes stay unacknowledged is given up after an election timeout, and tries to connect are short.

use super::Settings;
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

/// A try to connect takes no longer: below the kernel's first retransmission, after one second.
const CONNECT_MAX: Duration = Duration::from_millis(500);

/// Connects to `address` (`host:port`), trying all that the name stands for.
pub fn connect(address: &str, settings: &Settings) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
    for resolved in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&resolved, settings.election.min(CONNECT_MAX)) {
            Ok(stream) => {
                prepare(&stream, settings)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
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
