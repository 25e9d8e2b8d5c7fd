//! Reliable: "a sequence of events will never drop any subsequence of events within the available history
//! window; if there are events ordered in time as a < b < c, then if the watch receives a and c, it is guaranteed
//! to receive b".

use super::{Broken, Log, Watch};
use crate::verdict::AnomalyKind;

pub(super) fn check(watch: &Watch<'_>, log: &Log<'_>) -> Option<Broken> {
    let first = watch.events().next()?.mod_revision;
    let (missing, last) = first_missing(watch, log, first, watch.last())?;
    let text = format!(
        "nothing is left out, but {:?} of {} at {} did not come, though all up to {last} had to",
        missing.kind, missing.key, missing.rev
    );
    Some(Broken::new(AnomalyKind::WatchMissed, watch, Some(missing.told_by), text))
}

/// The first known event of some revisions that the watch asked for and did not get.
pub(super) fn first_missing<'a>(
    watch: &Watch<'_>,
    log: &Log<'a>,
    from: i64,
    to: i64,
) -> Option<(super::Entry<'a>, i64)> {
    let mut events: Vec<(i64, &str)> =
        watch.events().map(|event| (event.mod_revision, event.key.as_str())).collect();
    // Out of order is another guarantee's matter.
    if !events.is_sorted() {
        events.sort_unstable();
    }
    let mut next = events.partition_point(|(rev, _)| *rev < from);
    for entry in log.between(from, to) {
        if !watch.asked.wants(entry.key, entry.kind) {
            continue;
        }
        while events.get(next).is_some_and(|event| *event < (entry.rev, entry.key)) {
            next += 1;
        }
        if events.get(next) != Some(&(entry.rev, entry.key)) {
            return Some((*entry, to));
        }
    }
    None
}
