//! What the load is made of: operations with weights, and the named mixes.

use super::{keys::Distribution, values::Size, watchers::Watching};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// One kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Writes a key there is.
    Put,
    /// Writes a new key.
    Insert,
    /// Reads a key.
    Get,
    /// Reads a key from the member's own state, which may be old.
    GetSerializable,
    /// Reads a run of keys: 1 to [`Workload::scan_max`] of them, uniformly.
    Scan,
    /// Reads the keys with the prefix, up to [`Workload::scan_max`].
    List,
    /// Counts the keys with the prefix.
    Count,
    /// Reads a key, then writes it: one operation.
    ReadModifyWrite,
    /// Deletes a key.
    Delete,
    /// A transaction of [`Workload::txn_ops`] puts.
    TxnPut,
    /// Reads a key, then writes it if it is unchanged, and all again if not: etcd's software transactional memory
    /// on one key.
    Stm,
    /// Writes a key if its mod revision is the one last seen, else reads it: as the Kubernetes API server does.
    Update,
    /// Writes a key that hangs from a lease which many keys share: as the Kubernetes API server keeps events.
    Event,
}

impl Action {
    /// Every action.
    pub const ALL: [Action; 13] = [
        Action::Put,
        Action::Insert,
        Action::Get,
        Action::GetSerializable,
        Action::Scan,
        Action::List,
        Action::Count,
        Action::ReadModifyWrite,
        Action::Delete,
        Action::TxnPut,
        Action::Stm,
        Action::Update,
        Action::Event,
    ];

    /// Its name, on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Action::Put => "put",
            Action::Insert => "insert",
            Action::Get => "get",
            Action::GetSerializable => "get-serializable",
            Action::Scan => "scan",
            Action::List => "list",
            Action::Count => "count",
            Action::ReadModifyWrite => "rmw",
            Action::Delete => "delete",
            Action::TxnPut => "txn-put",
            Action::Stm => "stm",
            Action::Update => "update",
            Action::Event => "event",
        }
    }

    /// Whether it changes the store.
    pub fn writes(self) -> bool {
        match self {
            Action::Get | Action::GetSerializable | Action::Scan | Action::List | Action::Count => false,
            Action::Put
            | Action::Insert
            | Action::ReadModifyWrite
            | Action::Delete
            | Action::TxnPut
            | Action::Stm
            | Action::Update
            | Action::Event => true,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Operations with their weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mix(pub Vec<(Action, u32)>);

impl Mix {
    /// The largest weight.
    const WEIGHT_MAX: u32 = 1_000_000;

    /// One action and no other.
    pub fn only(action: Action) -> Mix {
        Mix(vec![(action, 1)])
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (action, weight)) in self.0.iter().enumerate() {
            write!(f, "{}{action}={weight}", if at > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for Mix {
    type Err = String;

    /// Reads `get=95,put=5`; a name alone has weight 1.
    fn from_str(text: &str) -> Result<Mix, String> {
        let mut mix = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let action = Action::ALL.into_iter().find(|action| action.name() == name).ok_or_else(|| {
                let names = Action::ALL.map(Action::name).join(", ");
                format!("there is no operation `{name}`; known are {names}")
            })?;
            let weight: u32 = weight
                .trim_end_matches('%')
                .parse()
                .ok()
                .filter(|w| (1..=Mix::WEIGHT_MAX).contains(w))
                .ok_or_else(|| {
                    format!("`{part}`: a weight is a whole number from 1 to {}", Mix::WEIGHT_MAX)
                })?;
            if mix.iter().any(|(other, _)| *other == action) {
                return Err(format!("`{name}` stands twice in the mix"));
            }
            mix.push((action, weight));
        }
        if mix.is_empty() {
            return Err("a mix names at least one operation: get=95,put=5".to_owned());
        }
        Ok(Mix(mix))
    }
}

/// What a load consists of beside its mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The operations of the mix.
    #[default]
    Calls,
    /// Renewals of leases, over streams.
    KeepAlive,
    /// New watches of a key that was written so many times.
    Replay {
        /// How many.
        events: u64,
    },
    /// The operations of the mix, on a store in this process.
    Store,
}

/// A load, but for its rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// What it consists of.
    pub kind: Kind,
    /// Its operations.
    pub mix: Mix,
    /// How keys are chosen.
    pub keys: Distribution,
    /// Keys there are at first.
    pub key_count: u64,
    /// What keys begin with.
    pub prefix: String,
    /// Octets of a key with its prefix, where its number needs no more.
    pub key_bytes: usize,
    /// Whether the order of keys is not that of their numbers: YCSB's `insertorder=hashed`.
    pub hashed: bool,
    /// Sizes of values.
    pub values: Size,
    /// Share of a value that compresses away, 0 to 1.
    pub compressible: f64,
    /// The longest scan, and the limit of a list; at least 1.
    pub scan_max: u64,
    /// Puts in a transaction; at least 1.
    pub txn_ops: u64,
    /// Whether the keys are written before the load begins.
    pub preload: bool,
    /// What watches beside the load.
    pub watching: Option<Watching>,
    /// History is compacted so often, from a thousand revisions before the newest on.
    pub compact_every: Option<Duration>,
}

impl Workload {
    /// Names of the workloads, and what they are.
    pub const NAMES: [(&'static str, &'static str); 19] = [
        ("put", "writes (benchmark put)"),
        ("range", "linearizable reads of one key (benchmark range)"),
        ("range-serializable", "serializable reads of one key (benchmark range --consistency=s)"),
        ("txn-put", "transactions of puts (benchmark txn-put)"),
        ("txn-mixed", "reads of a key and transactions, half each (benchmark txn-mixed)"),
        ("stm", "read, then write if unchanged, until it is (benchmark stm)"),
        ("ycsb-a", "half reads, half updates, scrambled zipfian"),
        ("ycsb-b", "95 % reads, 5 % updates, scrambled zipfian"),
        ("ycsb-c", "reads, scrambled zipfian"),
        ("ycsb-d", "95 % reads of the latest, 5 % inserts"),
        ("ycsb-e", "95 % scans of 1 to 100 keys, 5 % inserts"),
        ("ycsb-f", "half reads, half read-modify-writes"),
        ("watch", "puts, and 1000 watches of one key each (benchmark watch)"),
        ("watch-latency", "puts, and 100 watches of all of them (benchmark watch-latency)"),
        ("watch-get", "new watches of a key that was written 8 times (benchmark watch-get)"),
        ("lease-keepalive", "renewals of leases (benchmark lease-keepalive)"),
        ("mvcc-put", "puts into the store of assay-server in this process, no cluster (benchmark mvcc put)"),
        (
            "kubernetes",
            "lists, reads, optimistic updates, creations, deletions and events with leases beside watches and \
             compaction, as an API server makes them",
        ),
        ("mix", "what --mix says"),
    ];

    /// The workload of this name, with the settings that are its own.
    ///
    /// # Errors
    /// A text for the user that names those there are.
    pub fn named(name: &str) -> Result<Workload, String> {
        let base = Workload {
            name: name.to_owned(),
            kind: Kind::Calls,
            mix: Mix::only(Action::Put),
            keys: Distribution::Uniform,
            key_count: 10_000,
            prefix: "bench/".to_owned(),
            key_bytes: 16,
            hashed: false,
            values: Size::Constant(256),
            compressible: 0.0,
            scan_max: 100,
            txn_ops: 1,
            preload: true,
            watching: None,
            compact_every: None,
        };
        let watching = |streams, per_stream, whole| Watching { streams, per_stream, whole, prev_kv: false };
        // Ten fields of 100 bytes: YCSB's record. Keys are `user` and a hash.
        let ycsb = |mix: &[(Action, u32)], keys| Workload {
            mix: Mix(mix.to_vec()),
            keys,
            prefix: "user".to_owned(),
            key_bytes: 24,
            hashed: true,
            values: Size::Constant(1000),
            key_count: 1000,
            ..base.clone()
        };
        Ok(match name {
            "put" => Workload { preload: false, ..base },
            "range" => Workload { mix: Mix::only(Action::Get), ..base },
            "range-serializable" => Workload { mix: Mix::only(Action::GetSerializable), ..base },
            "txn-put" => Workload { mix: Mix::only(Action::TxnPut), preload: false, ..base },
            "txn-mixed" => Workload { mix: Mix(vec![(Action::Get, 1), (Action::TxnPut, 1)]), ..base },
            "stm" => Workload { mix: Mix::only(Action::Stm), key_count: 1, ..base },
            "ycsb-a" => ycsb(&[(Action::Get, 50), (Action::Put, 50)], Distribution::Scrambled),
            "ycsb-b" => ycsb(&[(Action::Get, 95), (Action::Put, 5)], Distribution::Scrambled),
            "ycsb-c" => ycsb(&[(Action::Get, 100)], Distribution::Scrambled),
            "ycsb-d" => ycsb(&[(Action::Get, 95), (Action::Insert, 5)], Distribution::Latest),
            "ycsb-e" => ycsb(&[(Action::Scan, 95), (Action::Insert, 5)], Distribution::Scrambled),
            "ycsb-f" => ycsb(&[(Action::Get, 50), (Action::ReadModifyWrite, 50)], Distribution::Scrambled),
            "watch" => Workload { preload: false, watching: Some(watching(10, 100, false)), ..base },
            "watch-latency" => Workload { preload: false, watching: Some(watching(10, 10, true)), ..base },
            "watch-get" => Workload { preload: false, kind: Kind::Replay { events: 8 }, ..base },
            "lease-keepalive" => Workload { preload: false, kind: Kind::KeepAlive, ..base },
            "mvcc-put" => Workload { preload: false, kind: Kind::Store, ..base },
            "kubernetes" => Workload {
                mix: Mix(vec![
                    (Action::Update, 55),
                    (Action::Get, 20),
                    (Action::List, 5),
                    (Action::Insert, 10),
                    (Action::Delete, 5),
                    (Action::Event, 5),
                ]),
                // One watch cache for each kind of object, on each of three API servers.
                watching: Some(watching(3, 1, true)),
                compact_every: Some(Duration::from_secs(5)),
                keys: Distribution::Scrambled,
                prefix: "/registry/pods/default/".to_owned(),
                key_bytes: 40,
                values: Size::Zipfian(500, 8000),
                compressible: 0.5,
                scan_max: 500,
                ..base
            },
            "mix" => base,
            _ => {
                let names = Workload::NAMES.map(|(name, _)| name).join(", ");
                return Err(format!("there is no workload `{name}`; known are {names}"));
            }
        })
    }

    /// Names of the operations that a driver measures, in the order of its tallies.
    pub fn names(&self) -> Vec<&'static str> {
        match self.kind {
            Kind::Calls | Kind::Store => self.mix.0.iter().map(|(action, _)| action.name()).collect(),
            Kind::KeepAlive => vec!["lease-keepalive"],
            Kind::Replay { .. } => vec!["watch-get"],
        }
    }

    /// Appends the name of key number `number`.
    pub(super) fn write_key(&self, number: u64, out: &mut Vec<u8>) {
        let shown = if self.hashed { super::keys::fnv(number) } else { number };
        let start = out.len();
        out.extend_from_slice(self.prefix.as_bytes());
        let mut digits = [b'0'; 20];
        let (mut rest, mut at) = (shown, digits.len());
        while rest > 0 {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let width = (digits.len() - at).max(self.key_bytes.saturating_sub(self.prefix.len()));
        let zeros = width.saturating_sub(digits.len());
        out.resize(out.len() + zeros, b'0');
        out.extend_from_slice(&digits[digits.len() - (width - zeros)..]);
        debug_assert!(out.len() - start >= self.key_bytes, "a key is as long as asked for");
    }

    /// The end of the range of all keys with the prefix.
    pub(super) fn prefix_end(&self) -> Vec<u8> {
        let mut end = self.prefix.as_bytes().to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return end;
            }
        }
        // All keys from the first on.
        vec![0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_and_written() {
        let mix: Mix = "get=95, put=5".parse().unwrap();
        assert_eq!(mix.0, [(Action::Get, 95), (Action::Put, 5)]);
        assert_eq!(mix.to_string().parse::<Mix>(), Ok(mix));
        for (text, say) in [
            ("", "at least one"),
            ("fly=1", "known are put"),
            ("get=0", "whole number"),
            ("get,get", "twice"),
        ] {
            let error = text.parse::<Mix>().unwrap_err();
            assert!(error.contains(say), "{error}");
        }
    }

    #[test]
    fn every_named_workload_is_there() {
        for (name, _) in Workload::NAMES {
            assert_eq!(Workload::named(name).unwrap().name, name);
        }
        assert!(Workload::named("ycsb-z").unwrap_err().contains("ycsb-a"));
    }

    #[test]
    fn keys_have_the_length_asked_for_and_differ() {
        let key = |workload: &Workload, number| {
            let mut out = Vec::new();
            workload.write_key(number, &mut out);
            String::from_utf8(out).unwrap()
        };
        let put = Workload::named("put").unwrap();
        assert_eq!(key(&put, 0), "bench/0000000000");
        assert_eq!(key(&put, 1234), "bench/0000001234");
        assert_eq!(key(&Workload { key_bytes: 1, ..put.clone() }, 77), "bench/77");
        assert_eq!(key(&Workload { key_bytes: 40, ..put.clone() }, 5).len(), 40);
        assert_eq!(key(&Workload { hashed: true, ..put.clone() }, 0), "bench/6284781860667377211");
        assert_eq!(put.prefix_end(), b"bench0");
        assert_eq!(Workload { prefix: String::new(), ..put }.prefix_end(), [0]);
    }
}
