//! An event is what was written, and the same on every member.

use super::{Broken, EventKind, Log, Watch};
use crate::verdict::AnomalyKind;

pub(super) fn check(watch: &Watch<'_>, log: &Log<'_>) -> Option<Broken> {
    watch.events().find_map(|event| {
        let here = format!("{} = {:?} at {}", event.key, event.value, event.mod_revision);
        let entry = log.find(event.mod_revision, &event.key).map(|at| log.entries()[at]);
        if let Some(entry) = entry.filter(|entry| (entry.kind, entry.value) != (event.kind, event.value)) {
            let text = format!(
                "an event is what was written, and the same for all, but {:?} {here} was {:?} {:?} for {}",
                event.kind, entry.kind, entry.value, entry.told_by
            );
            return Some(Broken::new(AnomalyKind::WatchWrongEvent, watch, Some(entry.told_by), text));
        }
        if event.kind == EventKind::Delete {
            return None;
        }
        match log.writer(&event.key, event.value?) {
            Some((_, false)) => None,
            Some((writer, true)) => {
                let text = format!("what failed for certain has no effect, but {here} of {writer} came");
                Some(Broken::new(AnomalyKind::FailedOpObserved, watch, Some(writer), text))
            }
            None => {
                let text = format!("an event is what was written, but nobody wrote {here}");
                Some(Broken::new(AnomalyKind::WatchWrongEvent, watch, None, text))
            }
        }
    })
}
