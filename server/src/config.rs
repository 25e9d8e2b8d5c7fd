//! What a server is told, parsed once into a valid [`Config`]: nothing checks it again.

use crate::{
    api,
    cli::Flags,
    cluster::{self, Roster},
    compactor::Mode,
    duration,
    telemetry::Logging,
};
use raft::types::NodeId;
use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};
pub use transport::{Certificate, Transport};
pub use values::{AuthToken, JwtFiles};

mod transport;
mod values;

/// The largest `--max-request-bytes`: entries must fit the frames between peers.
const REQUEST_BYTES_MAX: u64 = 16 << 20;
/// The largest `--election-timeout`, in milliseconds. As etcd.
const ELECTION_MS_MAX: u64 = 50_000;

/// How a server is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of this member.
    pub name: String,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    /// Where it listens for peers.
    pub listen_peer: Vec<Url>,
    /// Where it listens for clients.
    pub listen_client: Vec<Url>,
    /// Where clients reach it.
    pub advertise_client_urls: Vec<String>,
    /// The cluster to make or to continue.
    pub cluster: InitialCluster,
    /// A leader's heartbeat interval.
    pub heartbeat: Duration,
    /// The election timeout.
    pub election: Duration,
    /// Whether most of the first election timeout counts as gone at a start.
    pub election_head_start: bool,
    /// Entries applied between two snapshots.
    pub snapshot_count: u64,
    /// Largest request.
    pub max_request_bytes: usize,
    /// Most operations in a transaction.
    pub max_txn_ops: usize,
    /// How often watches are told of their progress.
    pub progress_interval: Duration,
    /// Whether changes of members that may cost the quorum are refused.
    pub strict_reconfig_check: bool,
    /// Bytes that the store may take.
    pub quota_bytes: Option<u64>,
    /// What automatic compaction keeps.
    pub compaction: Option<Mode>,
    /// Whether to compare this member's data with the others' before it serves.
    pub initial_corrupt_check: bool,
    /// How often a leader compares the members' data.
    pub corrupt_check_every: Option<Duration>,
    /// What tokens are.
    pub auth_token: AuthToken,
    /// How long a simple token lives without being used.
    pub auth_token_ttl: Duration,
    /// How much work it is to hash a password.
    pub bcrypt_cost: u32,
    /// How connections of clients are encrypted, for https URLs.
    pub client_tls: Option<Transport>,
    /// How connections between members are encrypted, for https URLs.
    pub peer_tls: Option<Transport>,
    /// How much is logged, how, and where to.
    pub log: Logging,
    /// Whether to flush to disk.
    pub fsync: bool,
    /// Where the trace of the raft core is written, if it is.
    pub trace: Option<PathBuf>,
    /// A planted bug.
    #[cfg(feature = "plant")]
    pub plant: Option<crate::plant::Plant>,
}

/// The cluster as the flags have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialCluster {
    /// This member.
    pub id: NodeId,
    /// All members.
    pub roster: Roster,
    /// Whether `--initial-cluster` was given: then a data directory must fit it.
    pub explicit: bool,
    /// Whether a new cluster may be made.
    pub may_create: bool,
}

impl InitialCluster {
    /// Where members call each other.
    fn urls(&self) -> impl Iterator<Item = Url> + '_ {
        let members = self.roster.members.values();
        members.flat_map(|member| &member.peer_urls).filter_map(|text| Url::parse(text).ok())
    }
}

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// As it was given.
    pub text: String,
    /// `host:port`, or a path of the file system.
    pub address: String,
    /// Whether it is in the file system.
    pub unix: bool,
    /// Whether connections are encrypted.
    pub tls: bool,
}

/// A mistake in the flags. Its text names the flag and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The flag.
    pub flag: &'static str,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{}: {}", self.flag, self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// Collects mistakes.
#[derive(Default)]
struct Mistakes(Vec<ConfigError>);

impl Mistakes {
    fn add(&mut self, flag: &'static str, problem: impl Into<String>) {
        self.0.push(ConfigError { flag, problem: problem.into() });
    }

    fn check(&mut self, flag: &'static str, good: bool, problem: &str) {
        if !good {
            self.add(flag, problem);
        }
    }

    fn urls(&mut self, flag: &'static str, list: &str) -> Vec<Url> {
        let mut urls = Vec::new();
        for text in list.split(',') {
            match Url::parse(text.trim()) {
                Ok(url) if url.unix && flag.contains("peer") => self.add(flag, no_unix_peers(&url.text)),
                Ok(url) => urls.push(url),
                Err(problem) => self.add(flag, problem),
            }
        }
        urls
    }
}

impl Config {
    /// Parses the flags.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn from_flags(flags: &Flags) -> Result<Config, Vec<ConfigError>> {
        let mut mistakes = Mistakes::default();
        mistakes.check("name", !flags.name.is_empty(), "must not be empty");
        let listen_peer = mistakes.urls("listen-peer-urls", &flags.listen_peer_urls);
        let listen_client = mistakes.urls("listen-client-urls", &flags.listen_client_urls);
        let advertise_client = match &flags.advertise_client_urls {
            Some(list) => mistakes.urls("advertise-client-urls", list),
            None => listen_client.clone(),
        };
        let cluster = initial_cluster(flags, &mut mistakes);
        let client_tls = transport::client(flags, &listen_client, &mut mistakes);
        let peer_urls: Vec<_> = (listen_peer.iter().map(|url| ("listen-peer-urls", url.clone())))
            .chain(cluster.urls().map(|url| ("initial-cluster", url)))
            .collect();
        let peer_tls = transport::peer(flags, &peer_urls, &mut mistakes);
        let corrupt_check_every = duration::parse(&flags.experimental_corrupt_check_time)
            .map_err(|problem| mistakes.add("experimental-corrupt-check-time", problem))
            .unwrap_or_default();
        let auth_token = values::auth_token(&flags.auth_token)
            .map_err(|problem| mistakes.add("auth-token", problem))
            .unwrap_or(AuthToken::Simple);
        let compaction = values::compaction(&flags.auto_compaction_mode, &flags.auto_compaction_retention)
            .map_err(|(flag, problem)| mistakes.add(flag, problem))
            .unwrap_or_default();
        check_numbers(flags, &mut mistakes);
        let log = values::logging(flags).map_err(|(flag, problem)| mistakes.add(flag, problem)).ok();
        #[cfg(feature = "plant")]
        let plant = plant(flags, &mut mistakes);
        #[cfg(not(feature = "plant"))]
        mistakes.check(
            "plant",
            flags.plant.is_none(),
            "this program has no planted bugs; build one with `cargo build --features plant`",
        );
        let (Some(log), []) = (log, &mistakes.0[..]) else { return Err(mistakes.0) };
        Ok(Config {
            data_dir: flags.data_dir.clone().unwrap_or_else(|| format!("{}.etcd", flags.name).into()),
            name: flags.name.clone(),
            listen_peer,
            listen_client,
            advertise_client_urls: advertise_client.into_iter().map(|url| url.text).collect(),
            cluster,
            heartbeat: Duration::from_millis(flags.heartbeat_interval),
            election: Duration::from_millis(flags.election_timeout),
            election_head_start: flags.initial_election_tick_advance,
            snapshot_count: flags.snapshot_count,
            max_request_bytes: flags.max_request_bytes as usize,
            max_txn_ops: flags.max_txn_ops as usize,
            progress_interval: flags.watch_progress_notify_interval,
            strict_reconfig_check: flags.strict_reconfig_check,
            quota_bytes: match flags.quota_backend_bytes {
                0 => Some(api::QUOTA_BYTES),
                quota => u64::try_from(quota).ok(),
            },
            compaction,
            initial_corrupt_check: flags.experimental_initial_corrupt_check,
            corrupt_check_every: Some(corrupt_check_every).filter(|every| !every.is_zero()),
            auth_token,
            auth_token_ttl: Duration::from_secs(flags.auth_token_ttl),
            bcrypt_cost: flags.bcrypt_cost,
            client_tls,
            peer_tls,
            log,
            fsync: !flags.unsafe_no_fsync,
            trace: flags.trace.clone(),
            #[cfg(feature = "plant")]
            plant,
        })
    }

    /// The shortest TTL of a lease, in seconds: one and a half election timeouts, rounded up. As etcd.
    pub fn lease_ttl_s_min(&self) -> i64 {
        let ms = self.election.as_millis() * 3 / 2;
        i64::try_from(ms.div_ceil(1000)).unwrap_or(i64::MAX).max(1)
    }

    /// A request whose outcome is not known after this long is answered so. As etcd: 5 s and two election
    /// timeouts.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election
    }
}

fn no_unix_peers(url: &str) -> String {
    format!("{url:?}: members talk over TCP; write http://HOST:PORT or https://HOST:PORT")
}

fn check_numbers(flags: &Flags, mistakes: &mut Mistakes) {
    let (heartbeat, election) = (flags.heartbeat_interval, flags.election_timeout);
    mistakes.check("heartbeat-interval", heartbeat > 0, "must be at least 1 (milliseconds)");
    if election / 5 < heartbeat {
        let problem = format!(
            "{election} is less than 5 times --heartbeat-interval, {heartbeat}: raise it to {} or more, or \
             lower the other",
            heartbeat.saturating_mul(5)
        );
        mistakes.add("election-timeout", problem);
    }
    mistakes.check("election-timeout", election <= ELECTION_MS_MAX, "must be at most 50000 (milliseconds)");
    mistakes.check(
        "experimental-watch-progress-notify-interval",
        flags.watch_progress_notify_interval >= Duration::from_millis(100),
        "must be at least 100ms",
    );
    mistakes.check("snapshot-count", flags.snapshot_count > 0, "must be at least 1");
    mistakes.check(
        "max-request-bytes",
        (1..=REQUEST_BYTES_MAX).contains(&flags.max_request_bytes),
        &format!("must be from 1 to {REQUEST_BYTES_MAX}"),
    );
    mistakes.check("auth-token-ttl", flags.auth_token_ttl > 0, "must be at least 1 (seconds)");
    mistakes.check("bcrypt-cost", (4..=31).contains(&flags.bcrypt_cost), "must be from 4 to 31");
    mistakes.check(
        "max-txn-ops",
        (1..=u64::from(u32::MAX)).contains(&flags.max_txn_ops),
        "must be at least 1, and less than 2^32",
    );
}

#[cfg(feature = "plant")]
fn plant(flags: &Flags, mistakes: &mut Mistakes) -> Option<crate::plant::Plant> {
    match flags.plant.as_ref()?.parse() {
        Ok(plant) => Some(plant),
        Err(error) => {
            mistakes.add("plant", format!("{error}"));
            None
        }
    }
}

fn initial_cluster(flags: &Flags, mistakes: &mut Mistakes) -> InitialCluster {
    const FLAG: &str = "initial-cluster";
    let advertised = flags.initial_advertise_peer_urls.as_ref().map(|list| {
        let urls = mistakes.urls("initial-advertise-peer-urls", list);
        urls.into_iter().map(|url| url.text).collect::<Vec<_>>()
    });
    let mut members = match &flags.initial_cluster {
        Some(list) => parse_members(list, mistakes),
        None => {
            let urls = advertised.clone().unwrap_or_else(|| vec!["http://localhost:2380".into()]);
            BTreeMap::from([(flags.name.clone(), urls)])
        }
    };
    for urls in members.values_mut() {
        urls.sort();
    }
    let mut seen = BTreeMap::new();
    for (name, urls) in &members {
        for url in urls {
            if let Some(other) = seen.insert(url, name) {
                mistakes.add(FLAG, format!("{url} is given to {other} and to {name}; give each its own"));
            }
        }
    }
    let own = members.get(&flags.name);
    match (own, advertised) {
        (None, _) => {
            let names: Vec<&str> = members.keys().map(String::as_str).collect();
            let problem = format!(
                "it has no member {:?}, which is this one's --name; it has {}",
                flags.name,
                names.join(", ")
            );
            mistakes.add(FLAG, problem);
        }
        (Some(own), Some(mut advertised)) => {
            advertised.sort();
            if *own != advertised {
                let problem = format!(
                    "it has {} for {}, but --initial-advertise-peer-urls is {}; they must be the same",
                    own.join(","),
                    flags.name,
                    advertised.join(",")
                );
                mistakes.add(FLAG, problem);
            }
        }
        (Some(_), None) => {}
    }
    let state = flags.initial_cluster_state.as_str();
    mistakes.check(
        "initial-cluster-state",
        matches!(state, "new" | "existing"),
        &format!("{state:?} is neither `new` nor `existing`"),
    );
    let token = &flags.initial_cluster_token;
    let id = cluster::member_id(own.map_or(&[][..], Vec::as_slice), token);
    InitialCluster {
        id,
        roster: Roster::of_new_cluster(&members, token),
        explicit: flags.initial_cluster.is_some(),
        may_create: state == "new",
    }
}

fn parse_members(list: &str, mistakes: &mut Mistakes) -> BTreeMap<String, Vec<String>> {
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in list.split(',') {
        match member.trim().split_once('=') {
            Some((name, url)) if !name.is_empty() => match Url::parse(url) {
                Ok(url) if url.unix => mistakes.add("initial-cluster", no_unix_peers(&url.text)),
                Ok(url) => members.entry(name.into()).or_default().push(url.text),
                Err(problem) => mistakes.add("initial-cluster", problem),
            },
            _ => mistakes.add("initial-cluster", format!("{member:?} is not NAME=URL")),
        }
    }
    members
}

impl Url {
    /// Parses `http://host:port`, `https://host:port`, `unix://path` or `unixs://path`.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<Url, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("{text:?} is no URL; write http://HOST:PORT"));
        };
        match scheme {
            "http" | "https" => {}
            "unix" | "unixs" if rest.is_empty() => return Err(format!("{text:?} names no file")),
            "unix" | "unixs" => {
                let (address, tls) = (rest.to_string(), scheme == "unixs");
                return Ok(Url { text: text.into(), address, unix: true, tls });
            }
            _ => return Err(format!("{text:?}: {scheme:?} is not supported; write http://HOST:PORT")),
        }
        let address = rest.strip_suffix('/').unwrap_or(rest);
        let good = address.rsplit_once(':').is_some_and(|(host, port)| {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            !host.is_empty()
                && !host.contains(['/', '?', '#', '@'])
                && (bracketed || !host.contains(':'))
                && port.parse::<u16>().is_ok()
        });
        if !good {
            return Err(format!("{text:?} is not http://HOST:PORT"));
        }
        let (text, address) = (format!("{scheme}://{address}"), address.to_string());
        Ok(Url { text, address, unix: false, tls: scheme == "https" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parse(args: &[&str]) -> Result<Config, String> {
        let flags = Flags::try_parse_from([&["assay-server"], args].concat()).expect("clap takes them");
        Config::from_flags(&flags)
            .map_err(|errors| errors.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn without_flags_it_is_etcds_default_member() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
        assert_eq!(config.listen_client[0].address, "localhost:2379");
        assert_eq!(config.advertise_client_urls, ["http://localhost:2379"]);
        assert_eq!(format!("{:x}", config.cluster.id.0), "8e9e05c52164694d");
        assert_eq!(config.request_timeout(), Duration::from_secs(7));
        assert!(config.fsync && config.cluster.may_create && !config.cluster.explicit);
    }

    #[test]
    fn every_mistake_is_told_with_its_flag_and_all_at_once() {
        let text = parse(&[
            "--name=n4",
            "--initial-cluster=n1=http://a:1,n2=http://a:1,n3",
            "--listen-peer-urls=https://a:1",
            "--listen-client-urls=unix://,http://a,ftp://b",
            "--heartbeat-interval=100",
            "--election-timeout=400",
            "--snapshot-count=0",
            "--max-request-bytes=99999999999",
            "--max-txn-ops=0",
            "--log-level=loud",
            "--initial-cluster-state=old",
            "--plant=no-such-bug",
            "--client-cert-auth",
            "--cert-file=c.pem",
            "--auto-compaction-retention=soon",
            "--auth-token=magic",
            "--bcrypt-cost=99",
        ])
        .unwrap_err();
        for part in [
            "--initial-cluster: \"n3\" is not NAME=URL",
            "--initial-cluster: http://a:1 is given to n1 and to n2",
            "--initial-cluster: it has no member \"n4\"",
            "--listen-peer-urls: https://a:1 needs --peer-cert-file and --peer-key-file, or --peer-auto-tls",
            "--listen-client-urls: \"unix://\" names no file",
            "--listen-client-urls: \"ftp://b\"",
            "--listen-client-urls: \"http://a\" is not",
            "--election-timeout: 400 is less than 5 times --heartbeat-interval, 100: raise it to 500",
            "--snapshot-count",
            "--max-request-bytes",
            "--max-txn-ops",
            "--log-level: \"loud\"",
            "--initial-cluster-state: \"old\"",
            "--plant: ",
            "--client-cert-auth: --trusted-ca-file",
            "--key-file: it belongs to --cert-file",
            "--auto-compaction-retention: \"soon\"",
            "--auth-token: \"magic\"",
            "--bcrypt-cost",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn members_may_have_several_urls_in_any_order() {
        let list = "--initial-cluster=n1=http://b:1,n2=http://c:1,n1=http://a:1/";
        let config =
            parse(&["--name=n1", list, "--initial-advertise-peer-urls=http://a:1,http://b:1"]).unwrap();
        assert_eq!(config.cluster.roster.members[&config.cluster.id].peer_urls, ["http://a:1", "http://b:1"]);
        assert_eq!(config.cluster.roster.members.len(), 2);
        let other = parse(&["--name=n1", list, "--initial-advertise-peer-urls=http://z:1"]).unwrap_err();
        assert!(other.contains("must be the same"), "{other}");
    }

    #[test]
    fn flags_without_a_value_and_with_one_are_the_same() {
        assert!(!parse(&["--unsafe-no-fsync"]).unwrap().fsync);
        assert!(!parse(&["--unsafe-no-fsync=true"]).unwrap().fsync);
        assert!(parse(&["--unsafe-no-fsync=false"]).unwrap().fsync);
        assert_eq!(parse(&["--quota-backend-bytes=-1"]).unwrap().quota_bytes, None);
        assert_eq!(parse(&["--quota-backend-bytes=5"]).unwrap().quota_bytes, Some(5));
    }
}
