//! `assay merge`: what the shards of a simulation found together.

use super::{Failure, UNKNOWN, print};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Exit status for a broken promise.
const ANOMALY: u8 = 1;

/// Arguments of `assay merge`.
#[derive(Debug, clap::Args)]
pub(super) struct MergeArgs {
    /// What `assay sim --shard I/N --out FILE` wrote, of all shards.
    #[arg(required = true, value_name = "FILES")]
    files: Vec<PathBuf>,
}

/// What a simulation of many seeds came to, as its file tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Shard {
    /// Of this program.
    pub(super) version: String,
    /// The first seed of all shards, and how many there are.
    pub(super) first: u64,
    pub(super) count: u64,
    /// This shard, from 1, and of how many.
    pub(super) shard: (u64, u64),
    /// Seeds that were simulated.
    pub(super) seeds: u64,
    pub(super) virtual_us: u64,
    pub(super) events: u64,
    /// Operations that succeeded.
    pub(super) ok: u64,
    pub(super) cpu_s: f64,
    /// Seeds that failed, with what was found.
    pub(super) failed: BTreeMap<u64, String>,
}

impl Shard {
    /// Seeds that belong to it.
    fn size(&self) -> u64 {
        let (this, of) = self.shard;
        (self.count + of - this) / of.max(1)
    }

    fn read(file: &Path) -> Result<Shard, Failure> {
        let text = fs::read_to_string(file).map_err(|error| {
            Failure::Usage(format!("{}: {error}; name files of `assay sim --out`", file.display()))
        })?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::Usage(format!(
                "{}: {error}; it is no file of this version's `assay sim --out`",
                file.display()
            ))
        })
    }
}

/// All shards as one, and what is missing of it.
fn merged(shards: &[Shard]) -> Result<(Shard, Vec<String>), String> {
    let Some(first) = shards.first() else { return Err("there is nothing to merge".into()) };
    let mut sum = Shard { shard: (1, 1), failed: BTreeMap::new(), ..Shard::default() };
    (sum.version, sum.first, sum.count) = (first.version.clone(), first.first, first.count);
    let mut there = BTreeSet::new();
    let mut missing = Vec::new();
    for shard in shards {
        let same = |shard: &Shard| (shard.version.clone(), shard.first, shard.count, shard.shard.1);
        if same(shard) != same(first) {
            return Err(format!("{:?} and {:?} are not of one simulation", same(shard), same(first)));
        }
        let (this, of) = shard.shard;
        if !there.insert(this) {
            return Err(format!("shard {this}/{of} is there twice"));
        }
        if shard.seeds < shard.size() {
            missing.push(format!("shard {this}/{of} ended after {} of {} seeds", shard.seeds, shard.size()));
        }
        sum.seeds += shard.seeds;
        sum.virtual_us += shard.virtual_us;
        sum.events += shard.events;
        sum.ok += shard.ok;
        sum.cpu_s += shard.cpu_s;
        sum.failed.extend(shard.failed.clone());
    }
    let of = first.shard.1;
    missing.extend(
        (1..=of).filter(|this| !there.contains(this)).map(|this| format!("shard {this}/{of} is missing")),
    );
    Ok((sum, missing))
}

pub(super) fn merge(args: &MergeArgs) -> Result<u8, Failure> {
    let shards = args.files.iter().map(|file| Shard::read(file)).collect::<Result<Vec<_>, _>>()?;
    let (sum, missing) = merged(&shards).map_err(Failure::Usage)?;
    let mut text = String::new();
    for (seed, found) in &sum.failed {
        let _ = writeln!(
            text,
            "seed {seed}: {}\n  assay sim --seed {seed}",
            found.lines().next().unwrap_or_default()
        );
    }
    for why in &missing {
        let _ = writeln!(text, "{why}");
    }
    let hours = sum.virtual_us as f64 / 3.6e9;
    let _ = writeln!(
        text,
        "{} seeds in {} shards and {:.1} CPU-seconds: {} failed; {hours:.1} simulated hours, {:.0} a CPU-hour; {} \
         operations succeeded, {} events",
        sum.seeds,
        shards.len(),
        sum.cpu_s,
        sum.failed.len(),
        hours / (sum.cpu_s / 3600.0),
        sum.ok,
        sum.events
    );
    print(&text)?;
    Ok(match (sum.failed.is_empty(), missing.is_empty()) {
        (false, _) => ANOMALY,
        (true, false) => UNKNOWN,
        (true, true) => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(this: u64, of: u64, seeds: u64) -> Shard {
        Shard { version: "1".into(), first: 1, count: 10, shard: (this, of), seeds, ..Shard::default() }
    }

    #[test]
    fn shards_add_up_and_what_is_missing_is_said() {
        let mut failed = shard(2, 3, 3);
        failed.failed.insert(5, "no leader".into());
        let (sum, missing) = merged(&[shard(1, 3, 4), failed.clone(), shard(3, 3, 3)]).unwrap();
        assert_eq!((sum.seeds, missing), (10, vec![]));
        assert_eq!(sum.failed.keys().collect::<Vec<_>>(), [&5]);
        let (_, missing) = merged(&[shard(1, 3, 2), failed]).unwrap();
        assert_eq!(missing, ["shard 1/3 ended after 2 of 4 seeds", "shard 3/3 is missing"]);
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let twice = merged(&[shard(1, 2, 5), shard(1, 2, 5)]).unwrap_err();
        assert!(twice.contains("twice"), "{twice}");
        let other = merged(&[shard(1, 2, 5), shard(2, 3, 3)]).unwrap_err();
        assert!(other.contains("not of one simulation"), "{other}");
    }
}
