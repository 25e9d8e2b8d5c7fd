//! Certificates, keys and lists of revoked certificates, in PEM files.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Why TLS cannot be had.
#[derive(Debug)]
pub struct TlsError {
    file: PathBuf,
    why: String,
}

impl TlsError {
    pub(super) fn new(file: &Path, why: impl fmt::Display) -> TlsError {
        TlsError { file: file.into(), why: why.to_string() }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

impl std::error::Error for TlsError {}

/// What one side shows of itself: certificates and the key of the first, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// The certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// The key of the first.
    pub key: PathBuf,
}

/// Certificates, the own one first, and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Own {
    pub(super) fn read(&self) -> Result<Identity, TlsError> {
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| TlsError::new(&self.key, error))?;
        Ok((all_in(&self.cert, "certificate")?, key))
    }

    /// Makes a certificate that nobody signed in `dir`, valid for so many years, unless there is one.
    ///
    /// # Errors
    /// The files cannot be made.
    pub fn made_in(dir: &Path, hosts: &[String], years: u32) -> Result<Own, TlsError> {
        let own = Own { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        if own.cert.exists() && own.key.exists() {
            return Ok(own);
        }
        let fault = |why: &dyn fmt::Display| TlsError::new(dir, why);
        let mut params = rcgen::CertificateParams::new(hosts).map_err(|error| fault(&error))?;
        let now = SystemTime::now();
        (params.not_before, params.not_after) = (now.into(), (now + YEAR * years).into());
        let key = rcgen::KeyPair::generate().map_err(|error| fault(&error))?;
        let made = params.self_signed(&key).map_err(|error| fault(&error))?;
        let write = || -> io::Result<()> {
            fs::create_dir_all(dir)?;
            fs::write(&own.cert, made.pem())?;
            let mut options = fs::File::options();
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.write(true).create(true).truncate(true).open(&own.key)?;
            io::Write::write_all(&mut file, key.serialize_pem().as_bytes())
        };
        write().map_err(|error| fault(&error))?;
        Ok(own)
    }
}

/// Who signs certificates.
pub(super) fn authorities(file: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in all_in(file, "certificate")? {
        roots.add(root).map_err(|error| TlsError::new(file, error))?;
    }
    Ok(Arc::new(roots))
}

/// Which certificates are revoked: PEM, or one list as DER.
pub(super) fn revoked(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = fs::read(file).map_err(|error| TlsError::new(file, error))?;
    // What begins a sequence in DER is no text.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.into()]);
    }
    all_in(file, "list of revoked certificates")
}

fn all_in<T: PemObject>(file: &Path, what: &str) -> Result<Vec<T>, TlsError> {
    let found = T::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<T>, _>>);
    match found.map_err(|error| TlsError::new(file, error))? {
        found if found.is_empty() => Err(TlsError::new(file, format!("it has no {what} in PEM form"))),
        found => Ok(found),
    }
}

/// The common name in a certificate's subject.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(String::from)
}
