//! Packets that wait, get lost, overtake each other or arrive twice.
//!
//! The kernel hands them over through a queue of its own (NFQUEUE), for not every kernel has netem; what is
//! taken out of it is given back later, or not at all. Second copies are sent from a raw socket of the hub.

use super::{lab::node_at, rules::QUEUE};
use crate::cluster::{
    ClusterError, Disturbance, Disturbed, Link,
    shape::{Fate, Lane},
};
use nfq::{Message, Queue, Verdict};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How exactly delays are kept.
const TICK: Duration = Duration::from_millis(1);
/// How often the queue is looked at while nothing is disturbed.
const IDLE: Duration = Duration::from_millis(10);
/// So many packets may wait in the kernel; more than those pass untouched.
const QUEUE_LENGTH: u32 = 8192;

/// The thread that holds packets back. It ends when this is dropped, and lets everything go.
#[derive(Debug)]
pub(super) struct Shaper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    disturbed: Mutex<BTreeMap<Link, Disturbance>>,
    counts: Mutex<BTreeMap<Link, Disturbed>>,
    ended: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the kernel hands out packets here.
pub(in crate::cluster) fn available() -> io::Result<()> {
    let mut queue = Queue::open()?;
    queue.bind(QUEUE)?;
    queue.unbind(QUEUE)
}

impl Shaper {
    /// Takes over the queue of this process's network namespace.
    pub(super) fn start() -> Result<Shaper, ClusterError> {
        let open = || -> io::Result<(Queue, OwnedFd)> {
            let mut queue = Queue::open()?;
            queue.bind(QUEUE)?;
            queue.set_queue_max_len(QUEUE, QUEUE_LENGTH)?;
            queue.set_fail_open(QUEUE, true)?;
            queue.set_nonblocking(true);
            let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
            Ok((queue, raw))
        };
        let taking = || ClusterError::io("taking packets out of the kernel's queue");
        let (queue, raw) = open().map_err(taking())?;
        let shared = Arc::<Shared>::default();
        let worker = Worker {
            queue,
            raw,
            shared: Arc::clone(&shared),
            lanes: BTreeMap::new(),
            waiting: BTreeMap::new(),
            arrivals: 0,
        };
        let thread = thread::Builder::new().name("shaper".into()).spawn(move || worker.run());
        Ok(Shaper { shared, thread: Some(thread.map_err(taking())?) })
    }

    /// Makes `disturbed` all that is disturbed from the next packet on.
    pub(super) fn shape(&self, disturbed: &BTreeMap<Link, Disturbance>) {
        lock(&self.shared.disturbed).clone_from(disturbed);
    }

    /// What became of the packets so far.
    pub(super) fn counts(&self) -> BTreeMap<Link, Disturbed> {
        lock(&self.shared.counts).clone()
    }
}

impl Drop for Shaper {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so, and the kernel lets its packets pass.
            let _ = thread.join();
        }
    }
}

struct Worker {
    queue: Queue,
    raw: OwnedFd,
    shared: Arc<Shared>,
    lanes: BTreeMap<Link, Lane>,
    /// By the time at which each goes on, and its arrival.
    waiting: BTreeMap<(Instant, u64), (Message, bool)>,
    arrivals: u64,
}

impl Worker {
    fn run(mut self) {
        // Which packet is hit is no part of a plan: packets depend on the kernel's timing anyway.
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        while !self.shared.ended.load(Ordering::Relaxed) {
            // "Would block", or out of buffers for a moment: then the next look finds the next packet.
            while let Ok(message) = self.queue.recv() {
                self.take_in(message, &mut rng);
            }
            self.release(Instant::now());
            let idle = self.waiting.is_empty() && lock(&self.shared.disturbed).is_empty();
            thread::sleep(if idle { IDLE } else { TICK });
        }
        self.release(Instant::now() + Duration::from_secs(3600));
    }

    fn take_in(&mut self, message: Message, rng: &mut ChaCha8Rng) {
        self.arrivals += 1;
        let now = Instant::now();
        let link = link_of(message.get_payload());
        let disturbance = link.and_then(|link| lock(&self.shared.disturbed).get(&link).copied());
        let (Some(link), Some(disturbance)) = (link, disturbance) else {
            // Its rule has just gone.
            self.waiting.insert((now, self.arrivals), (message, false));
            return;
        };
        let lane = self.lanes.entry(link).or_default();
        let fate = lane.fate(&disturbance, now, message.get_payload().len(), rng);
        let mut counts = lock(&self.shared.counts);
        let count = counts.entry(link).or_default();
        count.packets += 1;
        match fate {
            Fate::Lost => {
                count.lost += 1;
                drop(counts);
                self.judge(message, Verdict::Drop);
            }
            Fate::Arrives { at, overtakes, twice } => {
                count.delayed += u64::from(at > now);
                count.reordered += u64::from(overtakes);
                count.duplicated += u64::from(twice);
                self.waiting.insert((at, self.arrivals), (message, twice));
            }
        }
    }

    /// Lets everything go whose time has come.
    fn release(&mut self, now: Instant) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let (message, twice) = entry.remove();
            let copy = twice.then(|| message.get_payload().to_vec());
            self.judge(message, Verdict::Accept);
            if let Some(packet) = copy
                && let Some((_, to)) = addresses(&packet)
            {
                // A copy that cannot be sent is one that got lost.
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                let _ = sendto(self.raw.as_raw_fd(), &packet, &to, MsgFlags::empty());
            }
        }
    }

    fn judge(&mut self, mut message: Message, verdict: Verdict) {
        message.set_verdict(verdict);
        // The kernel forgets packets whose queue has overflown.
        let _ = self.queue.verdict(message);
    }
}

/// Sender and receiver of an IPv4 packet.
fn addresses(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let four = |at: usize| -> Option<[u8; 4]> { packet.get(at..at + 4)?.try_into().ok() };
    Some((four(12)?.into(), four(16)?.into()))
}

fn link_of(packet: &[u8]) -> Option<Link> {
    let (from, to) = addresses(packet)?;
    Some(Link::new(node_at(from)?, node_at(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::NodeIndex;

    #[test]
    fn a_packet_tells_its_link() {
        let mut packet = vec![0x45; 20];
        packet[12..16].copy_from_slice(&[10, 99, 0, 11]);
        packet[16..20].copy_from_slice(&[10, 99, 0, 13]);
        assert_eq!(link_of(&packet), Some(Link::new(NodeIndex(0), NodeIndex(2))));
        packet[15] = 1;
        assert_eq!(link_of(&packet), None, "the hub is no node");
        assert_eq!(link_of(&packet[..18]), None, "cut off");
    }
}
