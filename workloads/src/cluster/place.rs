//! Where a node lives: a thread that may have a network namespace of its own.

use nix::{
    sched::{CloneFlags, unshare},
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{Pid, getpid, getppid},
};
use std::{
    io,
    path::PathBuf,
    process::Command,
    sync::mpsc::{self, Sender},
    thread,
};
use tokio::{process::Child, runtime::Handle, sync::oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// A thread on which a node's processes are started and its sockets made.
///
/// The processes get SIGKILL when the thread ends: when this is dropped, or when this whole process dies in
/// whatever way.
#[derive(Debug)]
pub(super) struct Place {
    jobs: Sender<Job>,
    namespace: PathBuf,
}

impl Place {
    /// A place in the caller's own network namespace.
    pub(super) fn here(name: &str) -> io::Result<Place> {
        Place::new(name, || Ok(()))
    }

    /// A place in a new network namespace, which has no interface that is up. It goes when the place and all
    /// processes in it have gone. Needs to be root in the user namespace.
    pub(super) fn apart(name: &str) -> io::Result<Place> {
        Place::new(name, || unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from))
    }

    fn new(name: &str, settle: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<Place> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (report, settled) = mpsc::channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let namespace = settle().and_then(|()| std::fs::read_link("/proc/thread-self"));
            let failed = namespace.is_err();
            if report.send(namespace).is_err() || failed {
                return;
            }
            while let Ok(job) = inbox.recv() {
                job();
            }
        })?;
        let thread = settled.recv().map_err(|_| io::Error::other("the thread of a node ended at once"))??;
        Ok(Place { jobs, namespace: PathBuf::from("/proc").join(thread).join("ns/net") })
    }

    /// A file that stands for the place's network namespace.
    pub(super) fn namespace(&self) -> &std::path::Path {
        &self.namespace
    }

    /// Does something on the place's thread: a socket that it makes is one of the place's namespace, for
    /// good. It must not block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, done) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody waits any more: then nobody needs the result.
            let _ = answer.send(job());
        });
        let ended = || io::Error::other("the thread of a node has ended");
        self.jobs.send(job).map_err(|_| ended())?;
        done.await.map_err(|_| ended())?
    }

    /// Starts a process here. It is in a process group of its own, so that Ctrl-C in a terminal does not
    /// reach it, and dies with this place.
    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let runtime = Handle::current();
        self.run(move || {
            let mut command = tokio::process::Command::from(command);
            command.process_group(0).kill_on_drop(true);
            die_with_parent(&mut command, getpid());
            let _context = runtime.enter();
            command.spawn()
        })
        .await
    }
}

/// Has the kernel send SIGKILL to the process when the thread that starts it ends.
#[expect(unsafe_code, reason = "only the child itself can ask for the signal, between fork and exec")]
fn die_with_parent(command: &mut tokio::process::Command, parent: Pid) {
    // SAFETY: between fork and exec only async-signal-safe functions may be called; prctl and getppid are
    // plain system calls, and neither they nor the construction of the error allocate.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the call above.
            if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
}
