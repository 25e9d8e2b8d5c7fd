//! Members call each other: both sides of it.

use super::{Accept, Own, TlsError, check::Anybody, files, watched::Watched};
use rustls::{
    ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::ServerName,
    server::NoServerSessionStorage,
};
use std::sync::Arc;

/// How a member calls the others, and is called.
#[derive(Debug)]
pub struct PeerTls {
    accept: Watched<ServerConfig>,
    call: Watched<ClientConfig>,
}

impl PeerTls {
    /// Reads the files. `caller` is shown when this member calls. The authority of `accept` signs all members'
    /// certificates; without one, any certificate is taken.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub fn open(accept: Accept, caller: Own) -> Result<PeerTls, TlsError> {
        let files = [accept.files(), vec![caller.cert.clone(), caller.key.clone()]].concat();
        let ca = accept.ca.clone();
        let call = Watched::new(files, move || {
            let fault = |error: rustls::Error| TlsError::new(&caller.cert, error);
            let provider = Arc::new(ring::default_provider());
            let checked: Arc<dyn ServerCertVerifier> = match &ca {
                None => Arc::new(Anybody { provider: provider.clone() }),
                Some(ca) => {
                    let roots = files::authorities(ca)?;
                    WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                        .build()
                        .map_err(|error| TlsError::new(ca, error))?
                }
            };
            let (chain, key) = caller.read()?;
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(fault)?
                .dangerous()
                .with_custom_certificate_verifier(checked)
                .with_client_auth_cert(chain, key)
                .map_err(fault)?;
            config.resumption = Resumption::disabled();
            Ok(config)
        })?;
        let accept = Watched::new(accept.files(), move || {
            let mut config = accept.config()?;
            // Connections last, and each is checked anew.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            Ok(config)
        })?;
        Ok(PeerTls { accept, call })
    }

    /// The beginning of a connection to `host`.
    ///
    /// # Errors
    /// A name that cannot be in a certificate.
    pub fn call(&self, host: &str) -> Result<Connection, rustls::Error> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_string())
            .map_err(|error| rustls::Error::General(format!("{host:?}: {error}")))?;
        Ok(ClientConnection::new(self.call.get(), name)?.into())
    }

    /// The beginning of a connection of somebody who calls.
    ///
    /// # Errors
    /// Of the library: none is known.
    pub fn accept(&self) -> Result<Connection, rustls::Error> {
        Ok(ServerConnection::new(self.accept.get())?.into())
    }
}
