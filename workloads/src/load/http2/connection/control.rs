//! Frames from the server that are about the connection, and resets.

use super::{Broken, state::Connection};
use crate::load::http2::{
    answer::{Answer, Failure},
    frame::{self, Head, PAYLOAD_BYTES_MAX, flag, kind, setting},
};

/// The server did not touch the call. Source: section 7.
const REFUSED_STREAM: u32 = 7;

impl<T> Connection<T> {
    pub(super) fn receive_reset(
        &mut self,
        head: Head,
        payload: &[u8],
        each: &mut impl FnMut(T, Result<Answer, Failure>),
    ) -> Result<(), Broken> {
        let code = u32::from_be_bytes(payload.try_into().map_err(|_| Broken("a reset of a wrong length"))?);
        let Some(at) = self.place(head.stream)? else { return Ok(()) };
        let failure = if code == REFUSED_STREAM { Failure::Unprocessed } else { Failure::Reset(code) };
        self.end(at, |_| Err(failure), each);
        Ok(())
    }

    pub(super) fn receive_settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        if head.has(flag::ACK) {
            return Ok(());
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() || head.stream != 0 {
            return Err(Broken("settings of a wrong length, or on a stream"));
        }
        if !self.settled {
            // Without a word about it there is no limit.
            (self.settled, self.streams_max) = (true, usize::MAX);
        }
        for &[n0, n1, v0, v1, v2, v3] in settings {
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([n0, n1]) {
                setting::HEADER_TABLE_SIZE => {
                    self.encoder.table_size(value);
                    self.blocks.iter_mut().for_each(Vec::clear);
                }
                setting::MAX_CONCURRENT_STREAMS => self.streams_max = value as usize,
                setting::INITIAL_WINDOW_SIZE => {
                    if value > i32::MAX as u32 {
                        return Err(Broken("a window larger than allowed"));
                    }
                    let change = i64::from(value) - self.stream_window;
                    self.stream_window += change;
                    self.waiting.iter_mut().for_each(|waiting| waiting.window += change);
                }
                setting::MAX_FRAME_SIZE => {
                    let value = value as usize;
                    if !(PAYLOAD_BYTES_MAX..1 << 24).contains(&value) {
                        return Err(Broken("a frame size that is not allowed"));
                    }
                    self.payload_max = value;
                }
                _ => {}
            }
        }
        frame::write(&mut self.out, kind::SETTINGS, flag::ACK, 0, &[]);
        self.send_waiting();
        Ok(())
    }

    pub(super) fn receive_ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        if payload.len() != 8 || head.stream != 0 {
            return Err(Broken("a ping of a wrong length, or on a stream"));
        }
        if !head.has(flag::ACK) {
            frame::write(&mut self.out, kind::PING, flag::ACK, 0, payload);
        }
        Ok(())
    }

    /// The server takes no more calls; those after the last that it names it has not processed.
    pub(super) fn receive_goaway(
        &mut self,
        payload: &[u8],
        each: &mut impl FnMut(T, Result<Answer, Failure>),
    ) -> Result<(), Broken> {
        let Some((&[l0, l1, l2, l3, c0, c1, c2, c3], debug)) = payload.split_first_chunk::<8>() else {
            return Err(Broken("a goodbye that is cut off"));
        };
        let last = u32::from_be_bytes([l0 & 0x7f, l1, l2, l3]);
        let code = u32::from_be_bytes([c0, c1, c2, c3]);
        if code != 0 {
            self.last_error =
                Some(format!("the server went away with code {code}: {}", String::from_utf8_lossy(debug)));
        }
        self.leaving = true;
        // From the newest to the oldest, so that the places of the others stay.
        for at in (0..self.streams.len()).rev() {
            if self.first + 2 * u32::try_from(at).unwrap_or(0) > last && self.streams[at].is_some() {
                self.end(at, |_| Err(Failure::Unprocessed), each);
            }
        }
        Ok(())
    }

    pub(super) fn receive_window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        let octets: [u8; 4] = payload.try_into().map_err(|_| Broken("a window update of a wrong length"))?;
        let more = i64::from(u32::from_be_bytes(octets) & 0x7fff_ffff);
        if head.stream == 0 {
            self.window += more;
            if more == 0 || self.window > i64::from(i32::MAX) {
                return Err(Broken("a window that does not grow, or grows too large"));
            }
        } else {
            self.place(head.stream)?;
            if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.stream == head.stream) {
                waiting.window += more;
            }
        }
        self.send_waiting();
        Ok(())
    }
}
