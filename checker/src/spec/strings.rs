//! Strings by key, with get, put and append, as in the labs of MIT 6.824 and Porcupine's key-value logs. A key
//! that nobody wrote holds the empty string.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::SequentialSpec;

/// A string of its own for each key.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    /// What is put and appended, if no one of these begins another: then strings tell what they are made of.
    pieces: BTreeSet<String>,
}

impl Strings {
    /// The strings that these operations write.
    pub fn of<'a>(ops: impl IntoIterator<Item = &'a StringOp>) -> Strings {
        let written = ops.into_iter().filter_map(|op| match &op.action {
            StringAction::Get(_) => None,
            StringAction::Put(piece) | StringAction::Append(piece) => Some(piece.clone()),
        });
        let mut pieces: BTreeSet<String> = written.filter(|piece| !piece.is_empty()).collect();
        let ambiguous = pieces.iter().zip(pieces.iter().skip(1)).any(|(a, b)| b.starts_with(a.as_str()));
        if ambiguous {
            pieces.clear();
        }
        Strings { pieces }
    }

    /// The pieces that a string is made of, where they tell.
    fn taken_apart<'a>(&self, mut found: &'a str) -> Option<Vec<&'a str>> {
        let mut all = Vec::new();
        while !found.is_empty() {
            // What begins the rest comes right before it in order, since no piece begins another.
            let piece =
                self.pieces.range::<str, _>((Bound::Unbounded, Bound::Included(found))).next_back()?;
            let rest = found.strip_prefix(piece.as_str())?;
            all.push(&found[..piece.len()]);
            found = rest;
        }
        Some(all)
    }
}

/// One operation on one string.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StringOp {
    /// Which string.
    pub key: Arc<str>,
    /// What is done with it.
    pub action: StringAction,
}

/// What is done with a string.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StringAction {
    /// Reads it; what was found.
    Get(String),
    /// Replaces it.
    Put(String),
    /// Adds to its end.
    Append(String),
}

impl SequentialSpec for Strings {
    type State = String;
    type Op = StringOp;

    fn init(&self) -> String {
        String::new()
    }

    fn step(&self, state: &String, op: &StringOp) -> Option<String> {
        match &op.action {
            StringAction::Get(found) => (state == found).then(|| state.clone()),
            StringAction::Put(value) => Some(value.clone()),
            StringAction::Append(more) => {
                let mut next = String::with_capacity(state.len() + more.len());
                next.push_str(state);
                next.push_str(more);
                Some(next)
            }
        }
    }

    fn read_only(&self, op: &StringOp) -> bool {
        matches!(op.action, StringAction::Get(_))
    }

    fn touches<'a>(&self, op: &'a StringOp, parts: &mut Vec<&'a str>) -> bool {
        parts.push(&op.key);
        true
    }

    fn observes(&self, op: &StringOp, write: &StringOp) -> bool {
        self.without(op, write).is_none_or(|without| without != *op)
    }

    fn without(&self, op: &StringOp, write: &StringOp) -> Option<StringOp> {
        let StringAction::Get(found) = &op.action else { return Some(op.clone()) };
        let (piece, appends) = match &write.action {
            StringAction::Get(_) => return Some(op.clone()),
            StringAction::Put(piece) => (piece, false),
            StringAction::Append(piece) => (piece, true),
        };
        if piece.is_empty() {
            return appends.then(|| op.clone());
        }
        let pieces = self.taken_apart(found)?;
        match pieces.iter().filter(|other| *other == piece).count() {
            0 => Some(op.clone()),
            1 if appends => {
                let rest = pieces.into_iter().filter(|other| other != piece).collect();
                Some(StringOp { key: op.key.clone(), action: StringAction::Get(rest) })
            }
            _ => None,
        }
    }

    fn describe(&self, state: &String) -> String {
        format!("{state:?}")
    }
}
