//! `assay-server snapshot`: take a backup, look at one, make a cluster from one.

use crate::{
    api,
    cluster::Origin,
    config::Config,
    disk::{Birth, DataDir, Identity, Lock, RealFiles},
    proto::etcdserverpb::{
        AuthenticateRequest, SnapshotRequest, auth_client::AuthClient, maintenance_client::MaintenanceClient,
    },
    snapshot_file,
    state_machine::StateMachine,
};
use clap::{Parser, Subcommand};
use raft::types::{LogIndex, SnapshotMeta, Term};
use std::{
    error::Error,
    ffi::OsString,
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};
use tonic::transport::Endpoint;

/// Bytes of an image that are written at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Takes, looks at and restores backups.
#[derive(Debug, Parser)]
#[command(name = "assay-server snapshot", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Store a snapshot of a member's data in a file. `etcdctl snapshot save` does the same.
    Save {
        /// The file; it must not be there yet.
        file: PathBuf,
        /// A client URL of a member.
        #[arg(long, env = "ETCDCTL_ENDPOINTS", default_value = "http://127.0.0.1:2379")]
        endpoints: String,
        /// NAME:PASSWORD of a user with the role root.
        #[arg(long, env = "ETCDCTL_USER")]
        user: Option<String>,
    },
    /// Check a snapshot, and tell what it holds: hash, revision, keys, bytes.
    Status {
        /// The file.
        file: PathBuf,
        /// `simple` or `json`.
        #[arg(long, short = 'w', default_value = "simple")]
        write_out: String,
    },
    /// Make the data directory of a member of a new cluster from a snapshot. All members are to be made from the
    /// same file, with the same --initial-cluster.
    Restore {
        /// The file.
        file: PathBuf,
        /// Name of the member.
        #[arg(long, default_value = "default")]
        name: String,
        /// Where its data is to be; the directory must not be there yet.
        #[arg(long)]
        data_dir: Option<PathBuf>,
        /// The members of the new cluster: NAME=URL,NAME=URL.
        #[arg(long)]
        initial_cluster: Option<String>,
        /// Tells clusters with equal members apart: choose another one than the old cluster's.
        #[arg(long, default_value = "etcd-cluster")]
        initial_cluster_token: String,
        /// URLs at which peers reach the member.
        #[arg(long)]
        initial_advertise_peer_urls: Option<String>,
    },
}

/// Runs the tool: `args` begin with its name. Ends with 2 for mistakes in flags, 1 for all others.
pub(super) fn main(args: &[OsString]) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match run(arguments.command) {
        Ok(said) => {
            let _ = writeln!(io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<String, Box<dyn Error>> {
    match command {
        Command::Save { file, endpoints, user } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(save(&file, &endpoints, user.as_deref()))?;
            Ok(format!("Snapshot saved at {}", file.display()))
        }
        Command::Status { file, write_out } => status(&file, &write_out),
        Command::Restore {
            file,
            name,
            data_dir,
            initial_cluster,
            initial_cluster_token,
            initial_advertise_peer_urls,
        } => {
            let flags = super::Flags {
                name,
                data_dir,
                initial_cluster,
                initial_cluster_token,
                initial_advertise_peer_urls,
                ..super::Flags::parse_from(["assay-server"])
            };
            let config = Config::from_flags(&flags)
                .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
            restore(&file, &config)?;
            Ok(format!("restored into {}", config.data_dir.display()))
        }
    }
}

async fn save(file: &Path, endpoint: &str, user: Option<&str>) -> Result<(), Box<dyn Error>> {
    let endpoint = endpoint.split(',').next().unwrap_or_default();
    let url = if endpoint.contains("://") { endpoint.to_string() } else { format!("http://{endpoint}") };
    let channel = Endpoint::from_shared(url)?.connect().await?;
    let mut request = tonic::Request::new(SnapshotRequest {});
    if let Some((name, password)) = user.and_then(|user| user.split_once(':')) {
        let login = AuthenticateRequest { name: name.into(), password: password.into() };
        let token = AuthClient::new(channel.clone()).authenticate(login).await?.into_inner().token;
        request.metadata_mut().insert("token", token.parse()?);
    }
    let mut client = MaintenanceClient::new(channel);
    let mut blobs = client.snapshot(request).await?.into_inner();
    // Under another name until it is whole.
    let part = file.with_extension("part");
    let mut out = File::create_new(&part).map_err(|error| format!("{}: {error}", part.display()))?;
    while let Some(message) = blobs.message().await? {
        out.write_all(&message.blob)?;
    }
    out.sync_all()?;
    snapshot_file::read(&part).map_err(|error| format!("{}: {error}", part.display()))?;
    std::fs::hard_link(&part, file).map_err(|error| format!("{}: {error}", file.display()))?;
    std::fs::remove_file(&part)?;
    Ok(())
}

fn read(file: &Path) -> Result<StateMachine, String> {
    snapshot_file::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn status(file: &Path, write_out: &str) -> Result<String, Box<dyn Error>> {
    let state = read(file)?;
    let bytes = std::fs::metadata(file)?.len();
    let (hash, revision, keys) = (state.kv().hash(), state.kv().revision(), state.kv().key_count());
    match write_out {
        "simple" => Ok(format!("{hash:x}, {revision}, {keys}, {}", human(bytes))),
        "json" => {
            let status = serde_json::json!({
                "hash": hash, "revision": revision, "totalKey": keys, "totalSize": bytes, "version": api::ETCD_VERSION,
            });
            Ok(status.to_string())
        }
        other => Err(format!("--write-out: {other:?} is neither `simple` nor `json`").into()),
    }
}

/// A size as etcdctl shows it.
fn human(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 1000.0 {
            return if size < 10.0 && unit != "B" {
                format!("{size:.1} {unit}")
            } else {
                format!("{size:.0} {unit}")
            };
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

/// Makes the data directory of a member of a new cluster whose first entry is all that the snapshot holds.
fn restore(file: &Path, config: &Config) -> Result<(), Box<dyn Error>> {
    let dir = &config.data_dir;
    if dir.exists() {
        return Err(format!("--data-dir: {} is there already; name another one", dir.display()).into());
    }
    let roster = &config.cluster.roster;
    let mut state = read(file)?;
    state.transplant(roster.clone());
    let _lock = Lock::acquire(dir)?;
    let files = RealFiles { fsync: true, metrics: Arc::default() };
    let identity = Identity { cluster: roster.cluster_id(), node: config.cluster.id };
    let origin = Origin { birth: roster.clone(), contacts: Default::default() };
    let birth = Birth { membership: roster.membership(), roster: origin.encode() };
    let opened = DataDir::new(files, dir).open(identity, birth)?;
    // Its log is empty: at the first start this image takes its place.
    let meta = SnapshotMeta { index: LogIndex(1), term: Term(1), membership: roster.membership() };
    let mut writer = opened.images.write(meta, "restore")?;
    let mut image = state.begin_image();
    while let Some(chunk) = state.image_chunk(&mut image, CHUNK_BYTES) {
        writer.chunk(&chunk)?;
    }
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_as_etcdctl_shows_them() {
        for (bytes, want) in [(7, "7 B"), (20_480, "20 kB"), (1544, "1.5 kB"), (2_100_000, "2.1 MB")] {
            assert_eq!(human(bytes), want);
        }
    }
}
