//! The connection against octets that a server may send.

use super::{
    Answer, Broken, Connection, Failure, Method, Peer,
    frame::{self, HEAD_BYTES, Head, flag, kind, setting},
};
use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{fs, path::Path};

type Outcome = (u32, Result<Answer, Failure>);

/// A put's answer with revision 7.
const MESSAGE: &[u8] = &[0, 0, 0, 0, 4, 0x0a, 2, 0x18, 7];
/// `:status: 200`.
const OK: &[u8] = &[0x88];

fn trailers(status: &str) -> Vec<u8> {
    let mut block = b"\x00\x0bgrpc-status".to_vec();
    block.push(u8::try_from(status.len()).unwrap());
    block.extend_from_slice(status.as_bytes());
    block
}

/// A connection and what is sent to it.
struct Dialogue {
    connection: Connection<u32>,
    outcomes: Vec<Outcome>,
}

impl Dialogue {
    fn new(settings: &[(u16, u32)]) -> Dialogue {
        let mut dialogue =
            Dialogue { connection: Connection::new(&Peer::plain("h:1")), outcomes: Vec::new() };
        let mut hello = Vec::new();
        frame::write_settings(&mut hello, settings);
        dialogue.says(&hello).unwrap();
        dialogue.sent();
        dialogue
    }

    fn says(&mut self, octets: &[u8]) -> Result<(), Broken> {
        let outcomes = &mut self.outcomes;
        self.connection.receive(octets, |token, outcome| outcomes.push((token, outcome)))
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), Broken> {
        let mut out = Vec::new();
        frame::write(&mut out, kind, flags, stream, payload);
        self.says(&out)
    }

    fn put(&mut self, token: u32, message: &[u8]) {
        self.connection.send(token, Method::Put, message);
    }

    /// The frames that were written since this was asked last, without the preface.
    fn sent(&mut self) -> Vec<(Head, Vec<u8>)> {
        let octets = self.connection.output().to_vec();
        self.connection.wrote(octets.len());
        let mut rest = octets.strip_prefix(&frame::PREFACE[..]).unwrap_or(&octets);
        let mut frames = Vec::new();
        while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let head = Head::read(head);
            frames.push((head, after[..head.length].to_vec()));
            rest = &after[head.length..];
        }
        assert!(rest.is_empty(), "half a frame");
        frames
    }

    fn answers(&mut self, stream: u32) {
        self.frame(kind::HEADERS, flag::END_HEADERS, stream, OK).unwrap();
        self.frame(kind::DATA, 0, stream, MESSAGE).unwrap();
        let end = flag::END_HEADERS | flag::END_STREAM;
        self.frame(kind::HEADERS, end, stream, &trailers("0")).unwrap();
    }
}

fn revision(outcome: &Outcome) -> (u32, i64) {
    (outcome.0, outcome.1.expect("an answer").revision)
}

#[test]
fn calls_are_answered_in_any_order_and_however_the_octets_are_cut() {
    let mut whole = Vec::new();
    for stream in [3u32, 1, 5] {
        frame::write(&mut whole, kind::HEADERS, flag::END_HEADERS, stream, OK);
        frame::write(&mut whole, kind::DATA, 0, stream, &MESSAGE[..3]);
        frame::write(&mut whole, kind::DATA, 0, stream, &MESSAGE[3..]);
        frame::write(&mut whole, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &trailers("0"));
    }
    for cut in 1..whole.len() {
        let mut dialogue = Dialogue::new(&[]);
        (0..3).for_each(|token| dialogue.put(token, b"m"));
        whole.chunks(cut).for_each(|piece| dialogue.says(piece).unwrap());
        let got: Vec<_> = dialogue.outcomes.iter().map(revision).collect();
        assert_eq!(got, [(1, 7), (0, 7), (2, 7)], "pieces of {cut}");
        assert_eq!(dialogue.connection.open(), 0);
    }
}

#[test]
fn the_second_request_has_six_octets_of_headers() {
    let mut dialogue = Dialogue::new(&[]);
    for token in 0..3 {
        dialogue.put(token, b"message");
    }
    let sent = dialogue.sent();
    let lengths: Vec<usize> =
        sent.iter().filter(|(head, _)| head.kind == kind::HEADERS).map(|(head, _)| head.length).collect();
    assert!(lengths[0] > 40 && lengths[1..] == [7, 7], "{lengths:?}");
    let data = &sent.iter().find(|(head, _)| head.kind == kind::DATA).unwrap().1;
    assert_eq!(data[..], b"\0\0\0\0\x07message"[..]);
}

#[test]
fn statuses_and_broken_answers_are_told_apart() {
    let end = flag::END_HEADERS | flag::END_STREAM;
    let mut dialogue = Dialogue::new(&[]);
    (0..8).for_each(|token| dialogue.put(token, b""));
    // Trailers only, with a text.
    let mut block = [OK, &trailers("14")].concat();
    block.extend_from_slice(b"\x00\x0cgrpc-message\x08no%20way");
    dialogue.frame(kind::HEADERS, end, 1, &block).unwrap();
    assert_eq!(dialogue.connection.take_error().as_deref(), Some("no way"));
    // A proxy's answer, a success without a message, an end without trailers, a compressed message.
    dialogue.frame(kind::HEADERS, end, 3, b"\x08\x03502").unwrap();
    dialogue.frame(kind::HEADERS, end, 5, &[OK, &trailers("0")].concat()).unwrap();
    dialogue.frame(kind::HEADERS, flag::END_HEADERS, 7, OK).unwrap();
    dialogue.frame(kind::DATA, flag::END_STREAM, 7, MESSAGE).unwrap();
    dialogue.frame(kind::HEADERS, flag::END_HEADERS, 9, OK).unwrap();
    dialogue.frame(kind::DATA, 0, 9, &[1, 0, 0, 0, 1, 0]).unwrap();
    dialogue.frame(kind::HEADERS, end, 9, &trailers("0")).unwrap();
    dialogue.frame(kind::RST_STREAM, 0, 11, &[0, 0, 0, 7]).unwrap();
    dialogue.frame(kind::RST_STREAM, 0, 13, &[0, 0, 0, 2]).unwrap();
    dialogue.connection.fail_all(|token| assert_eq!(token, 7));
    let failures: Vec<Failure> = dialogue.outcomes.iter().map(|(_, outcome)| outcome.unwrap_err()).collect();
    let want = [
        Failure::Status(14),
        Failure::Http(502),
        Failure::Malformed,
        Failure::Malformed,
        Failure::Malformed,
        Failure::Unprocessed,
        Failure::Reset(2),
    ];
    assert_eq!(failures, want);
}

#[test]
fn pings_and_settings_are_acknowledged_and_windows_are_opened_again() {
    let mut dialogue = Dialogue::new(&[]);
    dialogue.frame(kind::PING, 0, 0, b"12345678").unwrap();
    dialogue.frame(kind::SETTINGS, 0, 0, &[]).unwrap();
    let kinds: Vec<_> = dialogue.sent().iter().map(|(head, _)| (head.kind, head.flags)).collect();
    assert_eq!(kinds, [(kind::PING, flag::ACK), (kind::SETTINGS, flag::ACK)]);
    dialogue.put(0, b"");
    dialogue.frame(kind::HEADERS, flag::END_HEADERS, 1, OK).unwrap();
    dialogue.sent();
    let piece = vec![0; 16_384];
    for _ in 0..1000 {
        dialogue.frame(kind::DATA, 0, 1, &piece).unwrap();
    }
    let opened: u32 = dialogue
        .sent()
        .iter()
        .filter(|(head, _)| head.kind == kind::WINDOW_UPDATE && head.stream == 1)
        .map(|(_, payload)| u32::from_be_bytes(payload[..].try_into().unwrap()))
        .sum();
    assert!(opened >= 8 << 20, "{opened}");
}

#[test]
fn a_large_message_waits_for_its_windows_and_the_small_ones_behind_it_do_not_starve() {
    let mut dialogue = Dialogue::new(&[(setting::INITIAL_WINDOW_SIZE, 1000)]);
    let data = |frames: &[(Head, Vec<u8>)], stream| -> usize {
        frames
            .iter()
            .filter(|(head, _)| head.kind == kind::DATA && head.stream == stream)
            .map(|(head, _)| head.length)
            .sum()
    };
    dialogue.put(0, &[7; 40_000]);
    dialogue.put(1, &[8; 100]);
    let sent = dialogue.sent();
    assert_eq!((data(&sent, 1), data(&sent, 3)), (1000, 105));
    dialogue.frame(kind::WINDOW_UPDATE, 0, 1, &30_000u32.to_be_bytes()).unwrap();
    let sent = dialogue.sent();
    assert_eq!(data(&sent, 1), 30_000);
    assert!(sent.iter().all(|(head, _)| head.length <= frame::PAYLOAD_BYTES_MAX));
    let mut more = Vec::new();
    frame::write_settings(&mut more, &[(setting::INITIAL_WINDOW_SIZE, 20_000)]);
    dialogue.says(&more).unwrap();
    let sent = dialogue.sent();
    assert_eq!(data(&sent, 1), 9005, "a larger initial window counts for streams that are open");
    let last = sent.iter().rfind(|(head, _)| head.kind == kind::DATA).unwrap().0;
    assert!(last.has(flag::END_STREAM));
}

#[test]
fn a_small_table_and_a_limit_on_streams_are_kept_to() {
    let mut dialogue =
        Dialogue::new(&[(setting::HEADER_TABLE_SIZE, 0), (setting::MAX_CONCURRENT_STREAMS, 2)]);
    dialogue.put(0, b"");
    dialogue.put(1, b"");
    assert!(!dialogue.connection.has_room());
    let sent = dialogue.sent();
    let headers: Vec<_> = sent.iter().filter(|(head, _)| head.kind == kind::HEADERS).collect();
    assert_eq!(headers[0].1[0], 0x20, "the table is given up first");
    assert!(headers[1].1.len() > 40, "nothing is in a table");
    dialogue.answers(1);
    assert!(dialogue.connection.has_room());
}

#[test]
fn after_a_goodbye_older_calls_go_on_and_newer_ones_are_unprocessed() {
    let mut dialogue = Dialogue::new(&[]);
    (0..3).for_each(|token| dialogue.put(token, b""));
    dialogue.frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]).unwrap();
    assert_eq!(dialogue.outcomes, [(2, Err(Failure::Unprocessed))]);
    assert!(dialogue.connection.is_leaving() && !dialogue.connection.has_room());
    dialogue.answers(3);
    dialogue.answers(1);
    assert_eq!(dialogue.outcomes[1..].iter().map(revision).collect::<Vec<_>>(), [(1, 7), (0, 7)]);
    assert_eq!(dialogue.connection.open(), 0);
}

#[test]
fn a_call_that_is_given_up_is_reset_and_its_late_answer_is_no_error() {
    let mut dialogue = Dialogue::new(&[]);
    (0..3).for_each(|token| dialogue.put(token, b""));
    dialogue.answers(3);
    dialogue.sent();
    let mut late = Vec::new();
    dialogue.connection.expire(|token| *token == 0, |token| late.push(token));
    assert_eq!(late, [0]);
    assert_eq!(dialogue.sent()[0].0, Head { length: 4, kind: kind::RST_STREAM, flags: 0, stream: 1 });
    dialogue.answers(1);
    dialogue.answers(5);
    assert_eq!(dialogue.outcomes.iter().map(revision).collect::<Vec<_>>(), [(1, 7), (2, 7)]);
}

#[test]
fn header_blocks_in_pieces_and_with_padding_are_put_together() {
    let mut dialogue = Dialogue::new(&[]);
    dialogue.put(0, b"");
    let padded = [&[3][..], OK, &[0; 3]].concat();
    dialogue.frame(kind::HEADERS, flag::END_HEADERS | flag::PADDED, 1, &padded).unwrap();
    let padded = [&[2][..], MESSAGE, &[0; 2]].concat();
    dialogue.frame(kind::DATA, flag::PADDED, 1, &padded).unwrap();
    let block = trailers("0");
    dialogue.frame(kind::HEADERS, flag::END_STREAM, 1, &block[..4]).unwrap();
    dialogue.frame(kind::CONTINUATION, 0, 1, &block[4..6]).unwrap();
    dialogue.frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block[6..]).unwrap();
    assert_eq!(dialogue.outcomes.iter().map(revision).collect::<Vec<_>>(), [(0, 7)]);
}

#[test]
fn broken_rules_end_the_connection() {
    let cases: [(u8, u8, u32, &[u8]); 11] = [
        (kind::DATA, 0, 9, &[]),                                // a stream that nobody opened
        (kind::DATA, 0, 2, &[]),                                // a stream of the server's
        (kind::DATA, flag::PADDED, 1, &[9, 0]),                 // more padding than payload
        (kind::HEADERS, flag::END_HEADERS, 1, &[0x80]),         // no header
        (kind::CONTINUATION, 0, 1, &[]),                        // nothing to go on
        (kind::RST_STREAM, 0, 1, &[0]),                         // cut off
        (kind::SETTINGS, 0, 0, &[0]),                           // cut off
        (kind::SETTINGS, 0, 0, &[0, 4, 0xff, 0, 0, 0]),         // a window beyond 2^31
        (kind::PUSH_PROMISE, 0, 1, &[]),                        // pushed
        (kind::PING, 0, 0, &[1]),                               // cut off
        (kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), // beyond 2^31
    ];
    for (kind, flags, stream, payload) in cases {
        let mut dialogue = Dialogue::new(&[]);
        dialogue.put(0, b"");
        assert!(
            dialogue.frame(kind, flags, stream, payload).is_err(),
            "{kind} {flags} {stream} {payload:x?}"
        );
        dialogue.connection.fail_all(|token| assert_eq!(token, 0));
    }
    let mut connection: Connection<u32> = Connection::new(&Peer::plain("h:1"));
    let error = connection.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n", |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("frame") || error.to_string().contains("settings"), "{error}");
}

#[test]
fn the_facts_of_answers_are_read() {
    let mut dialogue = Dialogue::new(&[]);
    dialogue.put(0, b"");
    // header {revision 7}, succeeded, one response: a range with one key of mod revision 300.
    let kv = [0x0a, 1, b'k', 0x18, 0xac, 0x02];
    let range = [&[0x12, 6][..], &kv].concat();
    let response = [&[0x0a, 8][..], &range].concat();
    let message = [&[0x0a, 2, 0x18, 7, 0x10, 1, 0x1a, 10][..], &response].concat();
    let framed = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()][..], &message].concat();
    dialogue.frame(kind::HEADERS, flag::END_HEADERS, 1, OK).unwrap();
    dialogue.frame(kind::DATA, 0, 1, &framed).unwrap();
    dialogue.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &trailers("0")).unwrap();
    let answer = dialogue.outcomes[0].1.unwrap();
    assert_eq!(answer, Answer { revision: 7, number: 1, mod_revision: 300, tag: 0, bytes: message.len() });
}

/// What real servers said to seven calls, as the fuzzer's seeds: two octets of settings in front of each.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/http2");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn what_real_servers_said_is_understood() {
    for seed in seeds() {
        let mut connection = Connection::new(&Peer::plain("h:1"));
        (0..7).for_each(|token| connection.send(token, Method::Put, b""));
        let mut revisions = Vec::new();
        connection.receive(&seed[2..], |_, outcome| revisions.push(outcome.unwrap().revision)).unwrap();
        assert!(revisions.len() == 7 && revisions.iter().all(|revision| *revision > 0), "{revisions:?}");
    }
}

/// One small change, as fuzzers make them: a bit, a number at its edge, a piece left out, said twice, or another's.
fn mutate(octets: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut impl Rng) {
    let at = rng.random_range(0..octets.len());
    let end = octets.len().min(at + rng.random_range(1..40));
    match rng.random_range(0..5) {
        0 => octets[at] ^= 1 << rng.random_range(0..8),
        1 => octets[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
        2 if end - at < octets.len() => drop(octets.drain(at..end)),
        3 => {
            let piece = octets[at..end].to_vec();
            octets.splice(at..at, piece);
        }
        _ => {
            let other = &others[rng.random_range(0..others.len())];
            let from = rng.random_range(0..other.len());
            octets.splice(at..end, other[from..other.len().min(from + 40)].iter().copied());
        }
    }
}

#[test]
fn mutants_of_what_real_servers_said_are_survived() {
    let (seeds, mut rng) = (seeds(), ChaCha8Rng::seed_from_u64(2026));
    for seed in &seeds {
        for _ in 0..1000 {
            let mut mutant = seed.clone();
            for _ in 0..rng.random_range(1..6) {
                mutate(&mut mutant, &seeds, &mut rng);
            }
            super::fuzz(&mutant);
        }
    }
}

proptest! {
    /// Whatever comes, every call has one outcome and nothing panics.
    #[test]
    fn any_octets_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        super::fuzz(&bytes);
    }

    /// The same with frames that are well formed on the outside, which get further.
    #[test]
    fn any_frames_are_survived(
        requests in 0..8u8,
        cut in any::<u8>(),
        frames in proptest::collection::vec(
            (0..10u8, any::<u8>(), 0..20u32, proptest::collection::vec(any::<u8>(), 0..40)),
            0..30,
        ),
    ) {
        let mut bytes = vec![requests, cut];
        frame::write_settings(&mut bytes, &[]);
        for (kind, flags, stream, payload) in frames {
            frame::write(&mut bytes, kind, flags, stream, &payload);
        }
        super::fuzz(&bytes);
    }
}
