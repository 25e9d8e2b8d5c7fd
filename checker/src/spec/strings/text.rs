//! Strings that share their beginnings: what is appended is all that an append costs, and the hash is at hand.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter;
use std::sync::Arc;

/// A factor of the hash: odd, and with bits all over.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A string, as the pieces that it was made of. Which pieces these were makes no difference.
#[derive(Clone, Default)]
pub struct Text {
    length: usize,
    /// A polynomial in the octets, so that it can be gone on with.
    hash: u64,
    last: Option<Arc<Piece>>,
}

struct Piece {
    text: Box<str>,
    before: Option<Arc<Piece>>,
}

impl Text {
    /// The string with more at its end.
    #[must_use]
    pub fn with(&self, more: &str) -> Text {
        if more.is_empty() {
            return self.clone();
        }
        let octets = more.bytes().map(u64::from);
        let hash = octets.fold(self.hash, |hash, octet| hash.wrapping_mul(FACTOR).wrapping_add(octet + 1));
        let last = Arc::new(Piece { text: more.into(), before: self.last.clone() });
        Text { length: self.length + more.len(), hash, last: Some(last) }
    }

    /// Whether it is this string.
    pub fn is(&self, string: &str) -> bool {
        let mut rest = Some(string).filter(|string| string.len() == self.length);
        for piece in self.last_first() {
            rest = rest.and_then(|rest| rest.strip_suffix(&*piece.text));
            if rest.is_none() {
                return false;
            }
        }
        rest == Some("")
    }

    fn last_first(&self) -> impl Iterator<Item = &Piece> {
        iter::successors(self.last.as_deref(), |piece| piece.before.as_deref())
    }
}

impl From<&str> for Text {
    fn from(string: &str) -> Text {
        Text::default().with(string)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces: Vec<&Piece> = self.last_first().collect();
        pieces.iter().rev().try_for_each(|piece| f.write_str(&piece.text))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        let shared = || match (&self.last, &other.last) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        (self.length, self.hash) == (other.length, other.hash) && (shared() || self.is(&other.to_string()))
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // One by one: a long string would overflow the stack.
        let mut next = self.before.take();
        while let Some(mut piece) = next.and_then(Arc::into_inner) {
            next = piece.before.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_its_string_whatever_it_was_made_of() {
        let hash = |text: &Text| {
            let mut hasher = rustc_hash::FxHasher::default();
            text.hash(&mut hasher);
            hasher.finish()
        };
        let (one, other) = (Text::from("ab").with("c"), Text::from("a").with("").with("bc"));
        assert_eq!((&one, hash(&one)), (&other, hash(&other)));
        assert_eq!(one.to_string(), "abc");
        assert!(one.is("abc") && other.is("abc"));
        for not in ["", "ab", "bc", "abd", "xbc", "abcd", "\u{e9}b"] {
            assert!(!one.is(not) && one != Text::from(not), "{not}");
        }
        assert!(Text::default().is("") && Text::default() == Text::from(""));
        assert!(Text::from("\u{e9}\u{e8}").is("\u{e9}\u{e8}"));
    }

    #[test]
    fn a_long_text_can_be_dropped() {
        let long = (0..200_000).fold(Text::default(), |text, _| text.with("x"));
        assert_eq!(long.to_string().len(), 200_000);
    }
}
