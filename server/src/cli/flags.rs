//! etcd's flags and `ETCD_*` variables, as far as they mean something here.

use super::PeerFlags;
use clap::Parser;
use std::{path::PathBuf, time::Duration};

/// A replicated key-value store that speaks etcd's v3 API.
///
/// Flags and ETCD_* variables are etcd's; a flag wins over its variable.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "assay-server",
    disable_version_flag = true,
    args_override_self = true,
    max_term_width = 110
)]
pub struct Flags {
    /// Name of this member.
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub name: String,

    /// Where this member keeps its data. Default: NAME.etcd.
    #[arg(long, env = "ETCD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// URLs to listen at for peers.
    #[arg(long, env = "ETCD_LISTEN_PEER_URLS", value_name = "URLS", default_value = "http://localhost:2380")]
    pub listen_peer_urls: String,

    /// URLs to listen at for clients: gRPC, JSON, /health and /metrics on one port.
    #[arg(
        long,
        env = "ETCD_LISTEN_CLIENT_URLS",
        value_name = "URLS",
        default_value = "http://localhost:2379"
    )]
    pub listen_client_urls: String,

    /// URLs at which peers reach this member. Default: the ones that --initial-cluster has for NAME, else
    /// http://localhost:2380.
    #[arg(long, env = "ETCD_INITIAL_ADVERTISE_PEER_URLS", value_name = "URLS")]
    pub initial_advertise_peer_urls: Option<String>,

    /// URLs at which clients reach this member. Default: --listen-client-urls.
    #[arg(long, env = "ETCD_ADVERTISE_CLIENT_URLS", value_name = "URLS")]
    pub advertise_client_urls: Option<String>,

    /// The first members of the cluster: NAME=URL,NAME=URL. A name may have several URLs. Default: this
    /// member alone.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER", value_name = "MEMBERS")]
    pub initial_cluster: Option<String>,

    /// `new`: make the cluster; `existing`: join it, after `etcdctl member add`. Where the data directory holds
    /// a member, that continues.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", value_name = "STATE", default_value = "new")]
    pub initial_cluster_state: String,

    /// Tells clusters with equal members apart.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_TOKEN", value_name = "TOKEN", default_value = "etcd-cluster")]
    pub initial_cluster_token: String,

    /// A leader's heartbeats are so many milliseconds apart.
    #[arg(long, env = "ETCD_HEARTBEAT_INTERVAL", value_name = "MS", default_value_t = 100)]
    pub heartbeat_interval: u64,

    /// A follower that hears nothing for so many milliseconds, and up to twice as many, campaigns. At least 5
    /// heartbeats, at most 50000.
    #[arg(long, env = "ETCD_ELECTION_TIMEOUT", value_name = "MS", default_value_t = 1000)]
    pub election_timeout: u64,

    /// After a start, count most of the first election timeout as gone.
    #[arg(long, env = "ETCD_INITIAL_ELECTION_TICK_ADVANCE", value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub initial_election_tick_advance: bool,

    /// Entries applied between two snapshots; more where the log since the last one is less than half as large
    /// as that one was.
    #[arg(long, env = "ETCD_SNAPSHOT_COUNT", value_name = "ENTRIES", default_value_t = 10_000)]
    pub snapshot_count: u64,

    /// Largest request, in bytes; at most 16 MiB.
    #[arg(long, env = "ETCD_MAX_REQUEST_BYTES", value_name = "BYTES", default_value_t = 1_572_864)]
    pub max_request_bytes: u64,

    /// Most operations in a transaction.
    #[arg(long, env = "ETCD_MAX_TXN_OPS", value_name = "OPS", default_value_t = 128)]
    pub max_txn_ops: u64,

    /// How often a watch that wants it is told how far it has come when nothing happens, such as 10m or 500ms;
    /// at least 100ms.
    #[arg(
        long = "experimental-watch-progress-notify-interval",
        alias = "watch-progress-notify-interval",
        env = "ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL",
        value_name = "DURATION",
        default_value = "10m",
        value_parser = crate::duration::parse
    )]
    pub watch_progress_notify_interval: Duration,
    /// Refuse changes of members that may cost the quorum.
    #[arg(long, env = "ETCD_STRICT_RECONFIG_CHECK", value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub strict_reconfig_check: bool,

    /// debug, info, warn or error.
    #[arg(long, env = "ETCD_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// How a line of the log looks: `console`, text, or `json`, with etcd's names for what every line has.
    #[arg(long, env = "ETCD_LOG_FORMAT", value_name = "FORMAT", default_value = "console")]
    pub log_format: String,

    /// Where the log goes: stderr (also called default), stdout, or files, to each of them.
    #[arg(
        long,
        env = "ETCD_LOG_OUTPUTS",
        value_name = "OUTPUTS",
        value_delimiter = ',',
        default_value = "default"
    )]
    pub log_outputs: Vec<String>,

    /// Bytes that the store may take before it refuses writes and raises the alarm NOSPACE. 0: 2 GiB; negative: no
    /// limit.
    #[arg(
        long,
        env = "ETCD_QUOTA_BACKEND_BYTES",
        value_name = "BYTES",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    pub quota_backend_bytes: i64,

    /// What --auto-compaction-retention counts: `periodic`, time; `revision`, revisions.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_MODE", value_name = "MODE", default_value = "periodic")]
    pub auto_compaction_mode: String,

    /// How much history is kept: a duration such as 30m, or hours; or a number of revisions. 0: all.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_RETENTION", value_name = "RETENTION", default_value = "0")]
    pub auto_compaction_retention: String,

    /// Compare this member's data with the others' before it serves; if they differ, it does not start.
    #[arg(
        long,
        alias = "initial-corrupt-check",
        env = "ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK",
        value_name = "BOOL",
        default_value_t = false,
        num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set
    )]
    pub experimental_initial_corrupt_check: bool,

    /// How often the leader compares the members' data, and raises the alarm CORRUPT if they differ, such as 10m. 0:
    /// never.
    #[arg(
        long,
        alias = "corrupt-check-time",
        env = "ETCD_EXPERIMENTAL_CORRUPT_CHECK_TIME",
        value_name = "DURATION",
        default_value = "0s"
    )]
    pub experimental_corrupt_check_time: String,

    /// What tokens are: `simple`, or `jwt,pub-key=FILE,priv-key=FILE,sign-method=RS256,ttl=10m`.
    #[arg(long, env = "ETCD_AUTH_TOKEN", value_name = "SPEC", default_value = "simple")]
    pub auth_token: String,

    /// A simple token that is not used for so many seconds ends.
    #[arg(long, env = "ETCD_AUTH_TOKEN_TTL", value_name = "S", default_value_t = 300)]
    pub auth_token_ttl: u64,

    /// How much work it is to hash a password: 2 to the power of this; from 4 to 31.
    #[arg(long, env = "ETCD_BCRYPT_COST", value_name = "COST", default_value_t = 10)]
    pub bcrypt_cost: u32,

    /// Certificates of this server for clients, and the key of the first: PEM files, read again when they change.
    #[arg(long, env = "ETCD_CERT_FILE", value_name = "FILE")]
    pub cert_file: Option<PathBuf>,

    /// See --cert-file.
    #[arg(long, env = "ETCD_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Serve only clients with a certificate that one of these authorities has signed. As etcd, without
    /// --client-cert-auth too.
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE", value_name = "FILE")]
    pub trusted_ca_file: Option<PathBuf>,

    /// The common name of a client's certificate is a user, where there is no token. Needs --trusted-ca-file.
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH", value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub client_cert_auth: bool,

    /// Make a certificate for clients that nobody has signed, in the data directory.
    #[arg(long, env = "ETCD_AUTO_TLS", value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub auto_tls: bool,

    /// A certificate that --auto-tls or --peer-auto-tls makes is valid for so many years.
    #[arg(
        long,
        env = "ETCD_SELF_SIGNED_CERT_VALIDITY",
        value_name = "YEARS",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub self_signed_cert_validity: u32,

    /// Certificates of clients that are revoked: PEM or DER.
    #[arg(long, env = "ETCD_CLIENT_CRL_FILE", value_name = "FILE")]
    pub client_crl_file: Option<PathBuf>,

    /// Serve only clients whose certificate is good for one of these hosts.
    #[arg(long, env = "ETCD_CLIENT_CERT_ALLOWED_HOSTNAME", value_name = "HOSTS", value_delimiter = ',')]
    pub client_cert_allowed_hostname: Vec<String>,

    /// Encryption between members.
    #[command(flatten)]
    pub peer: PeerFlags,

    /// Read all of this from a YAML file with the flags' names instead.
    #[arg(long, env = "ETCD_CONFIG_FILE", value_name = "FILE")]
    pub config_file: Option<PathBuf>,

    /// Never flush to disk: a crash of the machine loses what was acknowledged.
    #[arg(long, env = "ETCD_UNSAFE_NO_FSYNC", value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub unsafe_no_fsync: bool,

    /// Write what the raft core takes and gives out into this file, for `assay model --validate`.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// A bug to have, to prove that checkers find it. Only in builds with the feature `plant`.
    #[arg(long, value_name = "NAME")]
    pub plant: Option<String>,

    /// Print the version of etcd that this server follows, then its own.
    #[arg(long)]
    pub version: bool,
}
