//! An answer of a watch stream, put together from shared events.

use crate::{
    proto::etcdserverpb::{ResponseHeader, WatchResponse},
    watch::Block,
};
use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{self, DecodeContext, WireType},
};
use std::{borrow::Cow, sync::Arc};

/// What goes out. Encodes as a [`WatchResponse`], with events that were encoded before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) header: ResponseHeader,
    /// -1: of all watches of the stream, or of one that could not be created.
    pub(crate) watch_id: i64,
    pub(crate) created: bool,
    pub(crate) canceled: bool,
    pub(crate) compact_revision: i64,
    pub(crate) cancel_reason: Cow<'static, str>,
    pub(crate) fragment: bool,
    /// Blocks, and the places of events in them.
    pub(crate) events: Vec<(Arc<Block>, u32)>,
    /// Whether events carry the pairs as they were before.
    pub(crate) prev_kv: bool,
}

/// Tag of the events in a [`WatchResponse`].
const EVENTS: u32 = 11;

impl Outgoing {
    /// As a message.
    pub(crate) fn to_message(&self) -> WatchResponse {
        let event = |(block, at): &(Arc<Block>, u32)| block.events[*at as usize].event(self.prev_kv);
        WatchResponse { events: self.events.iter().map(event).collect(), ..self.frame() }
    }

    /// Cuts the events into pieces that stay below `bytes` where more than one event is in them.
    pub(crate) fn fragments(mut self, bytes: usize) -> Vec<Outgoing> {
        let mut pieces = Vec::new();
        let mut rest = std::mem::take(&mut self.events);
        let head = self.encoded_len() + 2;
        while !rest.is_empty() {
            let mut size = head;
            let fit = |(place, event): (usize, &(Arc<Block>, u32))| {
                size += self.event_len(event);
                place == 0 || size < bytes
            };
            let count = rest.iter().enumerate().map(fit).take_while(|fits| *fits).count();
            let later = rest.split_off(count);
            let fragment = !later.is_empty();
            pieces.push(Outgoing { events: std::mem::replace(&mut rest, later), fragment, ..self.clone() });
        }
        pieces
    }

    fn event_len(&self, (block, at): &(Arc<Block>, u32)) -> usize {
        let len = block.events[*at as usize].wire(self.prev_kv).len();
        encoding::key_len(EVENTS) + encoding::encoded_len_varint(len as u64) + len
    }

    /// Everything but the events.
    fn frame(&self) -> WatchResponse {
        WatchResponse {
            header: Some(self.header),
            watch_id: self.watch_id,
            created: self.created,
            canceled: self.canceled,
            compact_revision: self.compact_revision,
            cancel_reason: self.cancel_reason.to_string(),
            fragment: self.fragment,
            events: Vec::new(),
        }
    }
}

impl Message for Outgoing {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.frame().encode_raw(buf);
        for (block, at) in &self.events {
            let bytes = block.events[*at as usize].wire(self.prev_kv);
            encoding::encode_key(EVENTS, WireType::LengthDelimited, buf);
            encoding::encode_varint(bytes.len() as u64, buf);
            buf.put_slice(bytes);
        }
    }

    /// Only ever written: what is read is a [`WatchResponse`].
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        encoding::skip_field(wire_type, tag, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.frame().encoded_len() + self.events.iter().map(|event| self.event_len(event)).sum::<usize>()
    }

    fn clear(&mut self) {
        *self = Outgoing::default();
    }
}
