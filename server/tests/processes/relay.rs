//! Cuts between servers that run: what their peers say to each other goes through relays, which can go silent.
//!
//! A cut is as a firewall's that drops packets: nothing is closed, nothing arrives, new connections hear nothing; and
//! once it is healed, what was on its way comes.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// Pause before it is looked again whether a cut is healed.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a caller's first words are: they name the caller last but one.
const HELLO: usize = 40;

/// A relay in front of each server's peer port.
pub struct Relays {
    urls: Vec<String>,
    /// The members that are cut off from all others.
    cut: Arc<Mutex<BTreeSet<u64>>>,
    /// Whose relay it is, once that is known.
    members: Arc<Mutex<Vec<u64>>>,
}

impl Relays {
    /// Begins to relay to servers that listen at these URLs. Relays last as long as the test's process.
    pub fn to(urls: &[&str]) -> Relays {
        let (cut, members) = (Arc::<Mutex<BTreeSet<u64>>>::default(), Arc::<Mutex<Vec<u64>>>::default());
        let relay = |(at, url): (usize, &&str)| {
            let target = url.trim_start_matches("http://").to_string();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let (cut, members) = (Arc::clone(&cut), Arc::clone(&members));
            thread::spawn(move || {
                for caller in listener.incoming().flatten() {
                    let (target, cut, members) = (target.clone(), Arc::clone(&cut), Arc::clone(&members));
                    thread::spawn(move || connection(at, caller, &target, cut, members));
                }
            });
            format!("http://{address}")
        };
        Relays { urls: urls.iter().enumerate().map(relay).collect(), cut, members }
    }

    /// Where a server's peers find it.
    pub fn url(&self, at: usize) -> &str {
        &self.urls[at]
    }

    /// Takes note of the identities that the members have, in the order of the relays: before the first cut.
    pub fn name(&self, members: Vec<u64>) {
        *self.members.lock().unwrap() = members;
    }

    /// Cuts a member off from all others, in both directions.
    pub fn cut(&self, at: usize) {
        let member = self.members.lock().unwrap()[at];
        self.cut.lock().unwrap().insert(member);
    }

    /// Heals all cuts.
    pub fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }
}

/// One connection of peers, until either side ends it.
fn connection(
    at: usize,
    mut caller: TcpStream,
    target: &str,
    cut: Arc<Mutex<BTreeSet<u64>>>,
    members: Arc<Mutex<Vec<u64>>>,
) {
    let mut hello = [0; HELLO];
    if caller.read_exact(&mut hello).is_err() {
        return;
    }
    let is_cut = move || {
        let cut = cut.lock().unwrap();
        let called = members.lock().unwrap().get(at).copied();
        called.is_some_and(|called| cut.contains(&called))
            || cut.iter().any(|member| hello.windows(8).any(|word| word == member.to_le_bytes()))
    };
    while is_cut() {
        thread::sleep(PAUSE);
    }
    let Ok(mut called) = TcpStream::connect(target) else { return };
    if called.write_all(&hello).is_err() {
        return;
    }
    let (Ok(from), Ok(to)) = (caller.try_clone(), called.try_clone()) else { return };
    let is_cut = Arc::new(is_cut);
    let there = Arc::clone(&is_cut);
    let way_there = thread::spawn(move || forward(from, to, &*there));
    forward(called, caller, &*is_cut);
    way_there.join().unwrap();
}

fn forward(mut from: TcpStream, mut to: TcpStream, is_cut: &dyn Fn() -> bool) {
    let mut buffer = [0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while is_cut() {
            thread::sleep(PAUSE);
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Either may be closed already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
