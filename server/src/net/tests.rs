//! The codec against hostile bytes, and connections over loopback.

use super::{
    frame::{self, Frame, FrameBuffer, FrameError},
    *,
};
use crate::{
    metrics::Metrics,
    replica::peer::{PeerMessage, Refusal, Tag},
};
use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;
use raft::{
    message::{Body, Message},
    types::{Entry, LogIndex, Membership, NodeId, Payload, SnapshotMeta, Term},
};
use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

mod tls;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const REMOVED: NodeId = NodeId(0xdead);

fn meta() -> SnapshotMeta {
    let membership = Membership { voters: [ONE, TWO].into(), ..Membership::default() };
    SnapshotMeta { index: LogIndex(9), term: Term(3), membership }
}

fn bodies() -> Vec<Body> {
    let (last_index, last_term) = (LogIndex(5), Term(2));
    let entry = |index, payload| Entry { term: Term(3), index: LogIndex(index), payload };
    let entries = vec![
        entry(6, Payload::Empty),
        entry(7, Payload::Command(Bytes::from_static(b"a command"))),
        entry(8, Payload::Membership { membership: meta().membership, context: Bytes::from_static(b"x") }),
    ];
    vec![
        Body::PreVote { last_index, last_term },
        Body::PreVoteReply { granted: true },
        Body::Vote { last_index, last_term, transfer: true },
        Body::VoteReply { granted: false },
        Body::Append { prev_index: last_index, prev_term: last_term, entries, commit: LogIndex(4) },
        Body::Appended { matched: LogIndex(8) },
        Body::AppendRejected { prev_index: LogIndex(9), hint_index: LogIndex(3), hint_term: Term(1) },
        Body::Heartbeat { commit: LogIndex(4), round: 77 },
        Body::HeartbeatReply { round: 77 },
        Body::InstallSnapshot { meta: meta() },
        Body::TimeoutNow,
    ]
}

fn message(body: Body) -> Message {
    Message { from: ONE, to: TWO, term: Term(3), body }
}

fn frames() -> Vec<Frame> {
    let tag = Tag { epoch: 11, number: 22 };
    let command = Bytes::from_static(b"put");
    let messages = [
        PeerMessage::Propose { tag, term: Term(4), command },
        PeerMessage::ProposeRefused { tag, refusal: Refusal::NotLeader },
        PeerMessage::ProposeRefused { tag, refusal: Refusal::Busy },
        PeerMessage::ReadIndex { tag },
        PeerMessage::ReadIndexed { tag, index: Some(LogIndex(7)) },
        PeerMessage::ReadIndexed { tag, index: None },
        PeerMessage::LeaseQuery { tag, query: Bytes::from_static(b"query") },
        PeerMessage::LeaseAnswer { tag, answer: Bytes::new() },
    ];
    let raft = bodies().into_iter().map(|body| PeerMessage::Raft(message(body)));
    raft.chain(messages)
        .map(Frame::Message)
        .chain([
            Frame::Ping(1),
            Frame::Pong(2),
            Frame::ImageBegin(message(Body::InstallSnapshot { meta: meta() })),
            Frame::ImageChunk(Bytes::from_static(b"chunk")),
            Frame::ImageEnd,
            Frame::ImageStored(true),
            Frame::Question(Bytes::from_static(b"who?")),
            Frame::Answer(Bytes::new()),
        ])
        .collect()
}

fn encoded() -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames() {
        frame::put(&mut out, &frame);
    }
    out
}

/// Reads frames out of `bytes`, given in pieces.
fn read(bytes: &[u8], piece: usize) -> (Vec<Frame>, Option<FrameError>) {
    let (mut buffer, mut found) = (FrameBuffer::default(), Vec::new());
    for piece in bytes.chunks(piece) {
        buffer.push(piece);
        loop {
            match buffer.next() {
                Ok(Some(content)) => match frame::decode(content, ONE, TWO) {
                    Ok(frame) => found.push(frame),
                    Err(error) => return (found, Some(error.into())),
                },
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

#[test]
fn frames_survive_the_way_in_pieces_of_any_size() {
    let bytes = encoded();
    for piece in [1, 2, 7, 64, bytes.len()] {
        let (found, error) = read(&bytes, piece);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(found, frames(), "in pieces of {piece}");
    }
}

#[test]
fn a_flip_anywhere_ends_the_stream_before_the_frame() {
    let bytes = encoded();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let (found, _) = read(&flipped, flipped.len());
            // A length that was flipped may swallow what follows, but nothing wrong comes out.
            assert_eq!(found, frames()[..found.len()], "bit {bit} of byte {at}");
            assert!(found.len() < frames().len(), "bit {bit} of byte {at} passed");
        }
    }
}

proptest! {
    #[test]
    fn no_content_makes_the_decoder_panic(content in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u8..24) {
        let content = [&[kind][..], &content].concat();
        let _ = frame::decode(content.into(), ONE, TWO);
    }

    #[test]
    fn no_stream_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes, 64);
    }
}

/// Notes what it is told.
#[derive(Default)]
struct Ear {
    messages: Mutex<Vec<(NodeId, PeerMessage)>>,
    image: Arc<Mutex<Vec<u8>>>,
    sent: Mutex<Vec<(NodeId, bool)>>,
    lost: Mutex<u32>,
    turned_away: Mutex<Vec<NodeId>>,
    full: bool,
}

impl Receiver for Ear {
    fn messages(&self, from: NodeId, messages: &mut Vec<PeerMessage>) {
        self.messages.lock().extend(messages.drain(..).map(|message| (from, message)));
    }

    fn reachable(&self, _: NodeId) {}

    fn unreachable(&self, _: NodeId) {
        *self.lost.lock() += 1;
    }

    fn image(&self, _: NodeId, _: SnapshotMeta) -> io::Result<Box<dyn ImageSink>> {
        if self.full {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(Box::new(Sink(self.image.clone())))
        }
    }

    fn is_removed(&self, id: NodeId) -> bool {
        id == REMOVED
    }

    fn removed(&self, by: NodeId) {
        self.turned_away.lock().push(by);
    }

    fn question(&self, from: Option<NodeId>, question: Bytes) -> Bytes {
        let from = from.map_or(0, |id| id.0).to_le_bytes();
        [&from[..], &question].concat().into()
    }

    fn image_sent(&self, to: NodeId, ok: bool) {
        self.sent.lock().push((to, ok));
    }
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl ImageSink for Sink {
    fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.0.lock().extend_from_slice(chunk);
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

struct Chunks(Vec<Vec<u8>>);

impl ImageSource for Chunks {
    fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        Ok(if self.0.is_empty() { None } else { Some(self.0.remove(0)) })
    }
}

fn start(node: NodeId, cluster: u64, listener: TcpListener, ear: &Arc<Ear>) -> Network {
    start_with(Duration::from_secs(3), node, cluster, listener, ear)
}

fn start_with(
    election: Duration,
    node: NodeId,
    cluster: u64,
    listener: TcpListener,
    ear: &Arc<Ear>,
) -> Network {
    let heartbeat = Duration::from_millis(20);
    let settings =
        Settings { own: Party { cluster, node }, heartbeat, election, tls: None, metrics: Arc::default() };
    Network::start(settings, vec![listener.into()], ear.clone()).unwrap()
}

fn connect(network: &mut Network, to: NodeId, address: SocketAddr) {
    network.set_peers(&BTreeMap::from([(to, vec![Address::of_url(&format!("http://{address}"))])])).unwrap();
}

fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn say(network: &mut Network, to: NodeId, number: u64) -> bool {
    let tag = Tag { epoch: 1, number };
    let queued = network.queue(to, &PeerMessage::ReadIndex { tag });
    network.flush();
    queued
}

#[test]
fn messages_arrive_in_order_and_flow_again_after_the_peer_was_gone() {
    let (ears, (listener, address)) = ([Arc::new(Ear::default()), Arc::new(Ear::default())], bind());
    let mut one = start(ONE, 5, bind().0, &ears[0]);
    connect(&mut one, TWO, address);
    assert!(!say(&mut one, TWO, 0), "there is nobody yet: a message surely does not go out");
    drop(listener);
    for life in 1..=2 {
        ears[1].messages.lock().clear();
        let two = start(TWO, 5, rebind(address), &ears[1]);
        eventually("the peer is reached", || say(&mut one, TWO, 1));
        for number in 2..=1000 {
            eventually("a message is taken", || say(&mut one, TWO, number));
        }
        eventually("all have arrived", || ears[1].messages.lock().len() >= 1000);
        let numbers: Vec<u64> = ears[1]
            .messages
            .lock()
            .iter()
            .map(|(from, message)| match message {
                PeerMessage::ReadIndex { tag } if *from == ONE => tag.number,
                other => panic!("{from}: {other:?}"),
            })
            .collect();
        assert!(numbers.ends_with(&(2..=1000).collect::<Vec<_>>()), "{numbers:?}");
        drop(two);
        eventually("the loss is noticed", || *ears[0].lost.lock() >= life);
    }
}

#[test]
fn it_is_measured_how_long_a_peer_takes_to_answer() {
    let (listener, address) = bind();
    let ear = Arc::new(Ear::default());
    let _two = start(TWO, 5, listener, &ear);
    let metrics = Arc::new(Metrics::default());
    let (heartbeat, election) = (Duration::from_millis(20), Duration::from_secs(3));
    let own = Party { cluster: 5, node: ONE };
    let settings = Settings { own, heartbeat, election, tls: None, metrics: metrics.clone() };
    let mut one = Network::start(settings, vec![bind().0.into()], ear.clone()).unwrap();
    connect(&mut one, TWO, address);
    let round_trips = &metrics.peers.of(TWO).round_trips;
    eventually("an answer has come", || round_trips.count() == 1);
    assert!(round_trips.sum_s() < 1.5, "less than it is waited for: {}", round_trips.sum_s());
}

fn rebind(address: SocketAddr) -> TcpListener {
    let mut bound = None;
    eventually("the port is free", || {
        bound = TcpListener::bind(address).ok();
        bound.is_some()
    });
    bound.unwrap()
}

#[test]
fn a_peer_that_accepts_but_never_answers_is_given_up() {
    let (silent, address) = bind();
    let ear = Arc::new(Ear::default());
    let mut one = start_with(Duration::from_millis(250), ONE, 5, bind().0, &ear);
    connect(&mut one, TWO, address);
    let (mut stream, _) = silent.accept().unwrap();
    handshake::answer(&mut stream, Party { cluster: 5, node: TWO }, |_| false).unwrap();
    // It reads, and says nothing more: no pong.
    let begun = Instant::now();
    let mut sink = Vec::new();
    let _ = stream.read_to_end(&mut sink);
    eventually("the loss is noticed", || *ear.lost.lock() == 1);
    assert!(begun.elapsed() >= Duration::from_millis(240), "given up after {:?}", begun.elapsed());
    assert!(!sink.is_empty(), "it was pinged");
}

#[test]
fn strangers_are_refused_and_told_what_differs() {
    let (listener, address) = bind();
    let ear = Arc::new(Ear::default());
    let _two = start(TWO, 5, listener, &ear);
    for (own, to, want) in [
        (Party { cluster: 6, node: ONE }, TWO, "cluster 5"),
        (Party { cluster: 5, node: ONE }, NodeId(3), "member 2 is there"),
        (Party { cluster: 5, node: TWO }, TWO, "refused"),
        (Party { cluster: 5, node: REMOVED }, TWO, "was removed"),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        let error = handshake::call(&mut stream, own, to, handshake::Purpose::Messages).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
    // An HTTP client, say.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: somewhere-or-other\r\n\r\n").unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0, "the connection is closed");
    assert!(ear.messages.lock().is_empty());
}

#[test]
fn a_newer_connection_of_a_peer_replaces_the_older() {
    let (listener, address) = bind();
    let ear = Arc::new(Ear::default());
    let _two = start(TWO, 5, listener, &ear);
    let dial = || {
        let mut stream = TcpStream::connect(address).unwrap();
        let own = Party { cluster: 5, node: ONE };
        handshake::call(&mut stream, own, TWO, handshake::Purpose::Messages).unwrap();
        stream
    };
    let mut older = dial();
    let mut newer = dial();
    assert_eq!(older.read(&mut [0; 8]).unwrap_or(0), 0, "the older connection is closed");
    let mut ping = Vec::new();
    frame::put(&mut ping, &Frame::Ping(1));
    newer.write_all(&ping).unwrap();
    assert!(newer.read(&mut [0; 64]).unwrap() > 0, "the newer one is answered");
}

#[test]
fn a_snapshot_without_its_image_ends_the_connection() {
    let (listener, address) = bind();
    let ears = [Arc::new(Ear::default()), Arc::new(Ear::default())];
    let mut one = start(ONE, 5, bind().0, &ears[0]);
    let _two = start(TWO, 5, listener, &ears[1]);
    connect(&mut one, TWO, address);
    eventually("the peer is reached", || say(&mut one, TWO, 1));
    one.queue(TWO, &PeerMessage::Raft(message(Body::InstallSnapshot { meta: meta() })));
    one.flush();
    eventually("the loss is noticed", || *ears[0].lost.lock() == 1);
    let raft = |(_, message): &(NodeId, PeerMessage)| matches!(message, PeerMessage::Raft(_));
    assert!(!ears[1].messages.lock().iter().any(raft));
}

#[test]
fn an_image_comes_with_its_message_or_not_at_all() {
    for full in [false, true] {
        let (listener, address) = bind();
        let ears = [Arc::new(Ear::default()), Arc::new(Ear { full, ..Ear::default() })];
        let mut one = start(ONE, 5, bind().0, &ears[0]);
        let _two = start(TWO, 5, listener, &ears[1]);
        connect(&mut one, TWO, address);
        let chunks: Vec<Vec<u8>> = (0..20).map(|at| vec![at; 100_000]).collect();
        let whole = chunks.concat();
        let install = message(Body::InstallSnapshot { meta: meta() });
        one.send_image(install.clone(), Box::new(Chunks(chunks)));
        eventually("the sender knows", || !ears[0].sent.lock().is_empty());
        assert_eq!(*ears[0].sent.lock(), [(TWO, !full)]);
        let messages = ears[1].messages.lock().clone();
        if full {
            assert_eq!(messages, []);
        } else {
            assert_eq!(messages, [(ONE, PeerMessage::Raft(install))]);
            assert_eq!(*ears[1].image.lock(), whole);
        }
    }
}

#[test]
fn members_and_strangers_may_ask() {
    let (listener, address) = bind();
    let ear = Arc::new(Ear::default());
    let _two = start(TWO, 5, listener, &ear);
    let address = Address::of_url(&format!("http://{address}"));
    let (heartbeat, election) = (Duration::from_millis(20), Duration::from_secs(3));
    let of = |own| Settings { own, heartbeat, election, tls: None, metrics: Arc::default() };
    let member = of(Party { cluster: 5, node: ONE });
    let answer = ask(&address, &member, Some(TWO), Bytes::from_static(b"?")).unwrap();
    assert_eq!(answer[..], *b"\x01\0\0\0\0\0\0\0?");
    let stranger = of(Party { cluster: 0, node: NodeId(0) });
    let answer = ask(&address, &stranger, None, Bytes::from_static(b"?")).unwrap();
    assert_eq!(answer[..], *b"\0\0\0\0\0\0\0\0?", "it has no name");
    let other = of(Party { cluster: 6, node: ONE });
    assert!(ask(&address, &other, Some(TWO), Bytes::new()).is_err(), "of another cluster");
}

#[test]
fn who_was_removed_is_told_so() {
    let (listener, address) = bind();
    let (ear, removed_ear) = (Arc::new(Ear::default()), Arc::new(Ear::default()));
    let _two = start(TWO, 5, listener, &ear);
    let mut removed = start(REMOVED, 5, bind().0, &removed_ear);
    connect(&mut removed, TWO, address);
    eventually("it is told", || removed_ear.turned_away.lock().contains(&TWO));
}
