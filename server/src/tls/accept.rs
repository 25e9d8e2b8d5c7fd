//! The side that is called.

use super::{Allowed, Own, TlsError, check, watched::Watched};
use rustls::{ServerConfig, crypto::ring};
use std::{path::PathBuf, sync::Arc};

/// What a port shows, and of whom it asks a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// Its own certificate.
    pub own: Own,
    /// Who signs the certificates that callers must have; `None`: they need none.
    pub ca: Option<PathBuf>,
    /// A list of certificates that are revoked.
    pub crl: Option<PathBuf>,
    /// Which of those certificates are good here.
    pub allowed: Allowed,
}

impl Accept {
    /// Asks callers for nothing.
    pub fn anybody(own: Own) -> Accept {
        Accept { own, ca: None, crl: None, allowed: Allowed::All }
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let always = [self.own.cert.clone(), self.own.key.clone()];
        always.into_iter().chain(self.ca.clone()).chain(self.crl.clone()).collect()
    }

    pub(super) fn config(&self) -> Result<ServerConfig, TlsError> {
        let fault = |error: rustls::Error| TlsError::new(&self.own.cert, error);
        let provider = Arc::new(ring::default_provider());
        let (chain, key) = self.own.read()?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(fault)?;
        let builder = match &self.ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let checked = check::callers(ca, self.crl.as_deref(), &self.allowed, &provider)?;
                builder.with_client_cert_verifier(checked)
            }
        };
        builder.with_single_cert(chain, key).map_err(fault)
    }
}

/// The clients' side of a server.
#[derive(Debug)]
pub struct Tls {
    config: Watched<ServerConfig>,
    names_users: bool,
}

impl Tls {
    /// Reads the files. `names_users`: the common name of a client's certificate is a user.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub fn open(accept: Accept, names_users: bool) -> Result<Tls, TlsError> {
        let config = Watched::new(accept.files(), move || {
            let mut config = accept.config()?;
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Ok(config)
        })?;
        Ok(Tls { config, names_users })
    }

    /// With the certificates of now.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.get()
    }

    /// Whether the common name of a client's certificate is a user.
    pub fn names_users(&self) -> bool {
        self.names_users
    }
}
