//! Resumable: "a broken watch can be resumed by establishing a new watch starting after the last revision received
//! in a watch event before the break, so long as the revision is in the history window": a watch from a
//! revision begins there, and is only refused where that was compacted.

use super::{Broken, Log, Stopped, Watch, reliable::first_missing};
use crate::verdict::AnomalyKind;

pub(super) fn check(watch: &Watch<'_>, log: &Log<'_>) -> Option<Broken> {
    let first = watch.first();
    let seen = watch.events().next().map(|event| event.mod_revision);
    let until = seen.map_or(watch.last(), |seen| seen - 1);
    if let Some((missing, _)) = first_missing(watch, log, first, until) {
        let began = seen.map_or("nothing".to_owned(), |seen| format!("revision {seen}"));
        let text = format!(
            "a watch from revision {first} begins there, but {:?} of {} at {} did not come; the first was {began}",
            missing.kind, missing.key, missing.rev
        );
        return Some(Broken::new(AnomalyKind::WatchGap, watch, Some(missing.told_by), text));
    }
    let Stopped::Compacted(compacted) = watch.seen.stopped else { return None };
    let next = watch.events().last().map_or(first, |event| event.mod_revision + 1);
    let refused = if next >= compacted {
        format!("revision {next} is not below {compacted}")
    } else if !log.may_be_compacted(compacted) {
        format!("nobody asked for a compaction at {compacted}")
    } else {
        return None;
    };
    let text = format!("a watch ends as compacted only where that is so, but {refused}");
    Some(Broken::new(AnomalyKind::WatchGap, watch, None, text))
}
