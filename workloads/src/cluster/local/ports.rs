//! Ports that stay ours while no server listens on them.

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt::ReuseAddr,
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd, OwnedFd},
};

/// A port of 127.0.0.1, held for as long as this lives by a socket that is bound and does not listen.
///
/// The kernel gives such a port to nobody else: not to another run, which binds without sharing, and not to
/// an outgoing connection. A server binds it all the same, as servers set `SO_REUSEADDR` and so does this
/// socket, afterwards. A connection to it is refused while no server listens.
#[derive(Debug)]
pub(super) struct HeldPort {
    address: SocketAddrV4,
    _socket: OwnedFd,
}

impl HeldPort {
    /// Holds a port that nobody uses.
    pub(super) fn any() -> io::Result<HeldPort> {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)))?;
        setsockopt(&socket, ReuseAddr, &true)?;
        let address: SockaddrIn = getsockname(socket.as_raw_fd())?;
        Ok(HeldPort { address: address.into(), _socket: socket })
    }

    /// Where it is.
    pub(super) fn address(&self) -> SocketAddrV4 {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_held_port_refuses_connections_until_a_server_listens_and_again_when_it_is_gone() {
        let port = HeldPort::any().expect("a port");
        for _ in 0..2 {
            let refused = TcpStream::connect(port.address()).expect_err("nobody listens");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let server = TcpListener::bind(port.address()).expect("a server takes the held port");
            TcpStream::connect(port.address()).expect("the server listens");
            drop(server);
        }
    }

    #[test]
    fn a_held_port_is_not_given_to_another_run() {
        let port = HeldPort::any().expect("a port");
        let socket =
            socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        let taken =
            bind(socket.as_raw_fd(), &SockaddrIn::from(port.address())).expect_err("the port is held");
        assert_eq!(io::Error::from(taken).kind(), io::ErrorKind::AddrInUse);
    }
}
