//! Whether an event creates its key, and how often the key was written since, agree with the events before it.

use super::{Broken, Event, EventKind, Log, Watch};
use crate::verdict::AnomalyKind;

pub(super) fn check(watch: &Watch<'_>, log: &Log<'_>) -> Option<Broken> {
    let puts = watch.events().filter(|event| event.kind == EventKind::Put);
    let mut found = puts.filter_map(|event| Some((event, wrong(event, log)?)));
    let (event, (why, other)) = found.next()?;
    let text = format!(
        "{} at {} was created at {} and is version {}, but {why}",
        event.key, event.mod_revision, event.create_revision, event.version
    );
    Some(Broken::new(AnomalyKind::WatchWrongCreation, watch, other, text))
}

fn wrong(event: &Event, log: &Log<'_>) -> Option<(String, Option<crate::history::OpId>)> {
    let creates = event.create_revision == event.mod_revision;
    if creates != (event.version == 1) || event.create_revision > event.mod_revision || event.version < 1 {
        return Some(("an event creates its key if and only if it is version 1".to_owned(), None));
    }
    // What is not known to have been before says nothing: not every event has a witness.
    let before = log.before(log.find(event.mod_revision, &event.key)?)?;
    match before.kind {
        EventKind::Put if event.create_revision > before.rev => {
            let unseen = log.may_be_deleted_between(&event.key, before.rev, event.create_revision);
            (!unseen).then(|| (format!("it was there since revision {}", before.rev), Some(before.told_by)))
        }
        EventKind::Put if before.version > 0 && event.version <= before.version => {
            let text = format!("it was version {} at {} already", before.version, before.rev);
            Some((text, Some(before.told_by)))
        }
        EventKind::Delete if event.create_revision < before.rev => {
            Some((format!("it was deleted at {}", before.rev), Some(before.told_by)))
        }
        EventKind::Put | EventKind::Delete => None,
    }
}
