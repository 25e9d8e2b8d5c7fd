//! Strings by key, with get, put and append, as in the labs of MIT 6.824 and Porcupine's key-value logs. A key
//! that nobody wrote holds the empty string.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::SequentialSpec;
use crate::history::OpId;
use crate::linearizability::Call;
use crate::linearizability::unique::{self, Access, Did};

/// A string of its own for each key.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    /// What is put and appended, numbered, if no one of these begins another: then strings tell what they are
    /// made of.
    pieces: BTreeMap<String, i64>,
}

impl Strings {
    /// The strings that these operations write.
    pub fn of<'a>(ops: impl IntoIterator<Item = &'a StringOp>) -> Strings {
        let written = ops.into_iter().filter_map(|op| match &op.action {
            StringAction::Get(_) => None,
            StringAction::Put(piece) | StringAction::Append(piece) => Some(piece.clone()),
        });
        let pieces: BTreeSet<String> = written.filter(|piece| !piece.is_empty()).collect();
        let ambiguous = pieces.iter().zip(pieces.iter().skip(1)).any(|(a, b)| b.starts_with(a.as_str()));
        if ambiguous {
            return Strings::default();
        }
        Strings { pieces: pieces.into_iter().zip(0..).collect() }
    }

    /// The pieces that a string is made of, with their numbers, where they tell.
    fn taken_apart<'a>(&self, mut found: &'a str) -> Option<Vec<(&'a str, i64)>> {
        let mut all = Vec::new();
        while !found.is_empty() {
            // What begins the rest comes right before it in order, since no piece begins another.
            let before = self.pieces.range::<str, _>((Bound::Unbounded, Bound::Included(found)));
            let (piece, number) = before.last()?;
            let rest = found.strip_prefix(piece.as_str())?;
            all.push((&found[..piece.len()], *number));
            found = rest;
        }
        Some(all)
    }

    /// The calls as ones on a register that holds the newest piece, which tells all before it: an append that was
    /// seen behind a piece is a swap of that piece for its own. One that was never seen stands at the end of what
    /// was, like a write: a put came next, or nothing. `None` if the pieces do not tell.
    fn as_register(&self, calls: &[Call<StringOp>]) -> Option<Result<Vec<Access>, Vec<OpId>>> {
        let mut written: FxHashMap<i64, usize> = FxHashMap::default();
        for (index, call) in calls.iter().enumerate() {
            if let StringAction::Put(piece) | StringAction::Append(piece) = &call.op.action
                && (piece.is_empty() || written.insert(*self.pieces.get(piece)?, index).is_some())
            {
                return None;
            }
        }
        let mut seen = SeenPieces {
            spec: self,
            calls,
            written,
            behind: FxHashMap::default(),
            last: Vec::new(),
            text: "",
        };
        let mut accesses = Vec::with_capacity(calls.len());
        for (index, call) in calls.iter().enumerate() {
            let did = match &call.op.action {
                StringAction::Get(_) if call.returned.is_none() => Did::Read(None),
                StringAction::Get(found) => match seen.newest_piece(index, found) {
                    Ok(newest) => Did::Read(newest),
                    Err(ids) => return Some(Err(ids)),
                },
                StringAction::Put(piece) | StringAction::Append(piece) => {
                    Did::Wrote(*self.pieces.get(piece)?)
                }
            };
            accesses.push(Access { id: call.id, did, invoked: call.invoked, returned: call.returned });
        }
        for access in &mut accesses {
            if let Did::Wrote(piece) = access.did
                && let Some((before, _)) = seen.behind.get(&piece)
            {
                access.did = Did::Swapped(*before, piece);
            }
        }
        Some(Ok(accesses))
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

/// What gets have shown so far of how pieces follow each other.
struct SeenPieces<'a> {
    spec: &'a Strings,
    calls: &'a [Call<StringOp>],
    /// The write of each piece.
    written: FxHashMap<i64, usize>,
    /// What each appended piece stands behind, and who saw it first.
    behind: FxHashMap<i64, (Option<i64>, usize)>,
    /// The last string that was taken apart, and its pieces with their ends: most strings begin another.
    text: &'a str,
    last: Vec<(usize, i64)>,
}

impl<'a> SeenPieces<'a> {
    /// The newest piece of what a call found.
    ///
    /// # Errors
    /// Calls that contradict each other.
    fn newest_piece(&mut self, index: usize, found: &'a str) -> Result<Option<i64>, Vec<OpId>> {
        if found.is_empty() {
            return Ok(None);
        }
        if self.text.starts_with(found)
            && let Ok(at) = self.last.binary_search_by_key(&found.len(), |(end, _)| *end)
        {
            return Ok(Some(self.last[at].1));
        }
        if !found.starts_with(self.text) {
            (self.text, self.last) = ("", Vec::new());
        }
        let from = self.text.len();
        // What is not made of pieces was never there.
        let pieces = self.spec.taken_apart(&found[from..]).ok_or_else(|| vec![self.calls[index].id])?;
        let (mut end, mut before) = (from, self.last.last().map(|(_, piece)| *piece));
        for (text, piece) in pieces {
            let Some(&writer) = self.written.get(&piece) else { return Err(vec![self.calls[index].id]) };
            let put = matches!(self.calls[writer].op.action, StringAction::Put(_));
            let (known, by) =
                if put { (None, index) } else { *self.behind.entry(piece).or_insert((before, index)) };
            // A put leaves nothing before it, and a piece stands in one place.
            if known != before {
                return Err([index, by, writer].map(|index| self.calls[index].id).to_vec());
            }
            end += text.len();
            self.last.push((end, piece));
            before = Some(piece);
        }
        self.text = found;
        Ok(before)
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

    fn shortcut(&self, calls: &[Call<StringOp>]) -> Option<unique::Answer> {
        if self.pieces.is_empty() {
            return None;
        }
        let mut ids: FxHashSet<OpId> = match self.as_register(calls)? {
            Err(ids) => ids.into_iter().collect(),
            Ok(accesses) => match unique::decide(&accesses)? {
                unique::Answer::Legal => return Some(unique::Answer::Legal),
                unique::Answer::Illegal(conflict) => conflict.ids.into_iter().collect(),
            },
        };
        self.close(calls, &mut ids);
        let last = calls.iter().filter(|call| ids.contains(&call.id)).max_by_key(|call| call.returned);
        let culprit = last.map(|call| call.id)?;
        let mut ids: Vec<OpId> = ids.into_iter().collect();
        ids.sort_unstable();
        Some(unique::Answer::Illegal(unique::Conflict { ids, culprit }))
    }

    fn describe(&self, state: &String) -> String {
        format!("{state:?}")
    }
}
