//! What a member's data directory keeps of the cluster that it was made for.

use super::Roster;
use crate::codec::{self, DecodeError, Decoder};
use bytes::Bytes;

/// The cluster as a member was made for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The members that the cluster began with: the same on every member, since the replicated state starts
    /// from it.
    pub birth: Roster,
    /// The members that there were when this one joined: whom it talks to until the state tells it better.
    pub contacts: Roster,
}

impl Origin {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        codec::put_bytes(&mut out, &self.birth.encode());
        codec::put_bytes(&mut out, &self.contacts.encode());
        out.into()
    }

    /// From bytes.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn decode(bytes: Bytes) -> Result<Origin, DecodeError> {
        let mut from = Decoder::new(bytes);
        let origin =
            Origin { birth: Roster::decode(from.bytes()?)?, contacts: Roster::decode(from.bytes()?)? };
        from.end()?;
        Ok(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_the_round_trip_and_no_cut_is_one() {
        let birth = Roster::of_new_cluster(&[("a".to_string(), vec!["http://a:1".to_string()])].into(), "t");
        let origin = Origin { contacts: birth.clone(), birth };
        let bytes = origin.encode();
        assert_eq!(Origin::decode(bytes.clone()), Ok(origin));
        for cut in 0..bytes.len() {
            assert!(Origin::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}
