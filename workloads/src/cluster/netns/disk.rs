//! A disk for every node: a file system in a file, mounted where nobody but this run sees it.
//!
//! Needs root's powers over the whole machine, for loop devices; the mounts are those of the run's own mount
//! namespace and go with it, and the kernel frees a loop device with its last mount.

use super::throttle::Throttle;
use crate::cluster::{ClusterError, NodeIndex, tool::run};
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
    sys::statvfs::statvfs,
};
use std::{
    fs::{self, File},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Size of a disk. The file is sparse: only what is written takes room.
const SIZE_BYTES: u64 = 768 << 20;

/// How long a file system may stay busy once its last user has ended.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What fills a full disk.
const FILLER: &str = "filler";

/// The disk of a node.
#[derive(Debug)]
pub(in crate::cluster) struct Disk {
    node: NodeIndex,
    image: PathBuf,
    mount: PathBuf,
    /// What holds the node's process up, while it does.
    throttle: Mutex<Option<Throttle>>,
}

impl Disk {
    /// Makes a disk with an empty file system, `nI.disk.img`, and mounts it at `nI.disk`.
    pub(super) async fn make(folder: &Path, node: NodeIndex) -> Result<Disk, ClusterError> {
        let disk = Disk {
            node,
            image: folder.join(format!("{node}.disk.img")),
            mount: folder.join(format!("{node}.disk")),
            throttle: Mutex::default(),
        };
        let making = || ClusterError::io(format!("making {}", disk.image.display()));
        fs::create_dir_all(&disk.mount).map_err(making())?;
        File::create(&disk.image).and_then(|image| image.set_len(SIZE_BYTES)).map_err(making())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&disk.image), "").await?;
        disk.mount().await?;
        Ok(disk)
    }

    /// Where a node has its data.
    pub(super) fn data(&self) -> PathBuf {
        self.mount.join("data")
    }

    async fn mount(&self) -> Result<(), ClusterError> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount), "").await.map(drop)
    }

    /// Cuts the power: what was not synced is lost, and everything that is tried from now on fails.
    pub(in crate::cluster) fn cut_power(&self) -> Result<(), ClusterError> {
        /// Neither data nor journal is written any more: `EXT4_GOING_FLAGS_NOLOGFLUSH`.
        const NO_FLUSH: u32 = 2;
        let cutting = ClusterError::io(format!("shutting down {}", self.mount.display()));
        let result = File::open(&self.mount).and_then(|root| shut_down(&root, NO_FLUSH));
        result.map_err(cutting)
    }

    /// Mounts the disk anew, as a machine does that starts again. Nobody may use it.
    pub(in crate::cluster) async fn replug(&self) -> Result<(), ClusterError> {
        let start = Instant::now();
        loop {
            match run(Command::new("umount").arg(&self.mount), "").await {
                Ok(_) => break,
                // The kernel may still be closing what a process had open that has just ended.
                Err(error) if start.elapsed() > BUSY_TIMEOUT => return Err(error),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
        self.mount().await
    }

    /// Fills the disk, and returns with how many bytes.
    pub(in crate::cluster) fn fill(&self) -> Result<u64, ClusterError> {
        let filling = || ClusterError::io(format!("filling {}", self.mount.display()));
        let mut filled = 0;
        let filler = File::create(self.mount.join(FILLER)).map_err(filling())?;
        // What is free while others write changes; the last blocks go one by one.
        for _ in 0..64 {
            let space = statvfs(&self.mount).map_err(|e| filling()(e.into()))?;
            let free = space.blocks_available() * space.fragment_size();
            if free == 0 {
                break;
            }
            let step = if filled == 0 { free.saturating_sub(64 << 10) } else { 4096 }.max(4096);
            let (offset, length) = (filled as i64, step as i64);
            match nix::fcntl::posix_fallocate(&filler, offset, length) {
                Ok(()) => filled += step,
                Err(Errno::ENOSPC) => break,
                Err(error) => return Err(filling()(error.into())),
            }
        }
        Ok(filled)
    }

    /// Gives back what [`Disk::fill`] took.
    pub(in crate::cluster) fn unfill(&self) -> Result<(), ClusterError> {
        fs::remove_file(self.mount.join(FILLER))
            .map_err(ClusterError::io(format!("making room on {}", self.mount.display())))
    }

    /// Has the file system refuse to be written, as it does by itself when its disk gives errors.
    pub(in crate::cluster) async fn make_read_only(&self) -> Result<(), ClusterError> {
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.mount), "").await.map(drop)
    }

    /// Lets a process write here only so many times a second.
    pub(in crate::cluster) fn slow(&self, pid: u32, per_s: u32) -> Result<(), ClusterError> {
        let begin = || {
            let device = fs::metadata(&self.mount)?.dev();
            let device = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
            Throttle::begin(&self.node.to_string(), pid, device, per_s)
        };
        let throttle = begin().map_err(ClusterError::io(format!("slowing {} down", self.mount.display())))?;
        *self.throttle() = Some(throttle);
        Ok(())
    }

    /// How long so many synced writes take.
    pub(in crate::cluster) async fn time(&self, writes: u32) -> Result<Duration, ClusterError> {
        let file = self.mount.join("timed");
        let timing = ClusterError::io(format!("timing writes to {}", file.display()));
        let Some(throttle) = self.throttle().clone() else {
            return Err(timing(std::io::Error::other("it is not slow")));
        };
        let timed = tokio::task::spawn_blocking(move || throttle.time(&file, writes)).await;
        timed.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(timing)
    }

    /// Ends what [`Disk::slow`] began.
    pub(in crate::cluster) fn speed_up(&self) -> Result<(), ClusterError> {
        let ended = self.throttle().take().map_or(Ok(()), Throttle::end);
        ended.map_err(ClusterError::io(format!("letting {} be fast", self.mount.display())))
    }

    fn throttle(&self) -> MutexGuard<'_, Option<Throttle>> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries to write a file: what the system says to it.
    pub(in crate::cluster) fn trial(&self) -> std::io::Result<()> {
        let path = self.mount.join("trial");
        let file = File::create(&path);
        let tried = file.and_then(|mut file| {
            std::io::Write::write_all(&mut file, &[0; 8192])?;
            file.sync_all()
        });
        // A trial that failed leaves nothing to remove, or cannot.
        let _ = fs::remove_file(path);
        tried
    }
}

/// `EXT4_IOC_SHUTDOWN`, which is XFS's `FS_IOC_GOINGDOWN` too. Source: Linux, fs/ext4/ext4.h.
#[expect(unsafe_code, reason = "the standard library has no call for it")]
fn shut_down(root: &File, flags: u32) -> std::io::Result<()> {
    nix::ioctl_read!(going_down, b'X', 125, u32);
    let mut flags = flags;
    // SAFETY: the file is open, and the kernel reads one u32, which lives until the call returns.
    unsafe { going_down(root.as_raw_fd(), &raw mut flags) }?;
    Ok(())
}

impl Drop for Disk {
    /// The group lies outside of the run's namespaces and would stay. The mount would stay as long as they do, which
    /// is for many runs in a soak, and hold its loop device and its folder.
    fn drop(&mut self) {
        if let Err(error) = self.speed_up() {
            tracing::warn!(%error, "a control group stays");
        }
        // Whoever still has something open there keeps it until then.
        match umount2(&self.mount, MntFlags::MNT_DETACH) {
            // Not mounted: it was never made whole, or cannot be mounted again.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => tracing::warn!(%error, disk = %self.mount.display(), "a disk stays mounted"),
        }
    }
}
