//! Where a server is, and how it is spoken to: plainly or encrypted, by anybody or by a user.

use super::http2::Peer;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use server::{
    proto::etcdserverpb::{
        AuthenticateRequest, StatusRequest, auth_client::AuthClient, maintenance_client::MaintenanceClient,
    },
    tls::Anybody,
};
use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    metadata::{MetadataMap, MetadataValue},
    transport::{Channel, Endpoint as TonicEndpoint},
};

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// What encrypted connections need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// File with the certificates of who may sign a server's, in PEM.
    pub ca: Option<PathBuf>,
    /// Files with the client's own certificate and its key, in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether any certificate of a server is taken.
    pub takes_any: bool,
}

impl Security {
    /// Reads the files.
    ///
    /// # Errors
    /// A text for the user that names the file.
    pub fn open(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("no version of TLS can be spoken: {error}"))?;
        let builder = if self.takes_any {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody { provider }))
        } else {
            let Some(ca) = &self.ca else {
                return Err("https endpoints need --cacert FILE, or --insecure-skip-tls-verify".into());
            };
            let mut roots = RootCertStore::empty();
            for certificate in certificates(ca)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", ca.display()))?;
            }
            builder.with_root_certificates(roots)
        };
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let wrong = |error: &dyn fmt::Display| format!("{}: {error}", key.display());
                let own = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(&error))?;
                builder
                    .with_client_auth_cert(certificates(certificate)?, own)
                    .map_err(|error| wrong(&error))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
    let read = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
    let read: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| wrong(&error))?;
    if read.is_empty() { Err(wrong(&"it holds no certificate in PEM")) } else { Ok(read) }
}

/// How to encrypt connections to one server.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// For all servers.
    pub(super) config: Arc<ClientConfig>,
    /// Whom the certificate must name.
    pub(super) name: ServerName<'static>,
}

/// Where a server is.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// As it was given.
    pub url: String,
    /// Its address.
    pub address: SocketAddr,
    /// What requests to it say.
    pub peer: Peer,
    /// How connections are encrypted; `None` where they are not.
    pub encryption: Option<Encryption>,
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Endpoint) -> bool {
        (&self.url, self.address, &self.peer) == (&other.url, other.address, &other.peer)
    }
}

impl Endpoint {
    /// Reads `http://HOST:PORT` or `HOST:PORT`, and looks the host up.
    ///
    /// # Errors
    /// A text for the user.
    pub fn parse(url: &str) -> Result<Endpoint, String> {
        Endpoint::secure(url, &Security::default())
    }

    /// As [`Endpoint::parse`], and `https://HOST:PORT` too.
    ///
    /// # Errors
    /// A text for the user.
    pub fn secure(url: &str, security: &Security) -> Result<Endpoint, String> {
        let (is_encrypted, authority) = match url.split_once("://") {
            None => (false, url),
            Some(("http", authority)) => (false, authority),
            Some(("https", authority)) => (true, authority),
            Some((scheme, _)) => {
                return Err(format!("`{url}`: `{scheme}` is not supported, only http and https"));
            }
        };
        let authority = authority.trim_end_matches('/');
        let addresses = authority
            .to_socket_addrs()
            .map_err(|error| format!("`{url}` is no endpoint ({error}): write http://HOST:PORT"))?;
        let address =
            addresses.into_iter().next().ok_or_else(|| format!("`{url}`: the host has no address"))?;
        let encryption = match is_encrypted {
            false => None,
            true => {
                let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                    .map_err(|error| format!("`{url}`: no certificate can name this host: {error}"))?;
                Some(Encryption { config: security.open()?, name })
            }
        };
        let peer = Peer { tls: is_encrypted, ..Peer::plain(authority) };
        Ok(Endpoint { url: url.to_owned(), address, peer, encryption })
    }

    /// A channel of tonic's, which connects when it is first used.
    ///
    /// # Errors
    /// When no URL can be made of the address.
    pub(super) fn channel(&self) -> Result<Channel, String> {
        // The connector below encrypts, and tonic need not know.
        let endpoint = TonicEndpoint::from_shared(format!("http://{}", self.address))
            .map_err(|error| format!("{}: {error}", self.url))?
            .tcp_nodelay(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(16 << 20)
            .connect_timeout(CONNECT_LIMIT);
        let Some(Encryption { config, name }) = self.encryption.clone() else {
            return Ok(endpoint.connect_lazy());
        };
        let (address, connector) = (self.address, TlsConnector::from(config));
        let connect = move |_: http::Uri| {
            let (connector, name) = (connector.clone(), name.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok::<_, io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        };
        Ok(endpoint.connect_with_connector_lazy(tower::service_fn(connect)))
    }

    /// Adds the user's token to a request's metadata, if there is one.
    ///
    /// # Errors
    /// When the token cannot be sent.
    pub(super) fn authorize(&self, metadata: &mut MetadataMap) -> Result<(), String> {
        if let Some(token) = &self.peer.token {
            let value = MetadataValue::try_from(token.as_str())
                .map_err(|error| format!("{}: its token cannot be sent: {error}", self.url))?;
            metadata.insert("token", value);
        }
        Ok(())
    }

    /// Whether this member says that it is the leader; one that does not answer does not lead.
    pub async fn leads(&self) -> bool {
        let Ok(channel) = self.channel() else { return false };
        let status = async { MaintenanceClient::new(channel).status(StatusRequest {}).await };
        match tokio::time::timeout(CONNECT_LIMIT, status).await {
            Ok(Ok(answer)) => {
                let status = answer.into_inner();
                status.header.is_some_and(|header| header.member_id == status.leader)
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Asks for a token of this user, which later requests carry.
    ///
    /// # Errors
    /// A text for the user.
    pub async fn log_in(&mut self, name: &str, password: &str) -> Result<(), String> {
        let request = AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        let mut client = AuthClient::new(self.channel()?);
        let answer = tokio::time::timeout(CONNECT_LIMIT * 5, client.authenticate(request)).await;
        let answer = answer.map_err(|_| format!("{}: no answer to the authentication", self.url))?;
        let answer = answer.map_err(|status| format!("{}: {name}: {}", self.url, status.message()))?;
        self.peer.token = Some(answer.into_inner().token);
        Ok(())
    }
}

/// Why a store could not be driven at all.
#[derive(Debug)]
pub struct Unreachable {
    /// The endpoint.
    pub url: String,
    /// Why.
    pub error: io::Error,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be reached: {}", self.url, self.error)
    }
}

impl std::error::Error for Unreachable {}

/// Looks whether every endpoint takes connections.
///
/// # Errors
/// The first that does not.
pub fn reach(endpoints: &[Endpoint]) -> Result<(), Unreachable> {
    for endpoint in endpoints {
        std::net::TcpStream::connect_timeout(&endpoint.address, CONNECT_LIMIT)
            .map_err(|error| Unreachable { url: endpoint.url.clone(), error })?;
    }
    Ok(())
}
