//! Certificates, as the configuration has them.

use super::RunError;
use crate::{
    config::{Certificate, Config, Transport, Url},
    tls::{Accept, Own, PeerTls, Tls, TlsError},
};
use std::sync::Arc;

/// Where certificates that nobody signed are kept, below the data directory. As etcd.
const FIXTURES: &str = "fixtures";

/// For the clients' ports, if any of them is encrypted.
pub(super) fn clients(config: &Config) -> Result<Option<Arc<Tls>>, RunError> {
    let Some(transport) = &config.client_tls else { return Ok(None) };
    let tls = accept(transport, config, "client", &config.listen_client)
        .and_then(|accept| Tls::open(accept, transport.names_users));
    tls.map(|tls| Some(Arc::new(tls))).map_err(|source| RunError::Tls { flag: "cert-file", source })
}

/// For members, if there are certificates for them.
pub(super) fn peers(config: &Config) -> Result<Option<Arc<PeerTls>>, RunError> {
    let Some(transport) = &config.peer_tls else { return Ok(None) };
    let tls = accept(transport, config, "peer", &config.listen_peer).and_then(|accept| {
        let caller = transport.caller.clone().unwrap_or_else(|| accept.own.clone());
        PeerTls::open(accept, caller)
    });
    tls.map(|tls| Some(Arc::new(tls))).map_err(|source| RunError::Tls { flag: "peer-cert-file", source })
}

fn accept(transport: &Transport, config: &Config, whose: &str, listen: &[Url]) -> Result<Accept, TlsError> {
    let own = match &transport.certificate {
        Certificate::Files(own) => own.clone(),
        Certificate::SelfSigned { years } => {
            let host = |url: &Url| {
                url.address.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']).into())
            };
            let hosts: Vec<String> = listen.iter().filter_map(host).collect();
            Own::made_in(&config.data_dir.join(FIXTURES).join(whose), &hosts, *years)?
        }
    };
    let (ca, crl, allowed) = (transport.ca.clone(), transport.crl.clone(), transport.allowed.clone());
    Ok(Accept { own, ca, crl, allowed })
}
