//! Strings by key, with get, put and append, as in the labs of MIT 6.824 and Porcupine's key-value logs. A key
//! that nobody wrote holds the empty string.
mod overlooked;
mod pieces;
mod text;

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::SequentialSpec;
use crate::budget::{Budget, Stop};
use crate::history::OpId;
use crate::linearizability::Call;
use crate::linearizability::unique;
use pieces::Told;

pub use text::Text;

/// A string of its own for each key.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    /// What is put and appended, in order, if no one of these begins another: then strings tell what they are
    /// made of. A piece's number is its place.
    pieces: Vec<String>,
    /// Those that are written to one key more than once.
    again: FxHashSet<(Arc<str>, String)>,
}

impl Strings {
    /// The strings that these operations write.
    pub fn of<'a>(ops: impl IntoIterator<Item = &'a StringOp>) -> Strings {
        let (mut pieces, mut once) = (BTreeSet::new(), FxHashSet::default());
        let mut again = FxHashSet::default();
        for op in ops {
            if let StringAction::Put(piece) | StringAction::Append(piece) = &op.action
                && !piece.is_empty()
            {
                pieces.insert(piece.clone());
                if !once.insert((&op.key, piece)) {
                    again.insert((op.key.clone(), piece.clone()));
                }
            }
        }
        let pieces: Vec<String> = pieces.into_iter().collect();
        let ambiguous = pieces.windows(2).any(|pair| pair[1].starts_with(&pair[0]));
        if ambiguous {
            return Strings::default();
        }
        Strings { pieces, again }
    }

    /// The number of a piece.
    fn number(&self, piece: &str) -> Option<i64> {
        self.pieces.binary_search_by(|known| known.as_str().cmp(piece)).ok().map(|at| at as i64)
    }

    /// The pieces that a string is made of, with their numbers, where they tell.
    fn taken_apart<'a>(&self, mut found: &'a str) -> Option<Vec<(&'a str, i64)>> {
        let mut all = Vec::new();
        while !found.is_empty() {
            // What begins the rest comes right before it in order, since no piece begins another.
            let number = self.pieces.partition_point(|piece| piece.as_str() <= found).checked_sub(1)?;
            let rest = found.strip_prefix(&self.pieces[number])?;
            all.push((&found[..found.len() - rest.len()], number as i64));
            found = rest;
        }
        Some(all)
    }
}

impl Strings {
    /// Adds to writes the first get that saw each, and then to gets the writes of all that they saw.
    fn close(&self, calls: &[Call<StringOp>], ids: &mut FxHashSet<OpId>) {
        let mut unseen: FxHashSet<&str> = FxHashSet::default();
        for call in calls.iter().filter(|call| ids.contains(&call.id)) {
            if let StringAction::Append(piece) = &call.op.action {
                unseen.insert(piece);
            }
        }
        let mut seen: FxHashSet<&str> = FxHashSet::default();
        for call in calls.iter().filter(|call| call.returned.is_some()) {
            let StringAction::Get(found) = &call.op.action else { continue };
            let pieces = self.taken_apart(found).unwrap_or_default();
            let shows = pieces.iter().filter(|(piece, _)| unseen.remove(piece)).count();
            if shows > 0 || ids.contains(&call.id) {
                ids.insert(call.id);
                seen.extend(pieces.iter().map(|(piece, _)| *piece));
            }
        }
        for call in calls {
            if let StringAction::Put(piece) | StringAction::Append(piece) = &call.op.action
                && seen.contains(piece.as_str())
            {
                ids.insert(call.id);
            }
        }
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
    type State = Text;
    type Op = StringOp;

    fn init(&self) -> Text {
        Text::default()
    }

    fn step(&self, state: &Text, op: &StringOp) -> Option<Text> {
        match &op.action {
            StringAction::Get(found) => state.is(found).then(|| state.clone()),
            StringAction::Put(value) => Some(Text::from(value.as_str())),
            StringAction::Append(more) => Some(state.with(more)),
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
        // Whose piece it is then, a step does not know.
        if self.again.contains(&(op.key.clone(), piece.clone()))
            && pieces.iter().any(|(other, _)| other == piece)
        {
            return None;
        }
        match pieces.iter().filter(|(other, _)| other == piece).count() {
            0 => Some(op.clone()),
            1 if appends => {
                let rest =
                    pieces.into_iter().map(|(other, _)| other).filter(|other| other != piece).collect();
                Some(StringOp { key: op.key.clone(), action: StringAction::Get(rest) })
            }
            _ => None,
        }
    }

    fn shortcut(&self, calls: &[Call<StringOp>], budget: &Budget) -> Result<Option<unique::Answer>, Stop> {
        if self.pieces.is_empty() {
            return Ok(None);
        }
        let mut ids: FxHashSet<OpId> = match pieces::read(self, calls) {
            Told::Unclear => match overlooked::overlooked(self, calls) {
                Some(ids) => ids.into_iter().collect(),
                None => return Ok(None),
            },
            Told::Contradiction(ids) => ids.into_iter().collect(),
            Told::Registers { alternatives, alone } => {
                let mut conflicts = Vec::with_capacity(alternatives.len());
                for accesses in &alternatives {
                    match unique::decide(accesses, budget)? {
                        None => return Ok(None),
                        Some(unique::Answer::Legal) => return Ok(Some(unique::Answer::Legal)),
                        Some(unique::Answer::Illegal(conflict)) => conflicts.push(conflict.ids),
                    }
                }
                match conflicts.as_slice() {
                    [one] if alone => one.iter().copied().collect(),
                    // Who wrote a piece was told by others, or each alternative fails for reasons of its own.
                    _ => calls.iter().map(|call| call.id).collect(),
                }
            }
        };
        self.close(calls, &mut ids);
        let last = calls.iter().filter(|call| ids.contains(&call.id)).max_by_key(|call| call.returned);
        let Some(culprit) = last.map(|call| call.id) else { return Ok(None) };
        let mut ids: Vec<OpId> = ids.into_iter().collect();
        ids.sort_unstable();
        Ok(Some(unique::Answer::Illegal(unique::Conflict { ids, culprit })))
    }

    fn describe(&self, state: &Text) -> String {
        format!("{state:?}")
    }
}
