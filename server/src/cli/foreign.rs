//! Flags of etcd's that this server does not have.

use std::ffi::OsString;

/// One of them.
struct Foreign {
    name: &'static str,
    /// Whether it is a switch, which takes a value only behind `=`.
    is_switch: bool,
    /// Why other values than the harmless ones are refused; `None`: every value is harmless.
    refused: Option<&'static str>,
    /// Values that ask for what is the case here anyhow.
    harmless: &'static [&'static str],
}

const fn tuning(name: &'static str) -> Foreign {
    Foreign { name, is_switch: false, refused: None, harmless: &[] }
}

const fn tuning_switch(name: &'static str) -> Foreign {
    Foreign { name, is_switch: true, refused: None, harmless: &[] }
}

const fn refused(name: &'static str, harmless: &'static [&'static str], why: &'static str) -> Foreign {
    Foreign { name, is_switch: false, refused: Some(why), harmless }
}

const fn refused_switch(name: &'static str, harmless: &'static [&'static str], why: &'static str) -> Foreign {
    Foreign { name, is_switch: true, refused: Some(why), harmless }
}

const OFF: &[&str] = &["", "false"];
const ON: &[&str] = &["true"];
const ZERO: &[&str] = &["", "0", "0s"];
const NO_DISCOVERY: &str = "discovery is not supported; name the members with --initial-cluster";
const NO_V2: &str = "the v2 API is gone: etcd 3.6 does not have it either. Use the v3 API";

/// All of them.
const FOREIGN: &[Foreign] = &[
    // What tunes parts that this server does not have.
    tuning("max-wals"),
    tuning("max-snapshots"),
    tuning("backend-batch-limit"),
    tuning("backend-batch-interval"),
    tuning("backend-bbolt-freelist-type"),
    tuning("experimental-backend-bbolt-freelist-type"),
    tuning("grpc-keepalive-min-time"),
    tuning("grpc-keepalive-interval"),
    tuning("grpc-keepalive-timeout"),
    tuning("max-concurrent-streams"),
    tuning("metrics"),
    tuning("logger"),
    tuning("experimental-compaction-batch-limit"),
    tuning("compaction-batch-limit"),
    tuning("experimental-compaction-sleep-interval"),
    tuning("compaction-sleep-interval"),
    tuning("experimental-warning-apply-duration"),
    tuning("warning-apply-duration"),
    tuning("experimental-warning-unary-request-duration"),
    tuning("warning-unary-request-duration"),
    tuning("experimental-snapshot-catchup-entries"),
    tuning("snapshot-catchup-entries"),
    tuning("experimental-bootstrap-defrag-threshold-megabytes"),
    tuning("bootstrap-defrag-threshold-megabytes"),
    tuning("experimental-downgrade-check-time"),
    tuning("downgrade-check-time"),
    tuning("experimental-max-learners"),
    tuning_switch("experimental-memory-mlock"),
    tuning_switch("memory-mlock"),
    tuning_switch("experimental-txn-mode-write-with-shared-buffer"),
    tuning_switch("experimental-stop-grpc-service-on-defrag"),
    tuning_switch("socket-reuse-address"),
    tuning_switch("debug"),
    tuning("log-package-levels"),
    // The gateway calls the server without a connection.
    tuning("client-cert-file"),
    tuning("client-key-file"),
    // What is accepted where it asks for what is the case anyhow.
    refused_switch("pre-vote", ON, "elections always begin by asking whether they could be won"),
    refused("cors", &["", "*"], "pages from anywhere may call"),
    refused("host-whitelist", &["", "*"], "requests for any host are answered"),
    refused_switch("enable-v2", OFF, NO_V2),
    refused("experimental-enable-v2v3", &[""], NO_V2),
    refused("v2-deprecation", &["", "not-yet", "write-only", "write-only-drop-data", "gone"], NO_V2),
    refused("discovery", &[""], NO_DISCOVERY),
    refused("discovery-fallback", &["", "proxy", "exit"], NO_DISCOVERY),
    refused("discovery-proxy", &[""], NO_DISCOVERY),
    refused("discovery-srv", &[""], NO_DISCOVERY),
    refused("discovery-srv-name", &[""], NO_DISCOVERY),
    refused("proxy", &["", "off"], "this server is no proxy"),
    refused("wal-dir", &[""], "the log lies in the data directory; mount or link DATA-DIR/log elsewhere"),
    refused("listen-metrics-urls", &[""], "metrics are at /metrics of --listen-client-urls"),
    refused("listen-client-http-urls", &[""], "HTTP and gRPC share --listen-client-urls"),
    refused_switch("enable-pprof", OFF, "there is no Go profile; use perf"),
    refused_switch(
        "force-new-cluster",
        OFF,
        "make a snapshot, and restore it: assay-server snapshot restore",
    ),
    refused_switch("socket-reuse-port", OFF, "two servers must not share a port"),
    refused_switch("enable-grpc-gateway", ON, "the JSON gateway is always there"),
    refused("cipher-suites", &[""], "the TLS library's safe suites are used"),
    refused("tls-min-version", &["", "TLS1.2"], "TLS 1.2 and 1.3 are spoken"),
    refused("tls-max-version", &["", "TLS1.3"], "TLS 1.2 and 1.3 are spoken"),
    refused_switch(
        "experimental-peer-skip-client-san-verification",
        &["", "false", "true"],
        "it is never asked from where a member with a good certificate calls",
    ),
    refused_switch("experimental-compact-hash-check-enabled", OFF, "use --experimental-corrupt-check-time"),
    refused_switch("compact-hash-check-enabled", OFF, "use --experimental-corrupt-check-time"),
    refused(
        "experimental-compact-hash-check-time",
        &["", "1m", "1m0s"],
        "use --experimental-corrupt-check-time",
    ),
    refused("compact-hash-check-time", &["", "1m", "1m0s"], "use --experimental-corrupt-check-time"),
    refused_switch("experimental-enable-distributed-tracing", OFF, "there is no tracing"),
    refused("experimental-distributed-tracing-address", &["", "localhost:4317"], "there is no tracing"),
    refused("experimental-distributed-tracing-service-name", &["", "etcd"], "there is no tracing"),
    refused("experimental-distributed-tracing-instance-id", &[""], "there is no tracing"),
    refused("experimental-distributed-tracing-sampling-rate", ZERO, "there is no tracing"),
    refused_switch(
        "enable-log-rotation",
        OFF,
        "rotate the file of --log-outputs by copying and truncating it",
    ),
    tuning("log-rotation-config-json"),
];

/// A command line without them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sorted {
    /// What is left.
    pub(super) args: Vec<OsString>,
    /// Those that were given and are harmless, to be said once.
    pub(super) without_effect: Vec<String>,
}

/// Takes etcd's other flags off a command line, and looks for them among the variables.
///
/// # Errors
/// All that are refused, with the reasons.
pub(super) fn sort(args: Vec<OsString>, variables: &[(String, String)]) -> Result<Sorted, Vec<String>> {
    let mut sorted = Sorted { args: Vec::new(), without_effect: Vec::new() };
    let mut refused = Vec::new();
    let mut judge =
        |foreign: &Foreign, shown: String, value: &str, without_effect: &mut Vec<String>| match foreign
            .refused
        {
            Some(_) if foreign.harmless.contains(&value) => {}
            Some(why) => refused.push(format!("{shown}: not supported: {why}")),
            None => without_effect.push(shown),
        };
    for (name, value) in variables {
        let flag = name.strip_prefix("ETCD_").map(|name| name.to_lowercase().replace('_', "-"));
        if let Some(foreign) = FOREIGN.iter().find(|foreign| flag.as_deref() == Some(foreign.name)) {
            judge(foreign, name.clone(), value, &mut sorted.without_effect);
        }
    }
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let text = arg.to_str().and_then(|text| text.strip_prefix("--")).unwrap_or_default();
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let Some(foreign) = FOREIGN.iter().find(|foreign| foreign.name == name) else {
            sorted.args.push(arg);
            continue;
        };
        let value = match value {
            Some(value) => value.to_string(),
            None if foreign.is_switch => "true".to_string(),
            None => args.next().and_then(|value| value.into_string().ok()).unwrap_or_default(),
        };
        judge(foreign, format!("--{name}"), &value, &mut sorted.without_effect);
    }
    if refused.is_empty() { Ok(sorted) } else { Err(refused) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Flags;
    use clap::CommandFactory as _;

    fn args(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_harmless_are_taken_off_and_the_rest_is_left() {
        let given =
            ["etcd", "--name", "n", "--max-wals", "5", "--enable-v2=false", "--debug", "--metrics=basic"];
        let variables = [("ETCD_MAX_SNAPSHOTS".into(), "5".into()), ("HOME".into(), "/".into())];
        let sorted = sort(args(&given), &variables).expect("harmless");
        assert_eq!(sorted.args, args(&["etcd", "--name", "n"]));
        assert_eq!(sorted.without_effect, ["ETCD_MAX_SNAPSHOTS", "--max-wals", "--debug", "--metrics"]);
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_the_reason_and_all_at_once() {
        let given = ["etcd", "--enable-v2", "--wal-dir=/x", "--discovery", "http://x"];
        let variables = [("ETCD_PROXY".into(), "on".into())];
        let errors = sort(args(&given), &variables).expect_err("refused").join("\n");
        for part in
            ["--enable-v2: not", "--wal-dir: not", "--discovery: not", "ETCD_PROXY: not", "DATA-DIR/log"]
        {
            assert!(errors.contains(part), "{part} is not in\n{errors}");
        }
    }

    #[test]
    fn no_flag_is_both_ours_and_foreign() {
        let command = Flags::command();
        let ours: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        for (at, foreign) in FOREIGN.iter().enumerate() {
            assert!(!ours.contains(&foreign.name), "{}", foreign.name);
            assert!(FOREIGN[..at].iter().all(|other| other.name != foreign.name), "{}", foreign.name);
        }
    }
}
