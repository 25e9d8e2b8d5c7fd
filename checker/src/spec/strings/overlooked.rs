//! What a read of a string has overlooked, where it is not told which write each piece is of.
//!
//! From the write of the piece that a string begins with to the read of that string nobody put anything, and whatever
//! was appended is in it. So an operation that began after every write of that piece had returned, and returned before
//! the read began, must be in the string, and is no put; a string that was read before, begun by the one write of its
//! piece, begins what is read later; and what is empty has not been written before. Two operations at a time, so it
//! finds little; but in a history that is wrong there mostly is one such pair.

use rustc_hash::FxHashMap;

use super::{StringAction, StringOp, Strings};
use crate::history::OpId;
use crate::linearizability::Call;

/// Pairs that are looked at before this is given up.
const PAIRS_MAX: usize = 10_000_000;

/// A write of a piece.
struct Write<'a> {
    call: &'a Call<StringOp>,
    piece: &'a str,
    put: bool,
}

/// A read, and what the string begins with.
struct Read<'a> {
    call: &'a Call<StringOp>,
    found: &'a str,
    returned: u64,
    first: Option<&'a str>,
}

/// Operations that contradict each other, with all writes of what they are begun by; on one key.
pub(super) fn overlooked(spec: &Strings, calls: &[Call<StringOp>]) -> Option<Vec<OpId>> {
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    for call in calls {
        match &call.op.action {
            // What is put then begins nothing.
            StringAction::Put(piece) if piece.is_empty() => return None,
            StringAction::Append(piece) if piece.is_empty() => {}
            StringAction::Put(piece) => writes.push(Write { call, piece, put: true }),
            StringAction::Append(piece) => writes.push(Write { call, piece, put: false }),
            StringAction::Get(found) => {
                if let Some(returned) = call.returned {
                    let first = spec.taken_apart(found)?.first().map(|(piece, _)| *piece);
                    reads.push(Read { call, found, returned, first });
                }
            }
        }
    }
    if reads.len().saturating_mul(writes.len()) > PAIRS_MAX {
        return None;
    }
    let by_reads = reads.iter().find_map(|read| missing(spec, read, &writes));
    by_reads.or_else(|| shrunk(&mut reads, &writes))
}

/// A write that a read should have seen.
fn missing(spec: &Strings, read: &Read<'_>, writes: &[Write<'_>]) -> Option<Vec<OpId>> {
    let before =
        |write: &&Write<'_>| write.call.returned.is_some_and(|returned| returned < read.call.invoked);
    let Some(first) = read.first else {
        let write = writes.iter().find(before)?;
        return Some(vec![write.call.id, read.call.id]);
    };
    let beginning = |write: &&Write<'_>| write.piece == first && write.call.invoked < read.returned;
    // One without a return may have begun the string at any time.
    let begun =
        writes.iter().filter(beginning).try_fold(0, |last, write| Some(last.max(write.call.returned?)))?;
    let pieces = spec.taken_apart(read.found)?;
    let absent = |write: &&Write<'_>| {
        write.call.invoked > begun && (write.put || pieces.iter().all(|(piece, _)| *piece != write.piece))
    };
    let write = writes.iter().filter(before).find(absent)?;
    let begin = writes.iter().filter(beginning).map(|write| write.call.id);
    Some(begin.chain([write.call.id, read.call.id]).collect())
}

/// Two reads of what one write began, of which the later one does not have all that the earlier one had.
fn shrunk(reads: &mut [Read<'_>], writes: &[Write<'_>]) -> Option<Vec<OpId>> {
    let mut begun: FxHashMap<&str, Vec<OpId>> = FxHashMap::default();
    for write in writes {
        begun.entry(write.piece).or_default().push(write.call.id);
    }
    reads.sort_unstable_by_key(|read| read.returned);
    let mut later: Vec<&Read<'_>> = reads.iter().collect();
    later.sort_unstable_by_key(|read| read.call.invoked);
    let mut longest: FxHashMap<&str, &Read<'_>> = FxHashMap::default();
    let mut earlier = reads.iter().peekable();
    for read in later {
        while let Some(done) = earlier.next_if(|done| done.returned < read.call.invoked) {
            let Some(first) = done.first else { continue };
            let known = longest.entry(first).or_insert(done);
            if known.found.len() < done.found.len() {
                *known = done;
            }
        }
        let Some(first) = read.first else { continue };
        if let (Some(known), Some([one])) = (longest.get(first), begun.get(first).map(Vec::as_slice))
            && !read.found.starts_with(known.found)
        {
            return Some(vec![*one, known.call.id, read.call.id]);
        }
    }
    None
}
