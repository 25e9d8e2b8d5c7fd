//! The far end of a probe: listeners that note what arrives.

use super::Probe;
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};

/// How long a probe may take, for the connection and for the bytes each. A loaded machine takes tens of
/// milliseconds; the first repetition of a lost packet comes after 200 ms (payload) or 1 s (handshake).
const PROBE_TIMEOUT: Duration = Duration::from_millis(300);

/// Probes under way, by the number that each sends.
#[derive(Debug, Default)]
struct Awaited {
    next: AtomicU64,
    probes: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
}

/// Notes the probes that arrive at any of its listeners. Its tasks end when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Responder {
    awaited: Arc<Awaited>,
    listeners: JoinSet<()>,
}

impl Responder {
    /// Takes in probes from `listener`.
    pub(super) fn listen(&mut self, listener: TcpListener) {
        let awaited = Arc::clone(&self.awaited);
        self.listeners.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                // Out of files, or a connection that is gone already: the probe fails, the next may not.
                let Ok((stream, _)) = listener.accept().await else { continue };
                let awaited = Arc::clone(&awaited);
                connections.spawn(async move { take_in(stream, &awaited).await });
                while connections.try_join_next().is_some() {}
            }
        });
    }

    /// Connects `socket` to `address`, where a listener of this responder is at the far end of the link, and
    /// sends it a number.
    pub(super) async fn probe(&self, socket: TcpSocket, address: SocketAddr) -> io::Result<Probe> {
        let number = self.awaited.next.fetch_add(1, Ordering::Relaxed);
        let (arrived, arrival) = oneshot::channel();
        self.probes().insert(number, arrived);
        let outcome = async {
            let Ok(connected) = timeout(PROBE_TIMEOUT, socket.connect(address)).await else {
                return Ok(Probe::NotConnected);
            };
            let mut stream: TcpStream = match connected {
                Ok(stream) => stream,
                Err(_) => return Ok(Probe::NotConnected),
            };
            stream.write_all(&number.to_be_bytes()).await?;
            match timeout(PROBE_TIMEOUT, arrival).await {
                Ok(Ok(())) => Ok(Probe::Arrived),
                Ok(Err(_)) | Err(_) => Ok(Probe::Lost),
            }
        }
        .await;
        self.probes().remove(&number);
        outcome
    }

    fn probes(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.awaited.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn take_in(mut stream: TcpStream, awaited: &Awaited) {
    let mut number = [0; 8];
    // A connection that is cut off half-way brought no probe.
    let read = timeout(Duration::from_secs(60), stream.read_exact(&mut number)).await;
    if matches!(read, Ok(Ok(_))) {
        let number = u64::from_be_bytes(number);
        let waiting = awaited.probes.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let Some(waiting) = waiting {
            // The probe has given up meanwhile.
            let _ = waiting.send(());
        }
    }
}
