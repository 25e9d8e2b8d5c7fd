//! Which process is at the other end of a connection.

use crate::cluster::NodeIndex;
use std::{collections::BTreeMap, fs, net::SocketAddrV4};

/// The node whose process has the socket bound to `client` and connected to `server`; `None` when it is none
/// of them, or gone already.
pub(super) fn owner(
    client: SocketAddrV4,
    server: SocketAddrV4,
    processes: &BTreeMap<NodeIndex, u32>,
) -> Option<NodeIndex> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = socket_inode(&table, client, server)?;
    let link = format!("socket:[{inode}]");
    processes.iter().find(|(_, pid)| has_open(**pid, &link)).map(|(&node, _)| node)
}

/// The inode of a socket, from the kernel's table: one line a socket, the addresses as hexadecimal words in
/// the machine's byte order, the inode in the tenth column. Source: proc(5), /proc/net/tcp.
fn socket_inode(table: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<u64> {
    let (local, remote) = (hex(local), hex(remote));
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|columns| columns.get(1) == Some(&&*local) && columns.get(2) == Some(&&*remote))?;
    // 0 stands for a socket that no process has any more.
    line.get(9)?.parse().ok().filter(|&inode| inode != 0)
}

fn hex(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

fn has_open(pid: u32, link: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == link))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(address) => panic!("{address} is not an IPv4 address"),
        }
    }

    #[test]
    fn a_connection_is_traced_to_the_process_that_made_it() {
        let server = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let client = TcpStream::connect(server.local_addr().expect("bound")).expect("a connection");
        let (accepted, from) = server.accept().expect("the connection");
        let (from, to) = (v4(from), v4(accepted.local_addr().expect("connected")));
        let own = BTreeMap::from([(NodeIndex(0), 1), (NodeIndex(4), std::process::id())]);
        assert_eq!(owner(from, to, &own), Some(NodeIndex(4)));
        assert_eq!(owner(from, to, &BTreeMap::new()), None);
        drop(client);
        assert_eq!(owner(from, to, &own), None, "a closed socket belongs to nobody");
    }
}
