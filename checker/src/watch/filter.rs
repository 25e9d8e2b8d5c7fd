//! Filter: a watch delivers what it was asked for and nothing else, from the revision that it was asked for.
//!
//! One that was asked for no revision begins with whatever its member does next. The revision that its creation is
//! answered with was looked up after it had begun, in etcd since 3.5.8, so what comes first may be older than that.

use super::{Broken, Log, Watch};
use crate::verdict::AnomalyKind;

pub(super) fn check(watch: &Watch<'_>, _: &Log<'_>) -> Option<Broken> {
    let from = watch.asked.from;
    let odd = watch
        .events()
        .find(|event| !watch.asked.wants(&event.key, event.kind) || event.mod_revision < from)?;
    let text = format!(
        "a watch delivers what was asked for, but {:?} of {} at {} came on {:?}",
        odd.kind, odd.key, odd.mod_revision, watch.asked
    );
    Some(Broken::new(AnomalyKind::WatchNotAskedFor, watch, None, text))
}
