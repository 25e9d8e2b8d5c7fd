//! Reads a segment back, and tells a torn write from damage.
//!
//! A crash can tear whatever had not been flushed: the last record or records of the last segment. Such a
//! tail was never acknowledged, and is cut off. A bad record that had been flushed is damage, and is never
//! cut off: that it had been flushed is known where a later record, intact, says so, or where a later
//! segment exists. A last record that is bad with nothing after it cannot be told from a torn one.

use super::{
    record::{self, Bad, Record},
    segment,
};

/// What a segment holds.
#[derive(Debug)]
pub struct Scan {
    /// Its good records, each with its offset.
    pub records: Vec<(usize, Record)>,
    /// How it ends.
    pub end: End,
}

/// How a segment ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// After its last record.
    Clean,
    /// With bytes that are no record, and nothing shows that they had been flushed.
    Torn {
        /// Where they begin.
        at: usize,
        /// What is wrong there.
        why: Bad,
    },
    /// With a bad record that had been flushed.
    Damaged {
        /// Where it begins.
        at: usize,
        /// What is wrong there.
        why: Bad,
        /// Where an intact record shows that the bad one had been flushed.
        proof: usize,
    },
}

/// Reads the records of a segment, header included in `bytes`.
pub fn scan(bytes: &[u8], header: &segment::Header) -> Scan {
    let (seed, mut number, mut at) = (header.seed(), header.first_record, segment::HEADER_BYTES);
    let mut records = Vec::new();
    while at < bytes.len() {
        match record::read(&bytes[at..], seed, number) {
            Ok((record, len)) => {
                records.push((at, record));
                at += len;
                number += 1;
            }
            #[cfg(feature = "plant")]
            Err(_) if let Some(record) = untorn(&bytes[at..], number) => {
                records.push((at, record));
                at = bytes.len();
            }
            Err(why) => {
                let end = match flushed(bytes, at, seed, number) {
                    Some(proof) => End::Damaged { at, why, proof },
                    None => End::Torn { at, why },
                };
                return Scan { records, end };
            }
        }
    }
    Scan { records, end: End::Clean }
}

/// What a torn record would be if its missing bytes were zeros.
#[cfg(feature = "plant")]
fn untorn(bytes: &[u8], number: u64) -> Option<Record> {
    let head = bytes.get(..record::HEADER_BYTES)?;
    let len = u32::from_le_bytes(head[4..8].try_into().ok()?) as usize;
    let named = u64::from_le_bytes(head[8..16].try_into().ok()?);
    let is_last = record::HEADER_BYTES + len >= bytes.len() && len < 1 << 16;
    if !crate::plant::is(crate::plant::Plant::TornTailAccepted) || named != number || !is_last {
        return None;
    }
    let mut whole = bytes.to_vec();
    whole.resize(record::HEADER_BYTES + len, 0);
    record::read_unchecked(&whole)
}

/// Looks for an intact record behind the bad one at `bad`, which should have been record `number`, that
/// was written after the bad one had been flushed.
fn flushed(bytes: &[u8], bad: usize, seed: u32, number: u64) -> Option<usize> {
    // No more records than this fit between: bounds what a number can be, so that chance finds are rare.
    let numbers = number + 1..=number + ((bytes.len() - bad) / record::HEADER_BYTES) as u64;
    (bad + 1..bytes.len()).find(|&at| {
        record::header(&bytes[at..]).is_some_and(|header| {
            let durable = header.durable as usize;
            numbers.contains(&header.number)
                && (bad + 1..=at).contains(&durable)
                && record::checksum_matches(&bytes[at..], &header, seed)
        })
    })
}
