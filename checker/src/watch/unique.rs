//! Unique: "an event will never appear on a watch twice".

use rustc_hash::FxHashSet;

use super::{Broken, Log, Watch};
use crate::verdict::AnomalyKind;

pub(super) fn check(watch: &Watch<'_>, _: &Log<'_>) -> Option<Broken> {
    let mut seen: FxHashSet<&str> = FxHashSet::default();
    let mut rev = 0;
    let mut older: FxHashSet<(i64, &str)> = FxHashSet::default();
    let mut newest = 0;
    for event in watch.events() {
        // Within a revision, keys differ; what goes back is compared with everything before.
        if event.mod_revision != rev {
            older.extend(seen.drain().map(|key| (rev, key)));
            rev = event.mod_revision;
        }
        newest = newest.max(rev);
        let again = !seen.insert(&event.key) || (rev < newest && older.contains(&(rev, event.key.as_str())));
        if again {
            let text = format!("an event comes once, but {} at {rev} came twice", event.key);
            return Some(Broken::new(AnomalyKind::WatchDuplicate, watch, None, text));
        }
    }
    None
}
