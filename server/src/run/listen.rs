//! Places to listen at, taken before anything else.

use super::RunError;
use crate::{api::ClientListener, config::Url, net::Port};
use std::{
    io,
    net::{TcpListener, ToSocketAddrs},
    os::unix::{
        fs::FileTypeExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

const PEERS: &str = "listen-peer-urls";
const CLIENTS: &str = "listen-client-urls";

/// Where peers call.
pub(super) fn peers(urls: &[Url]) -> Result<Vec<Port>, RunError> {
    let mut ports = Vec::new();
    for url in urls {
        let bound = tcp(url).map_err(|source| fault(PEERS, url, source))?;
        ports.extend(bound.into_iter().map(|listener| Port { listener, tls: url.tls }));
    }
    Ok(ports)
}

/// Where clients call, and whether that is encrypted.
pub(super) fn clients(urls: &[Url]) -> Result<Vec<(ClientListener, bool)>, RunError> {
    let mut listeners = Vec::new();
    for url in urls {
        let bound = if url.unix {
            unix(Path::new(&url.address)).map(|listener| vec![ClientListener::from(listener)])
        } else {
            tcp(url).map(|bound| bound.into_iter().map(ClientListener::from).collect())
        };
        let bound = bound.map_err(|source| fault(CLIENTS, url, source))?;
        listeners.extend(bound.into_iter().map(|listener| (listener, url.tls)));
    }
    Ok(listeners)
}

fn fault(flag: &'static str, url: &Url, source: io::Error) -> RunError {
    RunError::Listen { flag, url: url.text.clone(), source }
}

fn tcp(url: &Url) -> io::Result<Vec<TcpListener>> {
    // `localhost` may stand for two addresses, of which one may not exist here.
    let addresses: Vec<_> = url.address.to_socket_addrs()?.collect();
    let bound: Vec<_> = addresses.iter().map(TcpListener::bind).collect();
    let in_use = |result: &io::Result<TcpListener>| {
        result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    if bound.iter().all(Result::is_err) || bound.iter().any(in_use) {
        let error = bound.into_iter().find_map(Result::err);
        return Err(error.unwrap_or_else(|| io::Error::other("the name stands for no address")));
    }
    Ok(bound.into_iter().flatten().collect())
}

/// A socket in the file system. What an earlier server has left is removed, if nobody listens at it any more.
fn unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() && UnixStream::connect(path).is_err() => {
            std::fs::remove_file(path)?;
        }
        _nothing_or_not_ours => {}
    }
    UnixListener::bind(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_left_over_is_replaced_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let url = Url::parse(&format!("unix://{}", dir.path().join("s").display())).expect("a URL");
        let first = clients(std::slice::from_ref(&url)).expect("it is new");
        let in_use = clients(std::slice::from_ref(&url)).expect_err("somebody listens").to_string();
        assert!(in_use.contains("--listen-client-urls: unix://") && in_use.contains("in use"), "{in_use}");
        drop(first);
        clients(&[url]).expect("nobody listens any more");
        let file = dir.path().join("file");
        std::fs::write(&file, "precious").expect("a file");
        let url = Url::parse(&format!("unix://{}", file.display())).expect("a URL");
        assert!(clients(&[url]).is_err());
        assert_eq!(std::fs::read(&file).expect("it is still there"), b"precious");
    }
}
