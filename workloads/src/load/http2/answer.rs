//! What a call came to, and the few facts that are read from an answer's message.

use crate::load::stamp::Stamp;

/// What an answer says that the load generator uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Revision in the header; 0 where there is none.
    pub revision: i64,
    /// A transaction's `succeeded`, a delete's count; 0 for other calls.
    pub number: u64,
    /// Mod revision of the first key in the answer of a range, or of a transaction's range; 0 where there is none.
    pub mod_revision: i64,
    /// The number that this key's value carries; 0 where it carries none.
    pub tag: u64,
    /// Octets of the message.
    pub bytes: usize,
}

/// Why a call was not answered with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// The server answered with a gRPC status other than 0.
    Status(u32),
    /// The server answered with an HTTP status other than 200 and no gRPC status.
    Http(u16),
    /// The server reset the stream, with this error code of HTTP/2.
    Reset(u32),
    /// The server said that it did not process the call: it was going away, or refused the stream.
    Unprocessed,
    /// The answer breaks gRPC's rules.
    Malformed,
    /// The connection was lost with the call under way.
    Lost,
    /// No answer in time.
    Deadline,
    /// Not sent in time: there was no connection, or none with room.
    NotSent,
}

impl Failure {
    /// Names of gRPC's codes. Source: grpc/doc/statuscodes.md.
    const CODES: [&'static str; 17] = [
        "ok",
        "cancelled",
        "unknown",
        "invalid-argument",
        "deadline-exceeded",
        "not-found",
        "already-exists",
        "permission-denied",
        "resource-exhausted",
        "failed-precondition",
        "aborted",
        "out-of-range",
        "unimplemented",
        "internal",
        "unavailable",
        "data-loss",
        "unauthenticated",
    ];

    /// What errors of this kind are counted under.
    pub fn kind(self) -> String {
        match self {
            Failure::Status(code) => match Failure::CODES.get(code as usize) {
                Some(name) => (*name).to_owned(),
                None => format!("grpc-{code}"),
            },
            Failure::Http(status) => format!("http-{status}"),
            Failure::Reset(code) => format!("reset-{code}"),
            Failure::Unprocessed => "unprocessed".to_owned(),
            Failure::Malformed => "malformed".to_owned(),
            Failure::Lost => "connection-lost".to_owned(),
            Failure::Deadline => "client-deadline".to_owned(),
            Failure::NotSent => "not-sent".to_owned(),
        }
    }
}

impl Failure {
    /// Whether the call surely had no effect, and never will have one.
    pub fn is_without_effect(self) -> bool {
        match self {
            Failure::Unprocessed | Failure::NotSent => true,
            // A status says why, but not to the machine: a deadline of the server may have passed after a commit.
            Failure::Status(_)
            | Failure::Http(_)
            | Failure::Reset(_)
            | Failure::Malformed
            | Failure::Lost
            | Failure::Deadline => false,
        }
    }
}

impl Answer {
    /// Reads the facts from a message of etcd's: field 1 is the header, with the revision as its field 3; field 2 is a
    /// number or the first of a list of keys, field 3 of a transaction's answer a list of responses. A message that is cut off gives what was seen.
    pub(in crate::load) fn read(message: &[u8]) -> Answer {
        let mut answer = Answer { bytes: message.len(), ..Answer::default() };
        let mut rest = message;
        while let Some((field, value)) = next(&mut rest) {
            match (field, value) {
                (1, Value::Bytes(header)) => answer.revision = field_3(header),
                (2, Value::Number(number)) => answer.number = number,
                (2, Value::Bytes(kv)) if answer.mod_revision == 0 => answer.read_pair(kv),
                // A transaction's first response, where that is a range.
                (3, Value::Bytes(response)) if answer.mod_revision == 0 => {
                    let kv = first(response, 1).and_then(|range| first(range, 2));
                    if let Some(kv) = kv {
                        answer.read_pair(kv);
                    }
                }
                _ => {}
            }
        }
        answer
    }

    /// A key with its value: field 3 is the mod revision, field 5 the value.
    fn read_pair(&mut self, kv: &[u8]) {
        let mut rest = kv;
        while let Some((field, value)) = next(&mut rest) {
            match (field, value) {
                (3, Value::Number(number)) => self.mod_revision = number.cast_signed(),
                (5, Value::Bytes(value)) => self.tag = Stamp::read(value).map_or(0, |stamp| stamp.tag),
                _ => {}
            }
        }
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// The number in field 3, which is the revision of a header and the mod revision of a key.
fn field_3(message: &[u8]) -> i64 {
    let mut rest = message;
    while let Some((field, value)) = next(&mut rest) {
        if let (3, Value::Number(number)) = (field, value) {
            return number.cast_signed();
        }
    }
    0
}

/// The first of a field of octets.
fn first(message: &[u8], wanted: u64) -> Option<&[u8]> {
    let mut rest = message;
    while let Some((field, value)) = next(&mut rest) {
        if let Value::Bytes(octets) = value
            && field == wanted
        {
            return Some(octets);
        }
    }
    None
}

/// The next field, `None` at the end and where the message makes no sense.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = varint(rest)?;
    let mut take = |length: usize| {
        let (taken, after) = rest.split_at_checked(length)?;
        *rest = after;
        Some(taken)
    };
    let value = match tag & 7 {
        0 => Value::Number(varint(rest)?),
        1 => take(8).map(|_| Value::Other)?,
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (taken, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            *rest = after;
            Value::Bytes(taken)
        }
        5 => take(4).map(|_| Value::Other)?,
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (at, &octet) in rest.iter().enumerate().take(10) {
        value |= u64::from(octet & 0x7f) << (7 * at);
        if octet & 0x80 == 0 {
            *rest = &rest[at + 1..];
            return Some(value);
        }
    }
    None
}
