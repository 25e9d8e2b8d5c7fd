//! Encrypted connections of clients.
//!
//! Certificates are looked at again for every connection and read again when a file has changed: whoever renews
//! one does not have to restart the server. A change that makes no sense is told, and the old ones stay in use.

use crate::config::ClientTls;
use parking_lot::Mutex;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Where the certificate that nobody signed is kept, below the data directory. As etcd.
const SELF_SIGNED_DIR: &str = "fixtures/client";

/// Why TLS cannot be had.
#[derive(Debug)]
pub struct TlsError {
    file: PathBuf,
    why: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

impl std::error::Error for TlsError {}

/// The files, and what was read from them last.
#[derive(Debug)]
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    read: Mutex<Read>,
}

#[derive(Debug)]
struct Read {
    changed: Vec<Option<SystemTime>>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files; makes them first if they are to be self-signed.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub fn open(tls: &ClientTls, data_dir: &Path, hosts: &[String]) -> Result<Tls, TlsError> {
        let (cert, key, client_ca) = match tls {
            ClientTls::Files { cert, key, client_ca } => (cert.clone(), key.clone(), client_ca.clone()),
            ClientTls::SelfSigned => {
                let (cert, key) = self_signed(&data_dir.join(SELF_SIGNED_DIR), hosts)?;
                (cert, key, None)
            }
        };
        let changed = changed(&cert, &key, client_ca.as_deref());
        let config = Arc::new(config(&cert, &key, client_ca.as_deref())?);
        Ok(Tls { cert, key, client_ca, read: Mutex::new(Read { changed, config }) })
    }

    /// The certificates of now.
    pub fn config(&self) -> Arc<ServerConfig> {
        let mut read = self.read.lock();
        let changed = changed(&self.cert, &self.key, self.client_ca.as_deref());
        if changed != read.changed {
            match config(&self.cert, &self.key, self.client_ca.as_deref()) {
                Ok(config) => {
                    tracing::info!(cert = %self.cert.display(), "read the certificates again");
                    read.config = Arc::new(config);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read the certificates again; the old ones are used")
                }
            }
            read.changed = changed;
        }
        read.config.clone()
    }

    /// Whether clients must have a certificate.
    pub fn asks_clients(&self) -> bool {
        self.client_ca.is_some()
    }
}

/// When the files were changed last.
fn changed(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Vec<Option<SystemTime>> {
    let time = |path| fs::metadata(path).and_then(|file| file.modified()).ok();
    [Some(cert), Some(key), client_ca].into_iter().flatten().map(time).collect()
}

fn config(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<ServerConfig, TlsError> {
    let fault = |file: &Path, why: &dyn fmt::Display| TlsError { file: file.into(), why: why.to_string() };
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| fault(key, &error))?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(cert, &error))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(ca)? {
                roots.add(root).map_err(|error| fault(ca, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| fault(ca, &error))?)
        }
    };
    let mut config = builder.with_single_cert(chain, private).map_err(|error| fault(cert, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |why: String| TlsError { file: file.into(), why };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| fault(error.to_string()));
    match found {
        Ok(found) if found.is_empty() => Err(fault("it has no certificate in PEM form".into())),
        found => found,
    }
}

/// The common name in a certificate's subject.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(String::from)
}

/// Makes a certificate that nobody signed, unless there is one.
fn self_signed(dir: &Path, hosts: &[String]) -> Result<(PathBuf, PathBuf), TlsError> {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    if cert.exists() && key.exists() {
        return Ok((cert, key));
    }
    let fault = |why: &dyn fmt::Display| TlsError { file: dir.into(), why: why.to_string() };
    let made = rcgen::generate_simple_self_signed(hosts).map_err(|error| fault(&error))?;
    let write = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        fs::write(&cert, made.cert.pem())?;
        let mut options = fs::File::options();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.write(true).create(true).truncate(true).open(&key)?;
        io::Write::write_all(&mut file, made.signing_key.serialize_pem().as_bytes())
    };
    write().map_err(|error| fault(&error))?;
    Ok((cert, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn write(dir: &Path, name: &str) -> ClientTls {
        let mut params = CertificateParams::new(vec!["localhost".to_string()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let pair = KeyPair::generate().expect("a key");
        let made = params.self_signed(&pair).expect("a certificate");
        let (cert, key) = (dir.join("c.pem"), dir.join("k.pem"));
        fs::write(&cert, made.pem()).expect("a file");
        fs::write(&key, pair.serialize_pem()).expect("a file");
        assert_eq!(common_name(made.der()).as_deref(), Some(name));
        ClientTls::Files { cert, key, client_ca: None }
    }

    #[test]
    fn a_renewed_certificate_is_read_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = write(dir.path(), "first");
        let tls = Tls::open(&files, dir.path(), &[]).expect("good files");
        let first = tls.config();
        assert!(Arc::ptr_eq(&first, &tls.config()), "nothing has changed");
        let touch = |path: &Path, seconds| {
            let file = fs::File::options().append(true).open(path).expect("a file");
            let time = SystemTime::now() + std::time::Duration::from_secs(seconds);
            file.set_modified(time).expect("a time");
        };
        fs::write(dir.path().join("c.pem"), "nonsense").expect("a file");
        touch(&dir.path().join("c.pem"), 10);
        assert!(Arc::ptr_eq(&first, &tls.config()), "the old one stays in use");
        write(dir.path(), "second");
        touch(&dir.path().join("c.pem"), 20);
        assert!(!Arc::ptr_eq(&first, &tls.config()), "renewed");
        fs::remove_file(dir.path().join("k.pem")).expect("a file");
        let error = Tls::open(&files, dir.path(), &[]).expect_err("no key").to_string();
        assert!(error.contains("k.pem"), "{error}");
    }

    #[test]
    fn a_certificate_that_nobody_signed_is_made_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let open =
            || Tls::open(&ClientTls::SelfSigned, dir.path(), &["localhost".to_string()]).expect("it is made");
        let first = fs::read(open().cert).expect("a file");
        assert_eq!(fs::read(open().cert).expect("a file"), first);
    }
}
