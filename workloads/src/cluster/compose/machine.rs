//! A machine: the process in the container that holds a node's network, disk and rules.
//!
//! It does what the harness asks ([`Ask`]), and takes all rules back by itself as soon as the harness has
//! hung up or is silent: a harness that is killed in the middle of a partition leaves none behind.

use super::{
    protocol::{Answer, Ask, CONTROL_PORT, Line, PROBE_PORT, PROBE_TIMEOUT, SILENCE_MAX},
    rules::{Firewall, Iptables},
};
use crate::cluster::ClusterError;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{Mutex, watch},
    time::{sleep, timeout},
};

/// Where the node's disk is.
const DISK: &str = "/data";

/// How many numbers are remembered: a run has a few probes under way at a time.
const ARRIVALS_MAX: usize = 1024;

/// Runs a machine, until it is told to end.
///
/// # Errors
/// What the machine lacks: iptables, the right to use it, a port.
pub async fn machine() -> Result<(), ClusterError> {
    let starting = |port: u16| ClusterError::io(format!("listening on port {port}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(ClusterError::io("waiting for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ClusterError::io("waiting for SIGINT"))?;
    let firewall = Iptables::install().await?;
    let any = Ipv4Addr::UNSPECIFIED;
    let control = TcpListener::bind((any, CONTROL_PORT)).await.map_err(starting(CONTROL_PORT))?;
    let probes = TcpListener::bind((any, PROBE_PORT)).await.map_err(starting(PROBE_PORT))?;
    let machine = Arc::new(Machine::new(firewall, PathBuf::from(DISK), SILENCE_MAX));
    tokio::select! {
        () = Arc::clone(&machine).take_probes(probes) => {}
        () = machine.serve(control) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// What the connections to a machine share.
struct Machine<F> {
    rules: Mutex<Rules<F>>,
    /// Numbers that other machines have sent.
    arrived: watch::Sender<BTreeSet<u64>>,
    disk: PathBuf,
    silence_max: Duration,
}

struct Rules<F> {
    firewall: F,
    /// The connection that set them, by its number.
    holder: Option<u64>,
}

impl<F: Firewall> Machine<F> {
    fn new(firewall: F, disk: PathBuf, silence_max: Duration) -> Machine<F> {
        let rules = Mutex::new(Rules { firewall, holder: None });
        Machine { rules, arrived: watch::Sender::default(), disk, silence_max }
    }

    /// Answers the harness, on as many connections as it makes. Does not return.
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        for connection in 0.. {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let machine = Arc::clone(&self);
                    tokio::spawn(async move { machine.converse(stream, connection).await });
                }
                // Out of files, or a connection that is gone already: the next may work.
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    async fn converse(&self, stream: TcpStream, connection: u64) {
        // However it ended, what it held is taken back.
        let _ = self.answer_all(stream, connection).await;
        let mut rules = self.rules.lock().await;
        if rules.holder == Some(connection) {
            rules.holder = None;
            if let Err(error) = rules.firewall.block(&BTreeMap::new()).await {
                eprintln!("the links of this machine could not be opened: {error}");
            }
        }
    }

    async fn answer_all(&self, stream: TcpStream, connection: u64) -> io::Result<()> {
        let mut line = Line::new(stream)?;
        while let Some(ask) = timeout(self.silence_max, line.hear()).await?? {
            let answer = self.answer(ask, connection).await;
            line.say(&answer).await?;
        }
        Ok(())
    }

    async fn answer(&self, ask: Ask, connection: u64) -> Answer {
        match ask {
            Ask::Alive => Answer::Done,
            Ask::Block(blocked) => {
                let mut rules = self.rules.lock().await;
                rules.holder = Some(connection);
                done(rules.firewall.block(&blocked).await)
            }
            Ask::Dropped => match self.rules.lock().await.firewall.dropped().await {
                Ok(packets) => Answer::Dropped(packets),
                Err(error) => Answer::Failed(error.to_string()),
            },
            Ask::Send { to, number } => match send(to, number).await {
                Ok(connected) => Answer::Is(connected),
                Err(error) => Answer::Failed(error.to_string()),
            },
            Ask::Arrived(number) => {
                let mut arrived = self.arrived.subscribe();
                let waited =
                    timeout(PROBE_TIMEOUT, arrived.wait_for(|numbers| numbers.contains(&number))).await;
                Answer::Is(matches!(waited, Ok(Ok(_))))
            }
            Ask::Clear => done(clear(&self.disk)),
        }
    }

    /// Takes in what other machines send. Does not return.
    async fn take_probes(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            let machine = Arc::clone(&self);
            tokio::spawn(async move {
                let mut number = [0; 8];
                // A connection that is cut off half-way brought nothing.
                let read = timeout(Duration::from_secs(60), stream.read_exact(&mut number)).await;
                if matches!(read, Ok(Ok(_))) {
                    machine.arrived.send_modify(|numbers| {
                        numbers.insert(u64::from_be_bytes(number));
                        if numbers.len() > ARRIVALS_MAX {
                            numbers.pop_first();
                        }
                    });
                }
            });
        }
    }
}

fn done<E: std::fmt::Display>(outcome: Result<(), E>) -> Answer {
    match outcome {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed(error.to_string()),
    }
}

/// Sends a number to another machine: whether a connection came about.
async fn send(to: Ipv4Addr, number: u64) -> io::Result<bool> {
    let Ok(Ok(mut stream)) = timeout(PROBE_TIMEOUT, TcpStream::connect((to, PROBE_PORT))).await else {
        return Ok(false);
    };
    stream.write_all(&number.to_be_bytes()).await?;
    // Closing it now would be one more packet to get lost: its repetitions would go on after the probe.
    tokio::spawn(async move {
        sleep(2 * PROBE_TIMEOUT).await;
        drop(stream);
    });
    Ok(true)
}

/// Removes whatever is in a folder, and lets every user write there: an image's server may run as any.
fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Block;
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(60);

    /// Rules that are only written down.
    #[derive(Clone, Default)]
    struct Paper(watch::Sender<BTreeMap<Ipv4Addr, Block>>);

    impl Firewall for Paper {
        async fn block(&mut self, blocked: &BTreeMap<Ipv4Addr, Block>) -> Result<(), ClusterError> {
            self.0.send_replace(blocked.clone());
            Ok(())
        }

        async fn dropped(&self) -> Result<BTreeMap<Ipv4Addr, u64>, ClusterError> {
            Ok(self.0.borrow().keys().map(|&from| (from, 7)).collect())
        }
    }

    async fn machine_on_paper(silence_max: Duration) -> (Paper, std::net::SocketAddr) {
        let paper = Paper::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let machine = Arc::new(Machine::new(paper.clone(), PathBuf::from("/nonexistent"), silence_max));
        tokio::spawn(machine.serve(listener));
        (paper, address)
    }

    async fn ask(line: &mut Line, ask: Ask) -> Answer {
        line.say(&ask).await.unwrap();
        line.hear().await.unwrap().unwrap()
    }

    fn one_cut() -> BTreeMap<Ipv4Addr, Block> {
        BTreeMap::from([(Ipv4Addr::new(10, 213, 0, 12), Block::Packets)])
    }

    #[tokio::test]
    async fn rules_go_when_the_one_who_set_them_hangs_up() {
        let (paper, address) = machine_on_paper(LONG).await;
        let mut seen = paper.0.subscribe();
        let mut holder = Line::new(TcpStream::connect(address).await.unwrap()).unwrap();
        assert_eq!(ask(&mut holder, Ask::Block(one_cut())).await, Answer::Done);
        assert_eq!(*seen.borrow_and_update(), one_cut());

        // Somebody else's coming and going changes nothing.
        let mut other = Line::new(TcpStream::connect(address).await.unwrap()).unwrap();
        let dropped = BTreeMap::from([(Ipv4Addr::new(10, 213, 0, 12), 7)]);
        assert_eq!(ask(&mut other, Ask::Dropped).await, Answer::Dropped(dropped));
        drop(other);
        assert_eq!(ask(&mut holder, Ask::Alive).await, Answer::Done);
        assert_eq!(*seen.borrow(), one_cut());

        drop(holder);
        timeout(Duration::from_secs(10), seen.wait_for(BTreeMap::is_empty)).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn rules_go_when_the_one_who_set_them_is_silent() {
        let silence_max = Duration::from_millis(200);
        let (paper, address) = machine_on_paper(silence_max).await;
        let mut seen = paper.0.subscribe();
        let mut holder = Line::new(TcpStream::connect(address).await.unwrap()).unwrap();
        let begin = Instant::now();
        assert_eq!(ask(&mut holder, Ask::Block(one_cut())).await, Answer::Done);
        seen.wait_for(BTreeMap::is_empty).await.unwrap();
        assert!(begin.elapsed() >= silence_max, "{:?}", begin.elapsed());
        assert_eq!(holder.hear::<Answer>().await.unwrap(), None, "the machine hangs up then");
    }

    #[tokio::test]
    async fn a_question_that_makes_no_sense_ends_the_conversation_only() {
        let (_paper, address) = machine_on_paper(LONG).await;
        let mut line = Line::new(TcpStream::connect(address).await.unwrap()).unwrap();
        line.say(&"what?").await.unwrap();
        assert_eq!(line.hear::<Answer>().await.unwrap(), None);
        let mut line = Line::new(TcpStream::connect(address).await.unwrap()).unwrap();
        assert!(matches!(ask(&mut line, Ask::Clear).await, Answer::Failed(_)), "there is no disk");
    }

    #[test]
    fn a_cleared_disk_is_empty_and_open_to_every_user() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("n1/member/wal")).unwrap();
        fs::write(dir.path().join("n1/member/wal/0.wal"), "x").unwrap();
        fs::write(dir.path().join("note"), "x").unwrap();
        clear(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o7777, 0o777);
    }
}
