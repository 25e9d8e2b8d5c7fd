//! What peers may send, whatever it is; for fuzzing.

use super::{
    Party,
    frame::{self, FrameBuffer},
    handshake,
};
use raft::types::NodeId;
use std::io::Cursor;

const FROM: NodeId = NodeId(1);
const TO: NodeId = NodeId(2);

/// Feeds the peer protocol whatever bytes: as the beginning of a connection, as a stream of frames, and as the content
/// of a frame whose checksum is right.
///
/// # Panics
/// If what was read does not survive being written and read again.
pub fn fuzz(bytes: &[u8]) {
    let _ = handshake::answer(&mut Cursor::new(bytes.to_vec()), Party { cluster: 5, node: TO }, |_| false);
    let mut buffer = FrameBuffer::default();
    for piece in bytes.chunks(7) {
        buffer.push(piece);
        loop {
            match buffer.next() {
                Ok(Some(content)) => drop(frame::decode(content, FROM, TO)),
                Ok(None) => break,
                Err(_) => return content(bytes),
            }
        }
    }
    content(bytes);
}

fn content(bytes: &[u8]) {
    let Ok(read) = frame::decode(bytes.to_vec().into(), FROM, TO) else { return };
    let mut written = Vec::new();
    frame::put(&mut written, &read);
    let mut buffer = FrameBuffer::default();
    buffer.push(&written);
    let content = buffer.next().expect("what is written can be read").expect("it is whole");
    assert_eq!(frame::decode(content, FROM, TO).expect("it is a frame"), read);
}
