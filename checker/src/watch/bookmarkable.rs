//! Bookmarkable: "progress notification events guarantee that all events up to a revision have been already
//! delivered".

use super::{Broken, Log, Watch};
use crate::verdict::AnomalyKind;

pub(super) fn check(watch: &Watch<'_>, _: &Log<'_>) -> Option<Broken> {
    let broken = |text| Some(Broken::new(AnomalyKind::WatchBookmarkBroken, watch, None, text));
    let (mut bookmark, mut newest) = (0, 0);
    for response in &watch.seen.responses {
        if response.events.is_empty() && response.rev < bookmark {
            return broken(format!("progress went back from revision {bookmark} to {}", response.rev));
        }
        if response.events.is_empty() && response.rev < newest {
            return broken(format!(
                "all up to revision {newest} had come, but progress was told to be at {}",
                response.rev
            ));
        }
        if let Some(event) = response.events.iter().find(|event| event.mod_revision <= bookmark) {
            return broken(format!(
                "all up to revision {bookmark} was said to have come, but {} at {} came after that",
                event.key, event.mod_revision
            ));
        }
        match response.events.last() {
            Some(event) => newest = newest.max(event.mod_revision),
            None => bookmark = response.rev,
        }
    }
    None
}
