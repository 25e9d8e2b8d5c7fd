//! Filter: a watch delivers what it was asked for and nothing else, from the revision that it was asked for.

use super::{Broken, Log, Watch};
use crate::verdict::AnomalyKind;

pub(super) fn check(watch: &Watch<'_>, _: &Log<'_>) -> Option<Broken> {
    let first = watch.first();
    let odd = watch
        .events()
        .find(|event| !watch.asked.wants(&event.key, event.kind) || event.mod_revision < first)?;
    let text = format!(
        "a watch delivers what was asked for, but {:?} of {} at {} came on {:?} from revision {first}",
        odd.kind, odd.key, odd.mod_revision, watch.asked
    );
    Some(Broken::new(AnomalyKind::WatchNotAskedFor, watch, None, text))
}
