//! What a watcher asks for and sees, as a history holds it.

use serde::{Deserialize, Serialize};

use crate::history::OpId;

/// One write of an operation: of several, all at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Puts a value to a key.
    Put {
        /// The key.
        key: String,
        /// The value; unique in the history.
        value: i64,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: String,
    },
}

impl Act {
    /// The key.
    pub fn key(&self) -> &str {
        match self {
            Act::Put { key, .. } | Act::Delete { key } => key,
        }
    }
}

/// What a watch asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The first key.
    pub key: String,
    /// The first key beyond the range; empty for one key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub end: String,
    /// The revision to begin at; 0 for whatever comes next.
    #[serde(default)]
    pub from: i64,
    /// Leaves puts out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_put: bool,
    /// Leaves deletions out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_delete: bool,
    /// Asks for each key's state before the event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prev_kv: bool,
    /// Asks for large responses in parts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fragment: bool,
}

impl Asked {
    /// Whether an event on a key is asked for.
    pub fn wants(&self, key: &str, kind: EventKind) -> bool {
        self.covers(key)
            && match kind {
                EventKind::Put => !self.no_put,
                EventKind::Delete => !self.no_delete,
            }
    }

    /// Whether the range holds a key.
    pub fn covers(&self, key: &str) -> bool {
        if self.end.is_empty() { key == self.key } else { *key >= *self.key && *key < *self.end }
    }
}

/// What an event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The key has a value.
    Put,
    /// The key is gone.
    Delete,
}

/// A key's state at some revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Its value.
    pub value: i64,
    /// The revision of its creation.
    #[serde(rename = "create")]
    pub create_revision: i64,
    /// The revision of its last write.
    #[serde(rename = "mod")]
    pub mod_revision: i64,
    /// How often it was written since its creation.
    pub version: i64,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What it does.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The key.
    pub key: String,
    /// The value; none for a deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<i64>,
    /// The revision of the key's creation; 0 for a deletion.
    #[serde(rename = "create", default)]
    pub create_revision: i64,
    /// The revision of the event.
    #[serde(rename = "mod")]
    pub mod_revision: i64,
    /// How often the key was written since its creation; 0 for a deletion.
    #[serde(default)]
    pub version: i64,
    /// The key's state before the event, where the answer has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<Past>,
}

/// One response: its events, or none where it only tells how far the watch is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The revision in its header.
    pub rev: i64,
    /// Its events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// Whether the next response continues it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fragment: bool,
}

/// Why a watch came to an end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// The watcher had seen enough.
    #[default]
    Enough,
    /// The stream broke, or the server ended it with a text.
    Broke(String),
    /// The server told that what is needed was compacted, at this revision.
    Compacted(i64),
}

/// What a watcher saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The revision at which the watch was created.
    pub created: i64,
    /// The responses after that, in order.
    pub responses: Vec<Response>,
    /// Why there are no more.
    #[serde(default)]
    pub stopped: Stopped,
}

/// A watch of a history.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// Its operation.
    pub id: OpId,
    /// What it asked for.
    pub asked: &'a Asked,
    /// What it saw.
    pub seen: &'a Seen,
}

impl<'a> Watch<'a> {
    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = &'a Event> + use<'a> {
        self.seen.responses.iter().flat_map(|response| &response.events)
    }

    /// The first revision that it must deliver.
    pub fn first(&self) -> i64 {
        if self.asked.from > 0 { self.asked.from } else { self.seen.created + 1 }
    }

    /// The last revision of which it must have delivered everything: that of its last event, or of a response
    /// without events, which says that nothing is missing so far.
    pub fn last(&self) -> i64 {
        let told = |response: &Response| match response.events.last() {
            Some(event) => event.mod_revision,
            None => response.rev,
        };
        self.seen.responses.iter().map(told).max().unwrap_or(0)
    }
}
