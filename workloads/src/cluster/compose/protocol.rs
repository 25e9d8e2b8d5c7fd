//! What the harness and a machine say to each other: one line of JSON for a question, one for its answer.

use crate::cluster::Block;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, io, net::Ipv4Addr, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Where a machine listens for the harness.
pub(super) const CONTROL_PORT: u16 = 7101;

/// Where a machine listens for probes of other machines.
pub(super) const PROBE_PORT: u16 = 7100;

/// Whoever has set rules says something this often, be it that there is nothing to say.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// After so much silence of whoever set the rules a machine takes them back.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(4);

/// How long a probe may take, for the connection and for the bytes each. The first repetition of a lost
/// packet comes after 200 ms (payload) or 1 s (handshake); a loaded machine takes tens of milliseconds.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(300);

/// No line is longer than this: the rules of a machine are a few hundred bytes.
const LINE_MAX: u64 = 64 * 1024;

/// What the harness asks of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// Let this be all that is kept from coming in, by sender. Whoever asks holds the rules: they go when the
    /// connection ends or falls silent.
    Block(BTreeMap<Ipv4Addr, Block>),
    /// How many packets of each sender were dropped since the machine started?
    Dropped,
    /// Nothing.
    Alive,
    /// Send this number to another machine.
    Send {
        /// Its address.
        to: Ipv4Addr,
        /// The number.
        number: u64,
    },
    /// Has this number come in, or does it within [`PROBE_TIMEOUT`]?
    Arrived(u64),
    /// Remove whatever is on the disk.
    Clear,
}

/// What a machine answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// So it is done.
    Done,
    /// Packets, by sender.
    Dropped(BTreeMap<Ipv4Addr, u64>),
    /// To `Send`: whether a connection came about. To `Arrived`: whether it did.
    Is(bool),
    /// It could not be done.
    Failed(String),
}

/// Either end of a conversation.
#[derive(Debug)]
pub(super) struct Line {
    input: BufReader<OwnedReadHalf>,
    output: OwnedWriteHalf,
}

impl Line {
    pub(super) fn new(stream: TcpStream) -> io::Result<Line> {
        stream.set_nodelay(true)?;
        let (input, output) = stream.into_split();
        Ok(Line { input: BufReader::new(input), output })
    }

    /// Says something.
    pub(super) async fn say(&mut self, what: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.output.write_all(&line).await
    }

    /// Hears the next line; `None` when the other side has hung up.
    pub(super) async fn hear<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = Vec::new();
        let length = (&mut self.input).take(LINE_MAX).read_until(b'\n', &mut line).await?;
        if length == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&line)?))
    }
}
