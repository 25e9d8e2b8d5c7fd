//! `prev_kv`: the key's state right before the event, if it was asked for and is not compacted.

use super::{Broken, EventKind, Log, Watch};
use crate::verdict::AnomalyKind;

pub(super) fn check(watch: &Watch<'_>, log: &Log<'_>) -> Option<Broken> {
    watch.events().find_map(|event| {
        let wrong = |why: String, other| {
            let text = format!(
                "the state of {} before revision {} is given as {:?}, but {why}",
                event.key, event.mod_revision, event.prev
            );
            Some(Broken::new(AnomalyKind::WatchWrongPrevKv, watch, other, text))
        };
        let at = log.find(event.mod_revision, &event.key)?;
        let before = log.before(at);
        let Some(prev) = &event.prev else {
            // Compaction may have taken it; a state after the last compaction asked for is there.
            let there = before.filter(|before| before.kind == EventKind::Put)?;
            let kept = !log.may_be_compacted(event.mod_revision - 1)
                && !log.may_be_deleted_between(&event.key, there.rev, event.mod_revision);
            return (watch.asked.prev_kv && kept).then(|| {
                wrong(format!("it was {:?} since {}", there.value, there.rev), Some(there.told_by))
            })?;
        };
        if !watch.asked.prev_kv {
            return wrong("it was not asked for".to_owned(), None);
        }
        if prev.mod_revision >= event.mod_revision {
            return wrong("that is no state before it".to_owned(), None);
        }
        match before {
            Some(before) if before.rev > prev.mod_revision => {
                wrong(format!("there was {:?} at {}", before.kind, before.rev), Some(before.told_by))
            }
            Some(before)
                if before.rev == prev.mod_revision
                    && (before.kind, before.value) != (EventKind::Put, Some(prev.value)) =>
            {
                wrong(
                    format!("it was {:?} {:?} at {}", before.kind, before.value, before.rev),
                    Some(before.told_by),
                )
            }
            Some(_) | None if event.kind == EventKind::Put && event.version != prev.version + 1 => {
                wrong(format!("the event is version {}", event.version), None)
            }
            Some(_) | None => None,
        }
    })
}
