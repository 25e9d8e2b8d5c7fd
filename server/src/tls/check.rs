//! Who may connect: certificates of an authority, that are not revoked, with one of some names.

use super::{TlsError, common_name, files};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::{fmt, path::Path, sync::Arc};

/// What a caller's certificate must say beside being signed by the authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Anything.
    All,
    /// Its common name is one of these.
    CommonNames(Vec<String>),
    /// It is good for one of these hosts.
    Hosts(Vec<String>),
}

impl Allowed {
    fn allows(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let allowed = match self {
            Allowed::All => true,
            Allowed::CommonNames(names) => common_name(certificate).is_some_and(|name| names.contains(&name)),
            Allowed::Hosts(hosts) => {
                let parsed = ParsedCertificate::try_from(certificate)?;
                let is_good = |host: &String| {
                    ServerName::try_from(host.as_str())
                        .is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
                };
                hosts.iter().any(is_good)
            }
        };
        if allowed {
            return Ok(());
        }
        let who = common_name(certificate).unwrap_or_default();
        let why = Arc::new(NotAllowed(who));
        Err(Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(why))))
    }
}

/// A certificate of the right authority whose name is not among those that are allowed.
struct NotAllowed(String);

impl fmt::Debug for NotAllowed {
    /// The library shows other people's errors so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate of {:?} is not among those that are allowed", self.0)
    }
}

impl std::error::Error for NotAllowed {}

/// Checks the certificates of callers.
pub(super) fn callers(
    ca: &Path,
    crl: Option<&Path>,
    allowed: &Allowed,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = files::authorities(ca)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    if let Some(crl) = crl {
        // As etcd: lists say who is revoked, and nothing of those that they do not name.
        builder = builder
            .with_crls(files::revoked(crl)?)
            .only_check_end_entity_revocation()
            .allow_unknown_revocation_status();
    }
    let signed = builder.build().map_err(|error| TlsError::new(crl.unwrap_or(ca), error))?;
    Ok(Arc::new(Callers { signed, allowed: allowed.clone(), provider: provider.clone() }))
}

#[derive(Debug)]
struct Callers {
    signed: Arc<dyn ClientCertVerifier>,
    allowed: Allowed,
    provider: Arc<CryptoProvider>,
}

/// That who shows a certificate has its key too: the part of a verifier that is the same in all of them, with what
/// its `provider` can verify.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signed, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for Callers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.signed.verify_client_cert(end_entity, intermediates, now)?;
        self.allowed.allows(end_entity)?;
        Ok(verified)
    }

    signatures!();
}

/// Takes any certificate whose holder has its key, for servers whose certificates nobody signed: what they say is
/// encrypted, but anybody may say it.
#[derive(Debug)]
pub struct Anybody {
    /// Verifies that the holder has the key.
    pub provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}
