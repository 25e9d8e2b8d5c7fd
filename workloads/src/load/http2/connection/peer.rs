//! Whom a connection is for, and how it breaks.

use crate::load::http2::hpack::Malformed;
use std::fmt;

/// What requests say about whom they are for and from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `host:port`.
    pub authority: String,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// etcd's auth token.
    pub token: Option<String>,
}

impl Peer {
    /// A server without TLS and auth.
    pub fn plain(authority: &str) -> Peer {
        Peer { authority: authority.to_owned(), tls: false, token: None }
    }
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(pub(crate) &'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server breaks HTTP/2's rules: {}", self.0)
    }
}

impl std::error::Error for Broken {}

impl From<Malformed> for Broken {
    fn from(_: Malformed) -> Broken {
        Broken("a header block that cannot be decoded")
    }
}
