//! The command line of `assay-server`: etcd's flags and `ETCD_*` variables.

use crate::{
    config::{Config, ConfigError},
    run, telemetry,
};
use clap::Parser;
use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};
use tokio::signal::unix::{SignalKind, signal};

/// A replicated key-value store that speaks etcd's v3 API.
///
/// Flags and ETCD_* variables are etcd's; a flag wins over its variable.
#[derive(Clone, Debug, Parser)]
#[command(name = "assay-server", disable_version_flag = true, max_term_width = 110)]
pub struct Flags {
    /// Name of this member.
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub name: String,

    /// Where this member keeps its data. Default: NAME.etcd.
    #[arg(long, env = "ETCD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<std::path::PathBuf>,

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

    /// Refuse changes of members that may cost the quorum.
    #[arg(long, env = "ETCD_STRICT_RECONFIG_CHECK", value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub strict_reconfig_check: bool,

    /// debug, info, warn or error.
    #[arg(long, env = "ETCD_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// Accepted, and without effect: the store is not limited.
    #[arg(
        long,
        env = "ETCD_QUOTA_BACKEND_BYTES",
        value_name = "BYTES",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    pub quota_backend_bytes: i64,

    /// Never flush to disk: a crash of the machine loses what was acknowledged.
    #[arg(long, env = "ETCD_UNSAFE_NO_FSYNC", value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub unsafe_no_fsync: bool,

    /// A bug to have, to prove that checkers find it. Only in builds with the feature `plant`.
    #[arg(long, value_name = "NAME")]
    pub plant: Option<String>,

    /// Print the version of etcd that this server follows, then its own.
    #[arg(long)]
    pub version: bool,
}

/// Runs the program: `args` begin with its name. Ends with 2 for mistakes in flags, 1 for errors at run time.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let flags = match Flags::try_parse_from(args.into_iter().map(as_two_dashes)) {
        Ok(flags) => flags,
        Err(error) => {
            // A closed pipe is no reason to complain.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    if flags.version {
        let _ = writeln!(io::stdout(), "{}", version());
        return ExitCode::SUCCESS;
    }
    let config = match Config::from_flags(&flags) {
        Ok(config) => config,
        Err(errors) => return refuse(&errors),
    };
    telemetry::start(config.log_level);
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// etcd's flags may be written with one dash.
fn as_two_dashes(arg: OsString) -> OsString {
    match arg.to_str() {
        Some(text)
            if text.len() > 2
                && text.starts_with('-')
                && text[1..].starts_with(|c: char| c.is_ascii_lowercase()) =>
        {
            format!("-{text}").into()
        }
        _ => arg,
    }
}

fn version() -> String {
    format!(
        "etcd Version: {}\nassay-server Version: {}\nPlanted bugs: {}",
        crate::api::ETCD_VERSION,
        env!("CARGO_PKG_VERSION"),
        if cfg!(feature = "plant") { "can be chosen with --plant" } else { "not in this build" },
    )
}

fn refuse(errors: &[ConfigError]) -> ExitCode {
    let mut stderr = io::stderr().lock();
    for error in errors {
        let _ = writeln!(stderr, "error: {error}");
    }
    let _ = writeln!(stderr, "\nFor more information, try '--help'.");
    ExitCode::from(2)
}

fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    // Half the cores answer clients: the replica, applying and the peers have threads of their own, and
    // handing a request from thread to thread costs more than carrying it out.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = (cores / 2).max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping");
        };
        Ok(run(config, shutdown).await?)
    })
}
