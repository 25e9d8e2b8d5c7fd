//! Sets of keys, as intervals of their order.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::spec::kv_types::KeyRange;

/// A set of keys: disjoint intervals, each from its key to an exclusive end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Intervals(BTreeMap<String, End>);

/// Where an interval ends. The derived order is right: whatever has no end is last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Before(String),
    Never,
}

/// A range as an interval; `None` for an empty one.
fn interval(keys: &KeyRange) -> Option<(String, End)> {
    let start = keys.key.clone();
    let end = match keys.end.as_deref() {
        // Nothing lies between a key and itself with a zero after it.
        None | Some("") => End::Before(format!("{start}\0")),
        Some("\0") => End::Never,
        Some(end) => End::Before(end.to_owned()),
    };
    (End::Before(start.clone()) < end).then_some((start, end))
}

impl Intervals {
    /// Adds all keys of a range.
    pub(super) fn add(&mut self, keys: &KeyRange) {
        let Some((mut start, mut end)) = interval(keys) else { return };
        for (other, other_end) in self.touching(&start, &end) {
            self.0.remove(&other);
            start = start.min(other);
            end = end.max(other_end);
        }
        self.0.insert(start, end);
    }

    /// Adds all keys of another set.
    pub(super) fn add_all(&mut self, other: &Intervals) {
        for (start, end) in &other.0 {
            let end = match end {
                End::Before(end) => end.clone(),
                End::Never => "\0".to_owned(),
            };
            self.add(&KeyRange { key: start.clone(), end: Some(end) });
        }
    }

    /// Takes out all keys of a range.
    pub(super) fn remove(&mut self, keys: &KeyRange) {
        let Some((start, end)) = interval(keys) else { return };
        for (other, other_end) in self.touching(&start, &end) {
            self.0.remove(&other);
            if other < start {
                self.0.insert(other, End::Before(start.clone()));
            }
            if let End::Before(end) = &end
                && other_end > End::Before(end.clone())
            {
                self.0.insert(end.clone(), other_end);
            }
        }
    }

    /// Whether a range has a key in common with this set.
    pub(super) fn meets(&self, keys: &KeyRange) -> bool {
        interval(keys).is_some_and(|(start, end)| {
            self.touching(&start, &end).iter().any(|(other, other_end)| {
                End::Before(other.clone()) < end && *other_end > End::Before(start.clone())
            })
        })
    }

    /// The intervals that have a key in common with another, or lie beside it without a gap.
    fn touching(&self, start: &str, end: &End) -> Vec<(String, End)> {
        let before = self.0.range::<str, _>((Bound::Unbounded, Bound::Included(start))).next_back();
        let after = self.0.range::<str, _>((Bound::Excluded(start), Bound::Unbounded));
        let inside = after.take_while(|(other, _)| End::Before((*other).clone()) <= *end);
        let reaches = |(_, other_end): &(&String, &End)| **other_end >= End::Before(start.to_owned());
        before
            .into_iter()
            .filter(reaches)
            .chain(inside)
            .map(|(key, end)| (key.clone(), end.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

    fn range(key: &str, end: Option<&str>) -> KeyRange {
        KeyRange { key: key.into(), end: end.map(String::from) }
    }

    /// All ranges over a few names, empty and inverted ones among them.
    fn ranges() -> Vec<KeyRange> {
        let ends = NAMES.iter().map(|name| Some(*name)).chain([None, Some("\0")]);
        ends.flat_map(|end| NAMES.map(|name| range(name, end))).collect()
    }

    #[test]
    fn a_set_holds_what_was_added_and_not_taken_out() {
        // Every three acts on few keys, against a list of the keys one by one.
        let has = |keys: &KeyRange, name: &str| crate::spec::kv::covers(keys, name);
        let ranges = ranges();
        for first in &ranges {
            for second in &ranges {
                for third in ranges.iter().step_by(5) {
                    let mut set = Intervals::default();
                    set.add(first);
                    set.add(second);
                    set.remove(third);
                    for name in NAMES {
                        let held = (has(first, name) || has(second, name)) && !has(third, name);
                        assert_eq!(
                            set.meets(&range(name, None)),
                            held,
                            "{first:?} {second:?} {third:?} {name}"
                        );
                    }
                    let mut again = Intervals::default();
                    again.add_all(&set);
                    assert_eq!(again, set);
                }
            }
        }
    }

    #[test]
    fn ranges_that_only_touch_do_not_meet() {
        let mut set = Intervals::default();
        set.add(&range("b", Some("d")));
        for (keys, meets) in [
            (range("a", Some("b")), false),
            (range("d", None), false),
            (range("d", Some("\0")), false),
            (range("c", None), true),
            (range("a", Some("\0")), true),
            (range("c", Some("b")), false),
        ] {
            assert_eq!(set.meets(&keys), meets, "{keys:?}");
        }
        set.remove(&range("a", Some("\0")));
        assert_eq!(set, Intervals::default());
    }
}
