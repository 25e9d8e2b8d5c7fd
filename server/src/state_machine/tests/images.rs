//! Images: whole round trips while entries are applied, and damaged ones.

use super::{advance, apply, attributes, chunks, command, state};
use crate::{
    mvcc::{
        Damage, Revision, Scrub,
        tests::{
            properties::config,
            random::{step, steps},
            requests::{put, range},
        },
    },
    proto::internal::command::Request,
    state_machine::{Restore, RestoreError, StateMachine},
};
use proptest::{collection::vec, prelude::*};

fn restore(chunks: &[Vec<u8>]) -> Result<StateMachine, RestoreError> {
    chunks.iter().try_fold(Restore::new(), |restore, chunk| restore.push(chunk))?.finish()
}

/// A small state with something of everything.
fn small() -> StateMachine {
    let mut state = state();
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("a", "5")] {
        apply(&mut state, &command(Request::Put(put(key, value)))).expect("a put");
    }
    apply(&mut state, &command(Request::DeleteRange(crate::mvcc::tests::requests::delete("b"))))
        .expect("a deletion");
    apply(&mut state, &super::compaction(4)).expect("a readable revision");
    apply(&mut state, &attributes(1, "n1")).expect("attributes");
    apply(&mut state, &attributes(2, "n2")).expect("attributes");
    state
}

#[test]
fn an_empty_state_has_an_image() {
    let state = StateMachine::new();
    let restored = restore(&chunks(&state, 1)).expect("an image can be read");
    assert_eq!((restored.applied(), restored.kv().revision()), (state.applied(), 1));
    assert_eq!(restored.kv().compact_revision(), -1);
    assert_eq!(restored.kv().hash(), state.kv().hash());
}

#[test]
fn an_image_holds_all_of_the_state() {
    let state = small();
    for max_bytes in [1, 30, 1_000_000] {
        let chunks = chunks(&state, max_bytes);
        let restored = restore(&chunks).expect("an image can be read");
        assert_eq!(restored.applied(), state.applied());
        assert_eq!(restored.roster(), state.roster());
        assert_eq!(restored.leases, state.leases);
        assert_eq!(restored.kv().compact_revision(), 4);
        for revision in 4..=7 {
            let all = crate::proto::etcdserverpb::RangeRequest { revision, ..range("\0", "\0") };
            assert_eq!(restored.kv().range(&all), state.kv().range(&all), "at {revision}");
            assert_eq!(restored.kv().hash_kv(revision), state.kv().hash_kv(revision), "at {revision}");
        }
        assert_eq!(super::chunks(&restored, max_bytes), chunks, "the same bytes again");
        let together = Restore::new().push(&chunks.concat()).and_then(Restore::finish);
        assert_eq!(together.map(|state| state.kv().hash()), Ok(state.kv().hash()), "chunks in one piece");
    }
}

#[test]
fn an_image_dropped_half_way_lets_the_scrub_go_on() {
    let mut state = small();
    let mut image = state.begin_image();
    assert!(state.image_chunk(&mut image, 1).is_some());
    assert_eq!(state.scrub(100), Scrub::Pinned);
    drop(image);
    assert_eq!(state.scrub(100), Scrub::Done);
}

#[test]
fn chunks_have_their_order() {
    let chunks = chunks(&small(), 30);
    let (first, last) = (0, chunks.len() - 1);
    let taken = |places: &[usize]| -> Result<(), RestoreError> {
        let picked: Vec<_> = places.iter().map(|place| chunks[*place].clone()).collect();
        restore(&picked).map(|_| ())
    };
    assert_eq!(taken(&[]), Err(RestoreError::Unfinished));
    assert_eq!(taken(&[first]), Err(RestoreError::Unfinished));
    assert_eq!(taken(&[first, 1]), Err(RestoreError::Unfinished));
    assert_eq!(taken(&[1]), Err(RestoreError::Number { want: 0, found: 1 }));
    assert_eq!(taken(&[first, 2]), Err(RestoreError::Number { want: 1, found: 2 }));
    assert_eq!(taken(&[first, first]), Err(RestoreError::Number { want: 1, found: 0 }));
    let numbered = |place: usize, number: u8| {
        let mut chunk = chunks[place].clone();
        chunk[7] = number;
        chunk
    };
    for (picked, want) in [
        (vec![numbered(1, 0)], RestoreError::Order(2)),
        (vec![numbered(last, 0)], RestoreError::Order(3)),
        (vec![numbered(first, 0), numbered(first, 1)], RestoreError::Order(1)),
        (vec![numbered(first, 0), numbered(last, 1)], RestoreError::Damage(Damage::Totals)),
    ] {
        assert_eq!(restore(&picked).map(|_| ()), Err(want));
    }
}

#[test]
fn a_chunk_that_is_none_is_refused() {
    let whole = chunks(&small(), 1_000_000);
    for (place, value, want) in [
        (0, b'X', RestoreError::NotAChunk),
        (4, 9, RestoreError::Version(9)),
        (6, 9, RestoreError::Kind(9)),
        (7, 9, RestoreError::Number { want: 0, found: 9 }),
    ] {
        let mut damaged = whole.clone();
        damaged[0][place] = value;
        let error = restore(&damaged).map(|_| ()).expect_err("damaged");
        assert_eq!(error, want, "byte {place}");
        assert!(!error.to_string().is_empty());
    }
    let empty = Restore::new().push(&[]).map(|_| ());
    assert!(matches!(empty, Err(RestoreError::Malformed(_))), "{empty:?}");
}

/// One version in the records of an image.
struct Record(&'static str, i64, u64, Option<[i64; 3]>);

/// An image of these records, which says of itself what a true one would.
fn forge(revision: i64, compacted: i64, records: &[Record]) -> Result<StateMachine, RestoreError> {
    use crate::mvcc::codec::{put_bytes, put_i64, put_u64};
    let frame = |kind: u8, number: u8, payload: &[u8]| {
        let len = u32::try_from(payload.len()).expect("small").to_le_bytes();
        [b"ASIM\x02\0".as_slice(), &[kind, number, 0, 0, 0], &len, payload].concat()
    };
    let (mut head, mut body, mut end) = (Vec::new(), Vec::new(), Vec::new());
    put_u64(&mut head, 1);
    put_i64(&mut head, revision);
    put_i64(&mut head, compacted);
    put_u64(&mut head, 0);
    put_u64(&mut head, 0);
    let mut digest = 0_u64;
    for Record(key, main, sub, put) in records {
        body.push(if put.is_some() { 3 } else { 1 });
        put_bytes(&mut body, key.as_bytes());
        put_i64(&mut body, *main);
        put_u64(&mut body, *sub);
        if let Some(numbers) = put {
            numbers.iter().for_each(|number| put_i64(&mut body, *number));
            put_bytes(&mut body, b"v");
        }
        let value: &[u8] = if put.is_some() { b"v" } else { b"" };
        let sub = u32::try_from(*sub).unwrap_or(0);
        digest = digest.wrapping_add(crate::mvcc::tests::digest_of(
            key.as_bytes(),
            Revision { main: *main, sub },
            put.unwrap_or_default(),
            value,
        ));
    }
    put_u64(&mut end, u64::try_from(records.len()).expect("small"));
    put_u64(&mut end, digest);
    restore(&[frame(1, 0, &head), frame(2, 1, &body), frame(3, 2, &end)])
}

#[test]
fn records_that_no_store_writes_are_refused() {
    let put = |key, main, sub, created, number| Record(key, main, sub, Some([created, number, 0]));
    let tomb = |key, main| Record(key, main, 0, None);
    let good = [put("a", 3, 0, 2, 2), put("a", 5, 0, 2, 3), put("b", 4, 0, 4, 1), tomb("b", 6)];
    assert_eq!(forge(6, 3, &good).map(|state| state.kv().revision()), Ok(6));
    for (revision, compacted, records, why) in [
        (0, -1, vec![], "a store stands at 1 at least"),
        (i64::MAX, -1, vec![], "no room for another write"),
        (2, 2, vec![put("a", 2, 0, 2, i64::MAX)], "no room for another put of the key"),
        (5, 6, vec![], "compacted ahead of itself"),
        (5, -2, vec![], "compacted before there was anything"),
        (2, -1, vec![], "nothing wrote revision 2"),
        (i64::MAX - 1, -1, vec![put("a", 2, 0, 2, 1)], "far more revisions than writes"),
        (2, -1, vec![put("a", 2, 1, 2, 1)], "the first write of the revision is missing"),
        (3, -1, vec![put("a", 2, 0, 2, 1), put("a", 2, 0, 2, 2)], "two writes in one place"),
        (3, -1, vec![put("a", 3, 0, 3, 1), put("a", 2, 0, 2, 1)], "versions out of order"),
        (3, -1, vec![put("b", 2, 0, 2, 1), put("a", 3, 0, 3, 1)], "keys out of order"),
        (2, -1, vec![put("", 2, 0, 2, 1)], "no key"),
        (2, -1, vec![put("a", 1, 0, 1, 1)], "the empty store's own revision"),
        (2, -1, vec![put("a", 3, 0, 3, 1)], "ahead of the store"),
        (2, -1, vec![put("a", 2, 0, 2, 0)], "a put that is the 0th"),
        (2, -1, vec![put("a", 2, 0, 2, 2)], "a second put without a first"),
        (3, -1, vec![put("a", 2, 0, 2, 1), put("a", 3, 0, 2, 3)], "the second put is missing"),
        (3, -1, vec![put("a", 2, 0, 2, 1), put("a", 3, 0, 3, 1)], "created twice"),
        (2, -1, vec![tomb("a", 2)], "deleted before it was there"),
        (4, -1, vec![put("a", 2, 0, 2, 1), tomb("a", 3), tomb("a", 4)], "deleted twice"),
        (3, 3, vec![put("a", 2, 0, 2, 1), put("a", 3, 0, 2, 2)], "superseded before the compaction"),
        (3, 3, vec![tomb("a", 2), put("b", 3, 0, 3, 1)], "deleted before the compaction"),
        (3, 3, vec![put("a", 3, 0, 4, 1)], "created after it was written"),
        (4, 3, vec![put("a", 4, 0, 2, 2)], "its versions before are missing"),
    ] {
        let refused = forge(revision, compacted, &records).map(|state| state.kv().revision());
        assert!(matches!(refused, Err(RestoreError::Damage(_))), "{why}: {refused:?}");
    }
}

#[test]
fn damage_anywhere_never_panics() {
    let whole = chunks(&small(), 40);
    for (number, chunk) in whole.iter().enumerate() {
        for place in 0..chunk.len() {
            let mut cut = whole.clone();
            cut[number].truncate(place);
            assert!(restore(&cut).is_err(), "chunk {number} cut to {place} bytes");
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff, chunk[place] ^ 1, chunk[place] ^ 0x40] {
                let mut damaged = whole.clone();
                damaged[number][place] = value;
                // Some damage only a checksum around the chunk can find: then it is still a state.
                if let Ok(mut state) = restore(&damaged) {
                    assert_eq!(state.kv().hash_kv(0).map(|hash| hash.hash), Ok(state.kv().hash()));
                    let revision = state.kv().revision();
                    let _ = apply(&mut state, &super::compaction(revision));
                    while state.scrub(1) == Scrub::More {}
                    assert_eq!(state.kv().size_bytes(), state.kv().size_in_use_bytes());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_image_is_the_state_when_it_began(
        before in steps(40),
        during in vec((1_usize..400, vec(step(), 0..6)), 1..20),
        after in steps(20),
    ) {
        let mut state = state();
        before.iter().for_each(|step| advance(&mut state, step));
        let whole = chunks(&state, 64);
        let (applied, hash) = (state.applied(), state.kv().hash());
        let (mut image, mut restoring) = (state.begin_image(), Restore::new());
        let mut during = during.iter().cycle();
        loop {
            let (max_bytes, steps) = during.next().expect("it is a cycle");
            let Some(chunk) = state.image_chunk(&mut image, *max_bytes) else { break };
            restoring = restoring.push(&chunk).expect("an image can be read");
            steps.iter().for_each(|step| advance(&mut state, step));
        }
        prop_assert_eq!(image.applied(), applied);
        state.end_image(image);
        let mut restored = restoring.finish().expect("an image can be read");
        prop_assert_eq!((restored.applied(), restored.kv().hash()), (applied, hash));
        prop_assert_eq!(chunks(&restored, 64), whole.clone());
        let mut again = restore(&whole).expect("an image can be read");
        for step in &after {
            if let Some(command) = super::to_command(&restored, step) {
                prop_assert_eq!(apply(&mut restored, &command), apply(&mut again, &command));
            }
        }
        prop_assert_eq!(chunks(&restored, 64), chunks(&again, 64));
    }

    #[test]
    fn noise_is_no_image(bytes in vec(any::<u8>(), 0..200), kind in 0_u8..4) {
        prop_assert!(Restore::new().push(&bytes).is_err());
        let len = u32::try_from(bytes.len()).expect("small").to_le_bytes();
        let framed = [b"ASIM\x02\0".as_slice(), &[kind, 0, 0, 0, 0], &len, &bytes].concat();
        let restored = Restore::new().push(&framed).and_then(Restore::finish);
        prop_assert!(restored.is_err());
    }
}
