//! The harness's end of the conversation with one machine.

use super::protocol::{ALIVE_EVERY, Answer, Ask, CONTROL_PORT, Line};
use crate::cluster::{Block, ClusterError};
use std::{collections::BTreeMap, io, net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::Mutex,
    task::AbortHandle,
    time::{MissedTickBehavior, interval, timeout},
};

/// How long a machine may take to answer: a change of rules takes some 20 ms, a busy machine ten times as
/// much.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks a machine something on a connection of its own.
pub(super) async fn ask_once(machine: Ipv4Addr, ask: Ask) -> io::Result<Answer> {
    let asking = async {
        let mut line = Line::new(TcpStream::connect((machine, CONTROL_PORT)).await?)?;
        exchange(&mut line, &ask).await
    };
    timeout(ANSWER_TIMEOUT, asking).await?
}

async fn exchange(line: &mut Line, ask: &Ask) -> io::Result<Answer> {
    line.say(ask).await?;
    line.hear().await?.ok_or_else(|| io::ErrorKind::ConnectionReset.into())
}

/// A machine's rules in the harness's hand: they are there as long as this is.
#[derive(Debug)]
pub(super) struct Leash {
    held: Arc<Mutex<Held>>,
    keeper: AbortHandle,
}

#[derive(Debug)]
struct Held {
    name: String,
    machine: Ipv4Addr,
    line: Option<Line>,
    /// What the machine blocks.
    blocked: BTreeMap<Ipv4Addr, Block>,
    /// Why the machine took its rules back by itself, until it has been told.
    lost: Option<String>,
}

impl Leash {
    /// Takes hold of a machine, at the first change of its rules.
    pub(super) fn new(name: String, machine: Ipv4Addr) -> Leash {
        let held = Held { name, machine, line: None, blocked: BTreeMap::new(), lost: None };
        let held = Arc::new(Mutex::new(held));
        let keeper = tokio::spawn(keep(Arc::clone(&held))).abort_handle();
        Leash { held, keeper }
    }

    /// Makes `blocked` all that the machine drops.
    ///
    /// # Errors
    /// What the machine said; or that it had taken back the present rules by itself, since the connection to
    /// it was lost: then it blocks nothing, and nothing was changed.
    pub(super) async fn block(&self, blocked: &BTreeMap<Ipv4Addr, Block>) -> Result<(), ClusterError> {
        let mut held = self.held.lock().await;
        if let Some(why) = held.lost.take() {
            let doing = format!("holding the rules of {}", held.name);
            return Err(ClusterError::io(doing)(io::Error::other(why)));
        }
        if held.blocked == *blocked {
            return Ok(());
        }
        match held.ask(&Ask::Block(blocked.clone())).await? {
            Answer::Done => {
                held.blocked = blocked.clone();
                Ok(())
            }
            other => Err(held.odd(other)),
        }
    }

    /// How many packets the machine has dropped, by sender.
    pub(super) async fn dropped(&self) -> Result<BTreeMap<Ipv4Addr, u64>, ClusterError> {
        let mut held = self.held.lock().await;
        match held.ask(&Ask::Dropped).await? {
            Answer::Dropped(packets) => Ok(packets),
            other => Err(held.odd(other)),
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Tells the machine again and again that somebody holds its rules.
async fn keep(held: Arc<Mutex<Held>>) {
    let mut ticks = interval(ALIVE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut held = held.lock().await;
        if held.line.is_some()
            && let Err(error) = held.ask(&Ask::Alive).await
        {
            tracing::warn!(machine = %held.name, %error, "a machine is lost");
        }
    }
}

impl Held {
    async fn ask(&mut self, ask: &Ask) -> Result<Answer, ClusterError> {
        let machine = self.machine;
        let line = &mut self.line;
        let asking = async {
            let line = match line {
                Some(line) => line,
                none => none.insert(Line::new(TcpStream::connect((machine, CONTROL_PORT)).await?)?),
            };
            exchange(line, ask).await
        };
        let outcome = match timeout(ANSWER_TIMEOUT, asking).await {
            Ok(outcome) => outcome,
            Err(late) => Err(late.into()),
        };
        outcome.map_err(|error| {
            // Without this connection the machine opens its links.
            self.line = None;
            if !std::mem::take(&mut self.blocked).is_empty() {
                self.lost = Some(format!("it has opened its links by itself, since it was lost: {error}"));
            }
            ClusterError::io(format!("talking to the machine of {}", self.name))(error)
        })
    }

    fn odd(&self, answer: Answer) -> ClusterError {
        let said = match answer {
            Answer::Failed(message) => message,
            other => format!("an answer to another question: {other:?}"),
        };
        ClusterError::io(format!("changing the rules of {}", self.name))(io::Error::other(said))
    }
}
