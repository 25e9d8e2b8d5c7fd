//! A whole server in this process.

use crate::{
    api::{
        self, ClientListener,
        tokens::{self, Tokens},
    },
    backend::Backend,
    cluster::{Origin, Roster},
    compactor::{Compactor, Mode},
    config::{AuthToken, Config, InitialCluster},
    disk::{Birth, DataDir, Identity, Lock, OpenError, Opened, RealFiles},
    error::ApiError,
    join::{JoinError, join},
    metrics::Metrics,
    node::{Node, Options, Running, StartError, corruption},
    proto::{
        etcdserverpb::CompactionRequest,
        internal::{MemberAttributes, command::Request},
    },
    tls::{PeerTls, Tls, TlsError},
};
use raft::types::{LogIndex, Role};
use std::{fmt, future::Future, io, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};

mod listen;
#[cfg(test)]
mod tests;
mod transport;

/// How often it is looked whether the log is replayed.
const REPLAY_POLL: Duration = Duration::from_millis(2);
/// Pause before a member tells its attributes again.
const PUBLISH_PAUSE: Duration = Duration::from_millis(50);
/// What a command has beside its request: three numbers, each of at most eleven bytes.
const COMMAND_HEAD_BYTES_MAX: usize = 33;

/// Why a server ended.
#[derive(Debug)]
pub enum RunError {
    /// The data directory cannot be used.
    Data(OpenError),
    /// A place to listen at cannot be had.
    Listen {
        /// The flag that has it.
        flag: &'static str,
        /// The place.
        url: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The member cannot join the cluster that it is told to join.
    Join(JoinError),
    /// Certificates cannot be used.
    Tls {
        /// The flag that names the certificate.
        flag: &'static str,
        /// The file, and what is wrong with it.
        source: TlsError,
    },
    /// Keys for tokens cannot be used.
    Keys {
        /// The file, and what is wrong with it.
        why: String,
    },
    /// This member's data differs from the others'.
    Corrupt(String),
    /// The member could not be started.
    Start(StartError),
    /// The member had to stop.
    Failed(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(error) => error.fmt(f),
            Self::Listen { flag, url, source } if source.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "--{flag}: {url} is in use by another process. Stop that, or choose another port.")
            }
            Self::Listen { flag, url, source } => write!(f, "--{flag}: cannot listen at {url}: {source}"),
            Self::Join(error) => error.fmt(f),
            Self::Tls { flag, source } => write!(f, "--{flag}: {source}"),
            Self::Keys { why } => write!(f, "--auth-token: {why}"),
            Self::Corrupt(why) => write!(
                f,
                "{why}. Do not use this member's data: remove the member, delete its data directory, and add it \
                 as a new one"
            ),
            Self::Start(error) => write!(f, "cannot start: {error}"),
            Self::Failed(why) => write!(f, "the member had to stop: {why}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Runs a server until `shutdown` completes, or it cannot go on.
///
/// # Errors
/// See [`RunError`].
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    #[cfg(feature = "plant")]
    crate::plant::choose_for_process(config.plant);
    // Ports first: whoever started two servers by mistake learns it before anything is touched.
    let peers = listen::peers(&config.listen_peer)?;
    let clients = listen::clients(&config.listen_client)?;
    let tokens = Arc::new(tokens(&config)?);
    let metrics = Arc::new(Metrics::default());
    let _lock = Lock::acquire(&config.data_dir).map_err(RunError::Data)?;
    let peer_tls = transport::peers(&config)?;
    let (identity, opened) = open(&config, peer_tls.clone(), &metrics)?;
    let options = options(&config, identity, &opened, peer_tls)?;
    if options.contacts.members.is_empty() && !opened.restarted {
        tracing::info!(node = %options.id, cluster = options.cluster_id, "a first member of a new cluster");
    }
    let commit = opened.hard_state.commit;
    let running = Running::start(options, opened, peers, metrics.clone()).map_err(RunError::Start)?;
    let (node, mut failure) = (running.node(), running.failure());

    let serve = async {
        let mut shutdown = std::pin::pin!(shutdown);
        // Whoever stops a server does not wait until it has begun to serve.
        tokio::select! {
            fit = fit_to_serve(&config, &node, commit) => fit?,
            () = &mut shutdown => return Ok(()),
        }
        let tls = transport::clients(&config)?;
        let chores = chores(&config, &node);
        serve_clients(&config, node.clone(), clients, Served { metrics, tokens, tls }, shutdown).await?;
        drop(chores);
        Ok(())
    };
    let outcome = tokio::select! {
        served = serve => served,
        failed = failure.wait_for(Option::is_some) => {
            let why = failed.ok().and_then(|why| why.clone()).unwrap_or_default();
            Err(RunError::Failed(why))
        }
    };
    if outcome.is_ok() {
        node.resign().await;
    }
    // Joins threads.
    let _ = tokio::task::spawn_blocking(move || running.stop()).await;
    tracing::info!("stopped");
    outcome
}

/// Waits until this member may show its state to clients.
async fn fit_to_serve(config: &Config, node: &Node, commit: LogIndex) -> Result<(), RunError> {
    // A restarted member shows no state that is older than what it knew to be committed.
    // One that joined shows none from before it was a member: it has nothing yet, and would say so.
    let own = node.status().id;
    while node.status().applied < commit || !node.roster().members.contains_key(&own) {
        tokio::time::sleep(REPLAY_POLL).await;
    }
    if config.initial_corrupt_check {
        corruption::compare_at_start(node).await.map_err(RunError::Corrupt)?;
    }
    Ok(())
}

fn open(
    config: &Config,
    peer_tls: Option<Arc<PeerTls>>,
    metrics: &Arc<Metrics>,
) -> Result<(Identity, Opened<RealFiles>), RunError> {
    let files = RealFiles { fsync: config.fsync, metrics: metrics.clone() };
    let dir = DataDir::new(files, &config.data_dir);
    let cluster = &config.cluster;
    let told = Identity { cluster: cluster.roster.cluster_id(), node: cluster.id };
    let found = dir.identity().map_err(RunError::Data)?.map(|(identity, _)| identity);
    let (identity, birth) = match found {
        // What it joined is in its directory; the flags only told how.
        Some(found) if !cluster.explicit || !cluster.may_create => (found, first_birth(cluster)),
        Some(_) => (told, first_birth(cluster)),
        None if cluster.may_create => (told, first_birth(cluster)),
        None => join(config, peer_tls).map_err(RunError::Join)?,
    };
    let opened = dir.open(identity, birth).map_err(RunError::Data)?;
    Ok((identity, opened))
}

/// What a first member of a new cluster starts from.
fn first_birth(cluster: &InitialCluster) -> Birth {
    let origin = Origin { birth: cluster.roster.clone(), contacts: Roster::default() };
    Birth { membership: cluster.roster.membership(), roster: origin.encode() }
}

fn options(
    config: &Config,
    identity: Identity,
    opened: &Opened<RealFiles>,
    peer_tls: Option<Arc<PeerTls>>,
) -> Result<Options, RunError> {
    let origin = Origin::decode(opened.roster.clone()).map_err(|error| {
        RunError::Data(OpenError::Damaged {
            file: config.data_dir.join("identity"),
            offset: 0,
            why: format!("its list of members makes no sense: {error}"),
        })
    })?;
    Ok(Options {
        id: identity.node,
        cluster_id: identity.cluster,
        roster: origin.birth,
        contacts: origin.contacts,
        heartbeat: config.heartbeat,
        election: config.election,
        election_head_start: config.election_head_start,
        snapshot_count: config.snapshot_count,
        catch_up_entries: Options::CATCH_UP_ENTRIES,
        // The API has measured the request as etcd does; what the log adds to it may come on top.
        max_request_bytes: config.max_request_bytes + COMMAND_HEAD_BYTES_MAX,
        request_timeout: config.request_timeout(),
        peer_tls,
        spool_dir: config.data_dir.clone(),
        trace: config.trace.clone(),
        seed: seed(),
        #[cfg(feature = "plant")]
        plant: config.plant,
    })
}

/// A seed that no other start has: from the operating system.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Keyed by the operating system's randomness, once a process and then counted up.
    RandomState::new().hash_one((std::process::id(), std::time::SystemTime::now()))
}

/// What serves clients beside the node.
struct Served {
    metrics: Arc<Metrics>,
    tokens: Arc<Tokens>,
    tls: Option<Arc<Tls>>,
}

fn tokens(config: &Config) -> Result<Tokens, RunError> {
    match &config.auth_token {
        AuthToken::Simple => Ok(Tokens::simple(config.auth_token_ttl)),
        AuthToken::Jwt(files) => tokens::open(files).map_err(|why| RunError::Keys { why }),
    }
}

/// Begins what the server does by itself; it ends when what is returned is dropped.
fn chores(config: &Config, node: &Node) -> JoinSet<()> {
    let mut chores = JoinSet::new();
    if let Some(mode) = config.compaction {
        chores.spawn(compact(node.clone(), mode));
    }
    if let Some(every) = config.corrupt_check_every {
        chores.spawn(corruption::compare_again_and_again(node.clone(), every));
    }
    chores
}

/// Compacts automatically, while this member leads.
async fn compact(node: Node, mode: Mode) {
    let mut compactor = Compactor::new(mode);
    let begun = tokio::time::Instant::now();
    let mut looks = tokio::time::interval(mode.look_every());
    loop {
        looks.tick().await;
        let (revision, leads) = (node.state().kv().revision(), node.status().role == Role::Leader);
        let Some(revision) = compactor.look(begun.elapsed(), revision, leads) else { continue };
        let request = CompactionRequest { revision, physical: false };
        match node.propose(Request::Compaction(request)).await {
            Ok(_) => tracing::info!(revision, "compacted automatically"),
            // Somebody else was quicker.
            Err(ApiError::Compacted) => {}
            Err(error) => tracing::warn!(revision, ?error, "cannot compact"),
        }
    }
}

async fn serve_clients(
    config: &Config,
    node: Node,
    listeners: Vec<(ClientListener, bool)>,
    served: Served,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let Served { metrics, tokens, tls } = served;
    let limits = api::Limits {
        max_request_bytes: config.max_request_bytes,
        max_txn_ops: config.max_txn_ops,
        lease_ttl_s_min: config.lease_ttl_s_min(),
        progress_interval: config.progress_interval,
        leaderless_max: 3 * config.election,
        strict_reconfig_check: config.strict_reconfig_check,
        quota_bytes: config.quota_bytes,
        bcrypt_cost: config.bcrypt_cost,
    };
    let (stop, stopping) = watch::channel(());
    let mut servers = JoinSet::new();
    for (listener, encrypted) in listeners {
        let mut stopping = stopping.clone();
        let app = api::app_with(node.clone(), limits, metrics.clone(), tokens.clone());
        let tls = tls.clone().filter(|_| encrypted);
        servers.spawn(async move {
            // An error of the channel too: the sender is gone.
            let stop = async { stopping.changed().await.unwrap_or_default() };
            if let Err(error) = listener.serve(app, tls, stop).await {
                tracing::error!(%error, "a place where clients call is not served");
            }
        });
    }
    drop(stopping);
    let publish = tokio::spawn(publish(node, config.name.clone(), config.advertise_client_urls.clone()));
    shutdown.await;
    // Connections end while requests under way are still answered.
    drop(stop);
    publish.abort();
    while servers.join_next().await.is_some() {}
    Ok(())
}

/// Tells the cluster this member's name and client URLs, unless it knows them, and says that the server is
/// ready.
async fn publish(node: Node, name: String, client_urls: Vec<String>) {
    let status = node.status();
    let attributes = MemberAttributes { member_id: status.id.0, name, client_urls };
    loop {
        let known =
            match node.read_index().await {
                Ok(()) => node.roster().members.get(&status.id).is_some_and(|own| {
                    own.name == attributes.name && own.client_urls == attributes.client_urls
                }),
                Err(_) => false,
            };
        if known {
            break;
        }
        match node.propose(Request::MemberAttributes(attributes.clone())).await {
            Ok(_) => break,
            Err(ApiError::Stopped) => return,
            Err(error) => {
                tracing::debug!(?error, "cannot tell the cluster this member's attributes yet");
                tokio::time::sleep(PUBLISH_PAUSE).await;
            }
        }
    }
    tracing::info!(node = %status.id, "ready to serve client requests");
}
