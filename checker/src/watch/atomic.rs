//! Atomic: "a list of events is guaranteed to encompass complete revisions; updates in the same revision over
//! multiple keys will not be split over several lists of events".

use super::{Broken, Log, Watch};
use crate::verdict::AnomalyKind;

pub(super) fn check(watch: &Watch<'_>, _: &Log<'_>) -> Option<Broken> {
    let mut last = None;
    let mut continued = false;
    for response in &watch.seen.responses {
        if let Some(first) = response.events.first()
            && last == Some(first.mod_revision)
            && !continued
        {
            let text = format!(
                "a revision comes in one response, but {} at {} came in another than what was before it",
                first.key, first.mod_revision
            );
            return Some(Broken::new(AnomalyKind::WatchSplit, watch, None, text));
        }
        last = response.events.last().map(|event| event.mod_revision).or(last);
        continued = response.fragment;
    }
    None
}
