//! Less of a plan: what it takes to fail is easier to look at than all that happened.

use crate::sim::{Plan, run};
use std::{fmt, str::FromStr};

/// An option of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Seconds,
    Clients,
    Rate,
    Loss,
    Twice,
    Late,
}

impl Key {
    const ALL: [Key; 6] = [Key::Seconds, Key::Clients, Key::Rate, Key::Loss, Key::Twice, Key::Late];

    fn name(self) -> &'static str {
        match self {
            Key::Seconds => "seconds",
            Key::Clients => "clients",
            Key::Rate => "rate",
            Key::Loss => "loss",
            Key::Twice => "twice",
            Key::Late => "late",
        }
    }

    /// The smallest value that makes sense.
    fn least(self) -> u32 {
        match self {
            Key::Seconds | Key::Clients | Key::Rate => 1,
            Key::Loss | Key::Twice | Key::Late => 0,
        }
    }

    fn most(self) -> u32 {
        match self {
            Key::Seconds | Key::Clients | Key::Rate => 1_000,
            Key::Loss | Key::Twice | Key::Late => 100,
        }
    }

    fn of(self, plan: &Plan) -> u32 {
        let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        match self {
            Key::Seconds => short(plan.safety_s()),
            Key::Clients => short(plan.clients),
            Key::Rate => short(plan.rate),
            Key::Loss => plan.loss_percent,
            Key::Twice => plan.twice_percent,
            Key::Late => plan.late_percent,
        }
    }
}

/// Another value for an option of a plan: `loss=0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    key: Key,
    value: u32,
}

impl Change {
    fn apply(self, plan: &mut Plan) {
        match self.key {
            Key::Seconds => plan.end_after(self.value.into()),
            Key::Clients => plan.clients = self.value.into(),
            Key::Rate => plan.rate = self.value.into(),
            Key::Loss => plan.loss_percent = self.value,
            Key::Twice => plan.twice_percent = self.value,
            Key::Late => plan.late_percent = self.value,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key.name(), self.value)
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Change, String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}`: write NAME=NUMBER"))?;
        let key = Key::ALL.into_iter().find(|key| key.name() == name).ok_or_else(|| {
            format!("a plan has no option `{name}`; there are {}", Key::ALL.map(Key::name).join(", "))
        })?;
        let value: u32 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
        if !(key.least()..=key.most()).contains(&value) {
            return Err(format!("{name} is from {} to {}", key.least(), key.most()));
        }
        Ok(Change { key, value })
    }
}

/// What is left out of a plan, and what is changed in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Less {
    /// Faults, by number from 1.
    pub(super) without: Vec<usize>,
    pub(super) changes: Vec<Change>,
}

impl Less {
    /// What is left.
    pub(super) fn of(&self, full: &Plan) -> Plan {
        let mut less = full.clone();
        let kept = (1..).zip(&full.faults).filter(|(number, _)| !self.without.contains(number));
        less.faults = kept.map(|(_, fault)| fault.clone()).collect();
        self.changes.iter().for_each(|change| change.apply(&mut less));
        less
    }

    fn with(&self, change: Change) -> Less {
        let mut less = self.clone();
        less.changes.retain(|other| other.key != change.key);
        less.changes.push(change);
        less
    }
}

/// Leaves out faults one by one, and lowers what the plan does otherwise, while the same finder still finds something.
pub(super) fn shrink(full: &Plan, less: Less, finder: &str) -> Less {
    let fails =
        |less: &Less| run(&less.of(full), false).failure.is_some_and(|failure| failure.finder() == finder);
    let mut best = less;
    let shorten = |best: &mut Less| {
        for key in Key::ALL {
            // All of it first, then half and half again.
            let mut value = key.least();
            while value < key.of(&best.of(full)) {
                let tried = best.with(Change { key, value });
                if fails(&tried) {
                    *best = tried;
                    break;
                }
                value += (key.of(&best.of(full)) - value).div_ceil(2);
            }
        }
    };
    shorten(&mut best);
    for number in 1..=full.faults.len() {
        if best.without.contains(&number) {
            continue;
        }
        let mut tried = best.clone();
        tried.without.push(number);
        tried.without.sort_unstable();
        if fails(&tried) {
            best = tried;
        }
    }
    shorten(&mut best);
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_they_are_written_and_bad_ones_named() {
        for text in ["seconds=4", "late=0", "clients=2", "rate=7", "loss=100", "twice=3"] {
            assert_eq!(text.parse::<Change>().expect(text).to_string(), text);
        }
        for (text, why) in [
            ("loss", "NAME=NUMBER"),
            ("speed=1", "there are seconds"),
            ("loss=x", "no number"),
            ("clients=0", "from 1"),
        ] {
            let error = text.parse::<Change>().expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn less_of_a_plan_is_that_plan_with_less() {
        let full = Plan::of(7);
        let less =
            Less { without: vec![1], changes: vec!["seconds=2".parse().unwrap(), "loss=0".parse().unwrap()] };
        let plan = less.of(&full);
        assert_eq!((plan.safety_s(), plan.loss_percent), (2, 0));
        assert!(plan.faults.len() < full.faults.len());
        assert_eq!(Less::default().of(&full), full);
    }

    #[cfg(feature = "plant")]
    #[test]
    fn what_is_left_fails_as_the_whole_did() {
        let mut full = Plan::of(1);
        full.core.mutation = Some(raft::Mutation::AckBeforeDurable);
        let (failed, plan) = (1..50)
            .find_map(|seed| {
                let plan = Plan { core: full.core.clone(), ..Plan::of(seed) };
                Some((run(&plan, false).failure?, plan))
            })
            .expect("it is found");
        let less = shrink(&plan, Less::default(), failed.finder());
        assert!(less.of(&plan).safety_s() <= plan.safety_s() && less != Less::default(), "{less:?}");
        assert_eq!(
            run(&less.of(&plan), false).failure.map(|failure| failure.finder().to_string()),
            Some(failed.finder().to_string())
        );
    }
}
