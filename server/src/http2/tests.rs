//! What a client and the server say to each other, frame by frame.

use super::{
    Connection, Event, code,
    connection::{
        CONNECTION_WINDOW_BYTES, HEADER_BYTES_MAX, STREAM_WINDOW_BYTES, STREAMS_MAX, WAITING_BYTES_MAX,
    },
    frame::{self, HEAD_BYTES, Head, flag, kind, setting},
    hpack::{Decoder, Encoder},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

/// A client that writes frames by hand.
struct Client {
    server: Connection<String>,
    encoder: Encoder,
    decoder: Decoder,
}

/// A frame that the server wrote.
type Frame = (Head, Vec<u8>);

const REQUEST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/etcdserverpb.KV/Put"),
    (":authority", "http://h:1"),
];

impl Client {
    fn new() -> Client {
        let server = Connection::new(|request| format!("{} {}", request.method(), request.uri()));
        let mut client = Client { server, encoder: Encoder::new(), decoder: Decoder::new() };
        client.frame(kind::SETTINGS, 0, 0, &[]).expect("settings");
        let said: Vec<u8> = client.said().iter().map(|(head, _)| head.kind).collect();
        assert_eq!(said, [kind::SETTINGS, kind::WINDOW_UPDATE, kind::SETTINGS]);
        client
    }

    fn octets(&mut self, octets: &[u8]) -> Result<Vec<Event<String>>, u32> {
        let mut events = Vec::new();
        self.server.receive(octets, &mut events).map_err(|broken| broken.code)?;
        Ok(events)
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<Vec<Event<String>>, u32> {
        let mut out = Vec::new();
        frame::write(&mut out, kind, flags, stream, payload);
        self.octets(&out)
    }

    fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        self.encoder.encode(&mut block, headers);
        block
    }

    fn begin(&mut self, stream: u32) {
        let block = self.block(&REQUEST);
        let events = self.frame(kind::HEADERS, flag::END_HEADERS, stream, &block).expect("a request");
        assert!(
            matches!(&events[..], [Event::Head { head, end: false, .. }] if **head == "POST /etcdserverpb.KV/Put")
        );
    }

    /// Begins a request, and ends it.
    fn call(&mut self, stream: u32) {
        self.begin(stream);
        let events = self.frame(kind::DATA, flag::END_STREAM, stream, b"abc").expect("its body");
        assert!(matches!(&events[..], [Event::Data { data, end: true, .. }] if data == "abc"));
        self.server.consumed(stream, 3);
    }

    /// All frames that the server has to say.
    fn said(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut octets = self.server.to_write();
        while let Some(head) = octets.first_chunk::<HEAD_BYTES>() {
            let head = Head::read(head);
            let (payload, rest) = octets[HEAD_BYTES..].split_at(head.length);
            frames.push((head, payload.to_vec()));
            octets = rest;
        }
        assert!(octets.is_empty(), "half a frame");
        self.server.written(self.server.to_write().len());
        frames
    }

    fn headers(&mut self, block: &[u8]) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        self.decoder.decode(block, |name, value| headers.push((text(name), text(value)))).expect("a block");
        headers
    }
}

fn kinds(frames: &[Frame]) -> Vec<(u8, u32, u8)> {
    frames.iter().map(|(head, _)| (head.kind, head.stream, head.flags)).collect()
}

#[test]
fn an_answer_is_a_head_a_message_and_trailers_and_gets_short() {
    let mut client = Client::new();
    let mut lengths = Vec::new();
    for stream in [1, 3, 5] {
        client.call(stream);
        client.server.answer(stream, b"\0\0\0\0\x01m");
        let frames = client.said();
        let whole = flag::END_HEADERS | flag::END_STREAM;
        let want = [
            (kind::HEADERS, stream, flag::END_HEADERS),
            (kind::DATA, stream, 0),
            (kind::HEADERS, stream, whole),
        ];
        assert_eq!(kinds(&frames), want);
        assert_eq!(frames[1].1, b"\0\0\0\0\x01m");
        let head = client.headers(&frames[0].1);
        assert_eq!(head[0], (":status".to_owned(), "200".to_owned()));
        assert_eq!(head[1].1, "application/grpc");
        assert_eq!(client.headers(&frames[2].1), [("grpc-status".to_owned(), "0".to_owned())]);
        lengths.push((frames[0].1.len(), frames[2].1.len()));
        assert_eq!(client.server.streams(), 0);
    }
    assert_eq!(lengths[1..], [(2, 1), (2, 1)]);
}

#[test]
fn what_the_windows_have_no_room_for_waits_and_streams_take_turns() {
    let mut client = Client::new();
    let update = |bytes: u32| bytes.to_be_bytes();
    client.call(1);
    client.call(3);
    client.server.answer(1, &[1; 100_000]);
    client.server.answer(3, &[3; 100_000]);
    let mut parts = 0;
    client.server.send_pending(usize::MAX, |_| parts += 1);
    let frames = client.said();
    let sent: usize =
        frames.iter().filter(|(head, _)| head.kind == kind::DATA).map(|(head, _)| head.length).sum();
    assert_eq!(sent, 65_535, "the window of the connection");
    let order: Vec<u32> = frames[2..].iter().map(|(head, _)| head.stream).collect();
    assert_eq!(order, [1, 3, 1, 3], "{frames:?}");
    assert_eq!(parts, 0);
    // More room on the connection alone, then on the streams too.
    assert!(client.frame(kind::WINDOW_UPDATE, 0, 0, &update(1 << 20)).unwrap().is_empty());
    client.server.send_pending(usize::MAX, |_| parts += 1);
    let more: usize = client.said().iter().map(|(head, _)| head.length).sum();
    assert_eq!(more, 65_535, "the windows of both streams");
    client.frame(kind::WINDOW_UPDATE, 0, 3, &update(1 << 20)).unwrap();
    client
        .frame(
            kind::SETTINGS,
            0,
            0,
            &[[0, setting::INITIAL_WINDOW_SIZE as u8].as_slice(), &update(1 << 20)].concat(),
        )
        .unwrap();
    client.server.send_pending(usize::MAX, |_| parts += 1);
    let frames = client.said();
    assert_eq!(parts, 2, "both bodies went");
    let ends: Vec<u32> = frames
        .iter()
        .filter(|(head, _)| head.has(flag::END_STREAM) && head.kind == kind::HEADERS)
        .map(|(head, _)| head.stream)
        .collect();
    assert_eq!(ends.len(), 2);
    assert_eq!(client.server.streams(), 0);
}

#[test]
fn a_bound_on_what_is_to_be_written_is_kept() {
    let mut client = Client::new();
    client.frame(kind::WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes()).unwrap();
    let payload = [[0, setting::INITIAL_WINDOW_SIZE as u8].as_slice(), &(1_u32 << 30).to_be_bytes()].concat();
    client.frame(kind::SETTINGS, 0, 0, &payload).unwrap();
    client.said();
    client.call(1);
    client.server.head(1, 200, &HeaderMap::new(), false);
    client.server.data(1, Bytes::from(vec![0; 1 << 20]));
    client.server.end(1, None);
    client.server.send_pending(100_000, |_| panic!("it does not all fit"));
    assert!((100_000..130_000).contains(&client.server.to_write().len()));
    let mut sent = 0;
    while client.server.streams() > 0 {
        let octets = client.server.to_write().len();
        client.server.written(octets);
        client.server.send_pending(100_000, |_| sent += 1);
    }
    assert_eq!(sent, 1);
}

#[test]
fn bodies_and_headers_come_in_pieces_of_any_size() {
    let mut out = Vec::new();
    frame::write(&mut out, kind::SETTINGS, 0, 0, &[]);
    let mut block = Vec::new();
    Encoder::new().encode(&mut block, &REQUEST);
    // A priority, padding, and two continuations.
    let (first, rest) = block.split_at(5);
    let (second, third) = rest.split_at(9);
    let begun = [&[2][..], &[0, 0, 0, 0, 16], first, &[0, 0]].concat();
    frame::write(&mut out, kind::HEADERS, flag::PADDED | flag::PRIORITY, 1, &begun);
    frame::write(&mut out, kind::CONTINUATION, 0, 1, second);
    frame::write(&mut out, kind::CONTINUATION, flag::END_HEADERS, 1, third);
    frame::write(&mut out, kind::DATA, flag::PADDED, 1, b"\x03ab\0\0\0");
    frame::write(&mut out, kind::DATA, 0, 1, b"c");
    frame::write(&mut out, 0x42, 0xff, 1, b"unknown frames are ignored");
    frame::write(&mut out, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &[0, 1, b'x', 1, b'y']);
    for piece in [1, 2, 3, 7, 9, 10, 64, 1000] {
        let mut server = Connection::new(|request| request.uri().path().to_owned());
        let mut events = Vec::new();
        for octets in out.chunks(piece) {
            server.receive(octets, &mut events).expect("the rules are kept");
        }
        let (mut heads, mut body, mut ends) = (Vec::new(), Vec::new(), 0);
        for event in events {
            match event {
                Event::Head { head, end: false, .. } => heads.push(head),
                Event::Data { data, end, .. } => {
                    body.extend_from_slice(&data);
                    ends += u32::from(end);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            (heads.len(), &heads[0][..], &body[..], ends),
            (1, "/etcdserverpb.KV/Put", &b"abc"[..], 1)
        );
    }
}

#[test]
fn a_head_that_was_seen_before_is_the_same_thing() {
    let mut client = Client::new();
    let mut heads = Vec::new();
    for stream in [1, 3, 5] {
        let block = client.block(&REQUEST);
        let events = client.frame(kind::HEADERS, flag::END_HEADERS, stream, &block).unwrap();
        let [Event::Head { head, .. }] = &events[..] else { panic!("{events:?}") };
        heads.push(head.clone());
    }
    assert!(std::sync::Arc::ptr_eq(&heads[1], &heads[2]), "decoded once");
    // The same octets mean something else once the table has changed.
    let block = client.block(&REQUEST);
    let other = client.block(&[(":path", "/etcdserverpb.KV/Range")]);
    let changed = [&client.block(&REQUEST[..2])[..], &other].concat();
    client.frame(kind::HEADERS, flag::END_HEADERS, 7, &changed).unwrap();
    let events = client.frame(kind::HEADERS, flag::END_HEADERS, 9, &block).unwrap();
    assert!(
        !matches!(&events[..], [Event::Head { head, .. }] if **head == "POST /etcdserverpb.KV/Put"),
        "{events:?}"
    );
}

#[test]
fn room_is_given_back_for_what_is_consumed_and_for_what_nobody_will() {
    let mut client = Client::new();
    let part = [0; frame::PAYLOAD_BYTES_MAX];
    let mut stream = 1;
    let mut sent = 0_u64;
    // Far more than the windows: half is consumed, half is given up unread.
    while sent < 3 * u64::from(CONNECTION_WINDOW_BYTES) {
        client.begin(stream);
        for n in 0..STREAM_WINDOW_BYTES as usize / part.len() {
            client.frame(kind::DATA, 0, stream, &part).expect("there is room");
            sent += part.len() as u64;
            if n % 2 == 0 {
                client.server.consumed(stream, part.len());
            }
        }
        let events = client.frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]).unwrap();
        assert!(matches!(&events[..], [Event::Reset { .. }]));
        client.said();
        stream += 2;
    }
    // And no more than that.
    client.begin(stream);
    let mut overrun = Ok(Vec::new());
    for _ in 0..=STREAM_WINDOW_BYTES as usize / part.len() {
        overrun = client.frame(kind::DATA, 0, stream, &part);
    }
    assert_eq!(overrun.map(|_| ()), Err(code::FLOW_CONTROL_ERROR));
}

#[test]
fn who_is_answered_early_is_told_to_stop_and_what_comes_late_is_ignored() {
    let mut client = Client::new();
    client.begin(1);
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from_static("8"));
    headers.insert("connection", HeaderValue::from_static("close"));
    client.server.head(1, 200, &headers, true);
    let frames = client.said();
    assert_eq!(kinds(&frames)[1], (kind::RST_STREAM, 1, 0));
    assert_eq!(frames[1].1, [0, 0, 0, 0]);
    assert_eq!(client.headers(&frames[0].1).len(), 2, "no header of HTTP/1");
    assert!(client.frame(kind::DATA, flag::END_STREAM, 1, b"late").unwrap().is_empty());
    assert!(client.frame(kind::RST_STREAM, 0, 1, &[0; 4]).unwrap().is_empty());
    assert!(client.frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).unwrap().is_empty());
    client.server.answer(1, b"nobody hears this");
    client.server.data(1, Bytes::from_static(b"nor this"));
    client.server.end(1, None);
    client.server.reset(1, code::INTERNAL_ERROR);
    assert_eq!(client.said().len(), 0);
}

#[test]
fn a_very_long_text_continues_in_more_frames() {
    let mut client = Client::new();
    client.call(1);
    let mut headers = HeaderMap::new();
    headers.insert("grpc-message", HeaderValue::from_str(&"x".repeat(40_000)).unwrap());
    client.server.head(1, 200, &headers, true);
    let frames = client.said();
    let want = [
        (kind::HEADERS, 1, flag::END_STREAM),
        (kind::CONTINUATION, 1, 0),
        (kind::CONTINUATION, 1, flag::END_HEADERS),
    ];
    assert_eq!(kinds(&frames), want);
    let block: Vec<u8> = frames.into_iter().flat_map(|(_, payload)| payload).collect();
    assert_eq!(client.headers(&block)[1].1.len(), 40_000);
}

#[test]
fn pings_settings_and_goodbyes_are_answered() {
    let mut client = Client::new();
    client.frame(kind::PING, 0, 0, b"12345678").unwrap();
    client.frame(kind::PING, flag::ACK, 0, b"12345678").unwrap();
    client.frame(kind::SETTINGS, flag::ACK, 0, &[]).unwrap();
    client.frame(kind::GOAWAY, 0, 0, &[0; 8]).unwrap();
    let frames = client.said();
    assert_eq!(kinds(&frames), [(kind::PING, 0, flag::ACK)]);
    assert_eq!(frames[0].1, b"12345678");
    client.begin(1);
    client.server.wind_up();
    client.begin(3);
    client.server.close(code::NO_ERROR, "");
    let last: Vec<u32> = client
        .said()
        .iter()
        .map(|(_, payload)| u32::from_be_bytes(payload[..4].try_into().unwrap()))
        .collect();
    assert_eq!(last, [i32::MAX as u32, 3], "what comes while it winds up is served");
}

#[test]
fn who_breaks_the_rules_of_the_connection_is_told_which() {
    let mut huge = Vec::new();
    Head { length: 20_000, kind: kind::DATA, flags: 0, stream: 1 }.write(&mut huge);
    let one = |kind, flags, stream, payload: &[u8]| {
        let mut out = Vec::new();
        frame::write(&mut out, kind, flags, stream, payload);
        out
    };
    let end = flag::END_HEADERS;
    let goes_on = [one(kind::HEADERS, 0, 3, &[0x83]), one(kind::PING, 0, 0, &[0; 8])].concat();
    let endless: Vec<u8> = std::iter::once(one(kind::HEADERS, 0, 3, &[]))
        .chain((0..=HEADER_BYTES_MAX / 16_000).map(|_| one(kind::CONTINUATION, 0, 3, &[0; 16_000])))
        .flatten()
        .collect();
    let setting = |name: u16, value: u32| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    for (why, octets, want) in [
        ("a frame that is too large", huge, code::FRAME_SIZE_ERROR),
        ("data of no stream", one(kind::DATA, 0, 0, b"x"), code::PROTOCOL_ERROR),
        ("data of a stream to come", one(kind::DATA, 0, 9, b"x"), code::PROTOCOL_ERROR),
        ("padding without end", one(kind::DATA, flag::PADDED, 1, b"\x09ab"), code::PROTOCOL_ERROR),
        ("an even stream", one(kind::HEADERS, end, 2, &[0x83]), code::PROTOCOL_ERROR),
        (
            "a block that cannot be decoded",
            one(kind::HEADERS, end, 3, &[0xff, 0xff]),
            code::COMPRESSION_ERROR,
        ),
        ("a block that does not go on", goes_on, code::PROTOCOL_ERROR),
        ("a block without end", endless, code::ENHANCE_YOUR_CALM),
        ("a continuation of nothing", one(kind::CONTINUATION, end, 3, &[]), code::PROTOCOL_ERROR),
        ("a push", one(kind::PUSH_PROMISE, end, 1, &[0; 4]), code::PROTOCOL_ERROR),
        ("a short ping", one(kind::PING, 0, 0, &[0; 7]), code::FRAME_SIZE_ERROR),
        ("a ping of a stream", one(kind::PING, 0, 1, &[0; 8]), code::PROTOCOL_ERROR),
        ("a reset of nothing", one(kind::RST_STREAM, 0, 5, &[0; 4]), code::PROTOCOL_ERROR),
        ("a short reset", one(kind::RST_STREAM, 0, 1, &[0; 3]), code::FRAME_SIZE_ERROR),
        ("settings of a stream", one(kind::SETTINGS, 0, 1, &[]), code::PROTOCOL_ERROR),
        ("short settings", one(kind::SETTINGS, 0, 0, &[0; 5]), code::FRAME_SIZE_ERROR),
        (
            "a push setting of 2",
            one(kind::SETTINGS, 0, 0, &setting(setting::ENABLE_PUSH, 2)),
            code::PROTOCOL_ERROR,
        ),
        (
            "a small frame size",
            one(kind::SETTINGS, 0, 0, &setting(setting::MAX_FRAME_SIZE, 1)),
            code::PROTOCOL_ERROR,
        ),
        (
            "a huge window",
            one(kind::SETTINGS, 0, 0, &setting(setting::INITIAL_WINDOW_SIZE, 1 << 31)),
            code::FLOW_CONTROL_ERROR,
        ),
        ("a window that does not grow", one(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), code::FLOW_CONTROL_ERROR),
        (
            "a window that overflows",
            one(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            code::FLOW_CONTROL_ERROR,
        ),
    ] {
        let mut client = Client::new();
        client.begin(1);
        assert_eq!(client.octets(&octets).map(|_| ()), Err(want), "{why}");
    }
    let mut silent = Connection::new(|_| ());
    assert!(silent.receive(&one(kind::PING, 0, 0, &[0; 8]), &mut Vec::new()).is_err(), "settings come first");
}

#[test]
fn a_request_that_is_none_ends_its_stream_alone() {
    let path = (":path", "/x");
    for (why, headers) in [
        ("no method", vec![(":scheme", "http"), path]),
        ("no path", vec![(":method", "POST"), (":scheme", "http")]),
        ("no scheme", vec![(":method", "POST"), path]),
        ("two paths", vec![(":method", "POST"), (":scheme", "http"), path, path]),
        ("a path that is none", vec![(":method", "POST"), (":scheme", "http"), (":path", "a b")]),
        ("a late method", vec![(":scheme", "http"), path, ("a", "b"), (":method", "POST")]),
        ("an unknown one", vec![(":method", "POST"), (":scheme", "http"), path, (":what", "x")]),
        ("capitals", vec![(":method", "POST"), (":scheme", "http"), path, ("A", "b")]),
        ("a connection", vec![(":method", "POST"), (":scheme", "http"), path, ("connection", "close")]),
        ("a line end", vec![(":method", "POST"), (":scheme", "http"), path, ("a", "b\nc")]),
    ] {
        let mut client = Client::new();
        let block = client.block(&headers);
        assert!(client.frame(kind::HEADERS, flag::END_HEADERS, 1, &block).unwrap().is_empty(), "{why}");
        assert_eq!(kinds(&client.said()), [(kind::RST_STREAM, 1, 0)], "{why}");
        client.call(3);
    }
    // Few octets, large headers: one value of 3000 octets that stands in the table, again and again.
    let mut client = Client::new();
    let long = "v".repeat(3000);
    let mut headers = REQUEST.to_vec();
    headers.extend(vec![("n", &long[..]); 30]);
    let block = client.block(&headers);
    assert!(client.frame(kind::HEADERS, flag::END_HEADERS, 1, &block).unwrap().is_empty());
    assert_eq!(kinds(&client.said()), [(kind::RST_STREAM, 1, 0)]);
}

#[test]
fn who_takes_no_answers_is_refused_more_until_it_does() {
    let mut client = Client::new();
    let payload = [[0, setting::INITIAL_WINDOW_SIZE as u8].as_slice(), &[0; 4]].concat();
    client.frame(kind::SETTINGS, 0, 0, &payload).unwrap();
    let answer = vec![0; 1 << 20];
    let mut answered = 0;
    let refused = (0..).map(|n| 1 + 2 * n).find(|stream| {
        let block = client.block(&REQUEST);
        let begun = client.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, *stream, &block);
        if begun.unwrap().is_empty() {
            return true;
        }
        client.server.answer(*stream, &answer);
        answered += 1;
        false
    });
    let refused = refused.expect("an end");
    assert_eq!(answered, (WAITING_BYTES_MAX >> 20) + 1);
    let last = client.said().pop().expect("a refusal");
    assert_eq!((last.0.kind, last.0.stream, &last.1[..]), (kind::RST_STREAM, refused, &[0, 0, 0, 7][..]));
    // One answer is given up, another is taken.
    client.frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]).unwrap();
    client.begin(refused + 2);
    client.frame(kind::WINDOW_UPDATE, 0, 0, &(8_u32 << 20).to_be_bytes()).unwrap();
    client.frame(kind::WINDOW_UPDATE, 0, 3, &(8_u32 << 20).to_be_bytes()).unwrap();
    client.server.send_pending(usize::MAX, |_| {});
    assert_eq!(client.server.streams(), answered - 2 + 1);
    assert_eq!(client.server.waiting, (answered - 2) << 20);
}

#[test]
fn requests_without_end_are_stopped() {
    let mut client = Client::new();
    client.begin(1);
    let block = client.block(&REQUEST);
    let mut out = Vec::new();
    let mut begun = 0;
    let refused = (1..).map(|n| 1 + 2 * n).find_map(|stream| {
        out.clear();
        frame::write(&mut out, kind::HEADERS, flag::END_HEADERS, stream, &block);
        begun += 1;
        client.octets(&out).err()
    });
    assert_eq!((refused, begun), (Some(code::ENHANCE_YOUR_CALM), STREAMS_MAX));
}

#[test]
fn a_breach_within_a_stream_resets_it() {
    let mut client = Client::new();
    client.call(1);
    let events = client.frame(kind::DATA, 0, 1, b"after the end").unwrap();
    assert!(matches!(&events[..], [Event::Reset { stream: 1 }]));
    assert_eq!(client.said()[0].1, code::STREAM_CLOSED.to_be_bytes());
    client.begin(3);
    let events = client.frame(kind::WINDOW_UPDATE, 0, 3, &[0; 4]).unwrap();
    assert!(matches!(&events[..], [Event::Reset { stream: 3 }]));
    client.begin(5);
    let events = client.frame(kind::HEADERS, flag::END_HEADERS, 5, &[]).unwrap();
    assert!(matches!(&events[..], [Event::Reset { stream: 5 }]), "trailers that do not end it");
}
