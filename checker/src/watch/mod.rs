//! Watches: what each of etcd's guarantees says of what clients saw. One file a guarantee.
//!
//! Nothing is taken from the server: the [`Log`] of events is put together from what writers were told and what all
//! watchers saw. Revisions are the store's, so an event has one place in it whoever saw it.
//!
//! Source: <https://etcd.io/docs/v3.5/learning/api_guarantees/#watch-apis>, and etcd's `api_guarantees` for
//! `prev_kv` and creations.
mod atomic;
mod bookmarkable;
mod content;
mod filter;
mod is_create;
mod log;
mod observed;
mod ordered;
mod prev_kv;
mod reliable;
mod resumable;
mod unique;

pub use log::{Entry, Log, Write};
pub use observed::{Act, Asked, Event, EventKind, Past, Response, Seen, Stopped, Watch};

use crate::history::OpId;
use crate::verdict::AnomalyKind;

/// A guarantee that a watch did not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub kind: AnomalyKind,
    /// What was promised and what was seen.
    pub text: String,
    /// The watch, and the operations that show it wrong.
    pub ops: Vec<OpId>,
}

impl Broken {
    pub(crate) fn new(kind: AnomalyKind, watch: &Watch<'_>, other: Option<OpId>, text: String) -> Broken {
        Broken { kind, text, ops: std::iter::once(watch.id).chain(other).collect() }
    }
}

/// Every guarantee that a watch did not keep; of each only the first violation, since the rest follow from it.
pub fn judge(watch: &Watch<'_>, log: &Log<'_>) -> Vec<Broken> {
    let guarantees: [fn(&Watch<'_>, &Log<'_>) -> Option<Broken>; 10] = [
        filter::check,
        ordered::check,
        unique::check,
        atomic::check,
        bookmarkable::check,
        content::check,
        resumable::check,
        reliable::check,
        is_create::check,
        prev_kv::check,
    ];
    guarantees.iter().filter_map(|check| check(watch, log)).collect()
}
