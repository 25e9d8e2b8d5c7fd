//! Encrypted connections, of clients and between members.
//!
//! Certificates are looked at again for every connection and read again when a file has changed: whoever renews
//! one does not have to restart the server. A change that makes no sense is told, and the old ones stay in use.
mod accept;
mod call;
mod check;
mod files;
#[cfg(test)]
mod tests;
mod watched;

pub use accept::{Accept, Tls};
pub use call::PeerTls;
pub use check::{Allowed, Anybody};
pub use files::{Own, TlsError, common_name};
