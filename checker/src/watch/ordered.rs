//! Ordered: "events are ordered by revision; an event will never appear on a watch if it precedes an event in
//! time that has already been posted".

use super::{Broken, Log, Watch};
use crate::verdict::AnomalyKind;

pub(super) fn check(watch: &Watch<'_>, _: &Log<'_>) -> Option<Broken> {
    let mut newest = 0;
    for event in watch.events() {
        if event.mod_revision < newest {
            let text = format!(
                "events come in the order of revisions, but {} at {} came after revision {newest}",
                event.key, event.mod_revision
            );
            return Some(Broken::new(AnomalyKind::WatchNotOrdered, watch, None, text));
        }
        newest = event.mod_revision;
    }
    None
}
