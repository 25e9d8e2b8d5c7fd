//! etcd's flags for encrypted connections between members.

use clap::Args;
use std::path::PathBuf;

/// Certificates of members. They are read again when they change.
#[derive(Clone, Debug, Args)]
pub struct PeerFlags {
    /// Certificates of this member for the others, and the key of the first: PEM files, read again when they change.
    #[arg(long, env = "ETCD_PEER_CERT_FILE", value_name = "FILE")]
    pub peer_cert_file: Option<PathBuf>,

    /// See --peer-cert-file.
    #[arg(long, env = "ETCD_PEER_KEY_FILE", value_name = "FILE")]
    pub peer_key_file: Option<PathBuf>,

    /// Who signs the certificates of members. Only members with such a certificate are talked to.
    #[arg(long, env = "ETCD_PEER_TRUSTED_CA_FILE", value_name = "FILE")]
    pub peer_trusted_ca_file: Option<PathBuf>,

    /// Talk only to members with a certificate of --peer-trusted-ca-file. That flag alone says so already.
    #[arg(long, env = "ETCD_PEER_CLIENT_CERT_AUTH", value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub peer_client_cert_auth: bool,

    /// Make a certificate for members that nobody has signed, in the data directory: what members say is encrypted,
    /// but anybody may be one.
    #[arg(long, env = "ETCD_PEER_AUTO_TLS", value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub peer_auto_tls: bool,

    /// What this member shows when it calls others, if not --peer-cert-file.
    #[arg(long, env = "ETCD_PEER_CLIENT_CERT_FILE", value_name = "FILE")]
    pub peer_client_cert_file: Option<PathBuf>,

    /// See --peer-client-cert-file.
    #[arg(long, env = "ETCD_PEER_CLIENT_KEY_FILE", value_name = "FILE")]
    pub peer_client_key_file: Option<PathBuf>,

    /// Certificates of members that are revoked: PEM or DER.
    #[arg(long, env = "ETCD_PEER_CRL_FILE", value_name = "FILE")]
    pub peer_crl_file: Option<PathBuf>,

    /// Take calls only of members whose certificate has one of these common names.
    #[arg(long, env = "ETCD_PEER_CERT_ALLOWED_CN", value_name = "NAMES", value_delimiter = ',')]
    pub peer_cert_allowed_cn: Vec<String>,

    /// Take calls only of members whose certificate is good for one of these hosts.
    #[arg(long, env = "ETCD_PEER_CERT_ALLOWED_HOSTNAME", value_name = "HOSTS", value_delimiter = ',')]
    pub peer_cert_allowed_hostname: Vec<String>,
}
