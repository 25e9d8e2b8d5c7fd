//! `--settings`: the system's own knobs.

use super::duration;
use crate::cluster::Tuning;
use rand::{SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use std::{fmt, str::FromStr, time::Duration};

/// The settings' own stream of the run's generator.
const STREAM: u64 = 0x0073_6574_7469_6e67;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Settings {
    /// The defaults.
    #[default]
    Default,
    /// Drawn from the seed.
    Swarm,
    /// The defaults but for these; kept as they were written, too.
    Named(String, Tuning),
}

impl FromStr for Settings {
    type Err = String;

    fn from_str(text: &str) -> Result<Settings, String> {
        match text {
            "default" => return Ok(Settings::Default),
            "swarm" => return Ok(Settings::Swarm),
            _ => {}
        }
        let mut tuning = Tuning::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("`{part}`: write default, swarm, or NAME=VALUE,..."));
            };
            let number = || match value.parse::<u64>() {
                Ok(number) if number > 0 => Ok(number),
                Ok(_) | Err(_) => Err(format!("{name}: `{value}` is not a number from 1 on")),
            };
            let time = || match duration::parse(value) {
                Ok(time) if !time.is_zero() => Ok(time),
                Ok(_) => Err(format!("{name} must be longer than 0")),
                Err(error) => Err(format!("{name}: {error}")),
            };
            match name {
                "snapshot-count" => tuning.snapshot_count = Some(number()?),
                "batch-limit" => tuning.batch_limit = Some(number()?),
                "batch-interval" => tuning.batch_interval = Some(time()?),
                "heartbeat" => tuning.heartbeat = time()?,
                "election" => tuning.election = time()?,
                _ => {
                    return Err(format!(
                        "`{name}`: known are snapshot-count, heartbeat, election, batch-interval, batch-limit"
                    ));
                }
            }
        }
        // etcd refuses less.
        if tuning.election < 5 * tuning.heartbeat {
            return Err("election must be at least five times heartbeat".into());
        }
        Ok(Settings::Named(text.to_owned(), tuning))
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Settings::Default => "default",
            Settings::Swarm => "swarm",
            Settings::Named(text, _) => text,
        })
    }
}

impl Settings {
    /// What every node gets. What was drawn is noted.
    pub(super) fn tuning(&self, seed: u64, notes: &mut Vec<String>) -> Tuning {
        match self {
            Settings::Default => Tuning::default(),
            Settings::Named(_, tuning) => *tuning,
            Settings::Swarm => {
                let tuning = draw(seed);
                notes.push(format!(
                    "settings drawn from the seed: snapshot-count={}, heartbeat={}, election={}, and for etcd \
                     batch-interval={}, batch-limit={}",
                    tuning.snapshot_count.unwrap_or_default(),
                    duration::format(tuning.heartbeat),
                    duration::format(tuning.election),
                    duration::format(tuning.batch_interval.unwrap_or_default()),
                    tuning.batch_limit.unwrap_or_default(),
                ));
                tuning
            }
        }
    }
}

/// Ranges are those of etcd's own robustness tests, and wider: few entries between snapshots make followers
/// need them, small and large batches move what a crash may lose.
fn draw(seed: u64) -> Tuning {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let mut one_of = |of: &[u64]| *of.choose(&mut rng).expect("there are some");
    let snapshot_count = Some(one_of(&[50, 100, 1000, 10_000]));
    let batch_limit = Some(one_of(&[10, 100, 1000, 10_000]));
    let batch_interval = Some(Duration::from_millis(one_of(&[1, 10, 100, 1000])));
    // Pairs, for the one is of use only with the other.
    let (heartbeat, election) =
        [(30, 300), (50, 500), (100, 1000), (100, 2000)][one_of(&[0, 1, 2, 3]) as usize];
    Tuning {
        heartbeat: Duration::from_millis(heartbeat),
        election: Duration::from_millis(election),
        snapshot_count,
        batch_interval,
        batch_limit,
        trace: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_written_back() {
        for text in
            ["default", "swarm", "snapshot-count=100,batch-interval=1ms", "heartbeat=50ms,election=500ms"]
        {
            assert_eq!(text.parse::<Settings>().unwrap().to_string(), text);
        }
        let Settings::Named(_, tuning) = "snapshot-count=100, batch-limit=7".parse().unwrap() else {
            panic!("not named")
        };
        assert_eq!((tuning.snapshot_count, tuning.batch_limit), (Some(100), Some(7)));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, say) in [
            ("snapshot-count", "NAME=VALUE"),
            ("snapshot-count=0", "snapshot-count"),
            ("speed=9", "batch-limit"),
            ("election=400ms", "five times"),
            ("heartbeat=fast", "heartbeat"),
        ] {
            let error = text.parse::<Settings>().unwrap_err();
            assert!(error.contains(say), "{text}: {error}");
        }
    }

    #[test]
    fn a_swarm_follows_from_its_seed_and_varies() {
        assert_eq!(draw(7), draw(7));
        let counts: std::collections::BTreeSet<_> = (0..50).map(|seed| draw(seed).snapshot_count).collect();
        assert_eq!(counts.len(), 4);
    }
}
