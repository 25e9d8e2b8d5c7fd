//! A member's data directory: who it belongs to, the images, the log, and how they make one state.
//!
//! ```text
//! lock       held by the process that uses the directory
//! identity   whose directory it is; written last when it is made, so one that has it is complete
//! images/    images of the state
//! log/       segments of the log
//! ```

use super::{
    AppendFile, Files, Identity, Images, OpenError, Wal,
    error::Doing,
    record, segment,
    snapshot::CHUNK_BYTES_MAX,
    wal::{Recovered, segments_in},
};
use crate::codec::{self, Decoder};
use bytes::{BufMut, Bytes};
use nix::fcntl::{Flock, FlockArg};
use raft::{
    ready::{Storage, Write},
    types::{Entry, HardState, LogIndex, Membership, SnapshotMeta, Term},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

const IDENTITY: &str = "identity";
const MAGIC: &[u8; 8] = b"ASSAYDIR";
const VERSION: u32 = 1;
/// Entries before the image that a restarted member still offers to followers a little behind it.
const KEPT_FOR_FOLLOWERS: usize = 5000;

/// Keeps a second server off a data directory; released when dropped, and by the kernel when the process
/// ends, however it ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, never read")] Flock<fs::File>);

impl Lock {
    /// Takes the lock of the directory `dir`, which is made if need be.
    ///
    /// # Errors
    /// [`OpenError::Locked`] where another process holds it.
    pub fn acquire(dir: &Path) -> Result<Lock, OpenError> {
        fs::create_dir_all(dir).doing("create", dir)?;
        let path = dir.join("lock");
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        match Flock::lock(file.doing("open", &path)?, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Lock(held)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(OpenError::Locked { file: path }),
            Err((_, errno)) => Err(OpenError::Io { doing: "lock", file: path, source: errno.into() }),
        }
    }
}

/// What a brand-new member starts from.
#[derive(Clone, Debug)]
pub struct Birth {
    /// The cluster's first membership.
    pub membership: Membership,
    /// What the layers above want to find again at every start (names and addresses).
    pub roster: Bytes,
}

/// A data directory that is ready for use.
#[derive(Debug)]
pub struct Opened<F: Files> {
    /// The log.
    pub wal: Wal<F>,
    /// The images.
    pub images: Images<F>,
    /// The newest image; index 0 stands for the empty state, which has no chunks.
    pub image: SnapshotMeta,
    /// The newest hard state.
    pub hard_state: HardState,
    /// The log: begins at or before the entry after the image.
    pub entries: Vec<Entry>,
    /// [`Birth::roster`], as it was given when the directory was made.
    pub roster: Bytes,
    /// Whether the directory was there already.
    pub restarted: bool,
}

/// A data directory.
#[derive(Clone, Debug)]
pub struct DataDir<F: Files> {
    files: F,
    path: PathBuf,
}

impl<F: Files> DataDir<F> {
    /// The directory at `path`; nothing is touched yet.
    pub fn new(files: F, path: &Path) -> DataDir<F> {
        DataDir { files, path: path.into() }
    }

    /// Whose directory it is, and its roster; `None` before it is made.
    ///
    /// # Errors
    /// The operating system's, damage, another version.
    pub fn identity(&self) -> Result<Option<(Identity, Bytes)>, OpenError> {
        let path = self.path.join(IDENTITY);
        match self.files.read(&path) {
            Ok(bytes) => decode_identity(bytes, &path).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(OpenError::Io { doing: "read", file: path, source }),
        }
    }

    /// Opens the directory, or makes it from `birth`. A torn tail of the log is cut off.
    ///
    /// # Errors
    /// Everything in [`OpenError`]; then nothing was changed.
    pub fn open(&self, identity: Identity, birth: Birth) -> Result<Opened<F>, OpenError> {
        let (log, images) = (self.path.join("log"), self.path.join("images"));
        for dir in [&self.path, &log, &images] {
            self.files.create_dir(dir).doing("create", dir)?;
        }
        let Some((found, roster)) = self.identity()? else {
            return self.create(&log, &images, identity, birth);
        };
        identity.check(&self.path.join(IDENTITY), found.cluster, Some(found.node.0))?;
        for dir in [&self.path, &log, &images] {
            self.remove_temporary(dir)?;
        }
        let images = Images::new(self.files.clone(), &images, identity);
        let (wal, recovered) = Wal::open(self.files.clone(), &log, identity)?;
        let mut opened = combine(wal, images, recovered)?;
        opened.roster = roster;
        Ok(opened)
    }

    fn create(
        &self,
        log: &Path,
        images: &Path,
        identity: Identity,
        birth: Birth,
    ) -> Result<Opened<F>, OpenError> {
        self.remove_unborn(log, images)?;
        let images = Images::new(self.files.clone(), images, identity);
        let image = SnapshotMeta { index: LogIndex::ZERO, term: Term::ZERO, membership: birth.membership };
        images
            .write(image.clone(), "birth")
            .and_then(|writer| writer.finish())
            .doing("write an image in", log)?;
        let wal = Wal::create(self.files.clone(), log, identity)?;
        // The directories themselves first, then the file that says all is there.
        self.files.sync_dir(&self.path).doing("flush", &self.path)?;
        let path = self.path.join(IDENTITY);
        let temporary = path.with_extension("tmp");
        let written = self.files.create(&temporary).and_then(|mut file| {
            file.append(&encode_identity(identity, &birth.roster))?;
            file.sync()?;
            self.files.rename(&temporary, &path)?;
            self.files.sync_dir(&self.path)
        });
        written.doing("write", &path)?;
        Ok(Opened {
            wal,
            images,
            image,
            hard_state: HardState::default(),
            entries: Vec::new(),
            roster: birth.roster,
            restarted: false,
        })
    }

    /// Clears what a crash left of the making of the directory: a member that never lived. Anything more
    /// is somebody's data whose `identity` was lost, and is refused.
    fn remove_unborn(&self, log: &Path, images: &Path) -> Result<(), OpenError> {
        let seqs = segments_in(&self.files, log)?;
        let unborn = match seqs[..] {
            [] => true,
            [1] => {
                let path = log.join(segment::name(1));
                let checkpoint = segment::HEADER_BYTES + record::HEADER_BYTES + 32;
                self.files.read(&path).doing("read", &path)?.len() <= checkpoint
            }
            _ => false,
        };
        if !unborn {
            let what = format!("the file {IDENTITY}, which tells whose log this is,");
            return Err(OpenError::Missing { place: self.path.clone(), what });
        }
        for dir in [log, images] {
            for name in self.files.list(dir).doing("list", dir)? {
                let path = dir.join(name);
                self.files.remove(&path).doing("remove", &path)?;
            }
        }
        self.remove_temporary(&self.path)
    }

    /// Removes files that a crash left half-written.
    fn remove_temporary(&self, dir: &Path) -> Result<(), OpenError> {
        for name in self.files.list(dir).doing("list", dir)? {
            if name.ends_with(".tmp") {
                let path = dir.join(name);
                self.files.remove(&path).doing("remove", &path)?;
            }
        }
        Ok(())
    }
}

/// Makes one state of the newest image and the log.
fn combine<F: Files>(
    mut wal: Wal<F>,
    images: Images<F>,
    recovered: Recovered,
) -> Result<Opened<F>, OpenError> {
    let Recovered { mut hard_state, installed, mut entries } = recovered;
    let image = images.newest()?;
    if image.index < installed {
        let what =
            format!("an intact image of entry {installed} or later (the newest ends at {})", image.index);
        return Err(OpenError::Missing { place: images.dir().into(), what });
    }
    let first = entries.first().map_or(wal.next_index(), |entry| entry.index);
    if first > image.index.next() {
        return Err(OpenError::Gap { image: image.index, first });
    }
    images.set_aside_after(image.index)?;
    let behind = (image.index.0 + 1 - first.0) as usize;
    // The log goes on from the image where it begins right after it, or holds the image's last entry.
    let continues = match behind.checked_sub(1) {
        None => true,
        Some(at) => entries.get(at).is_some_and(|entry| entry.term == image.term),
    };
    if continues {
        entries.drain(..behind.saturating_sub(KEPT_FOR_FOLLOWERS));
    } else {
        // An image that was received, but whose installation did not reach the log before a crash. Its
        // entries are committed, so nothing in a log that differs from it can be (Raft paper, figure 13).
        entries.clear();
        if hard_state.term < image.term {
            hard_state = HardState { term: image.term, vote: None, commit: image.index };
        }
        hard_state.commit = image.index;
    }
    if !continues {
        let write = Write {
            install: Some(image.clone()),
            entries: Vec::new(),
            hard_state: Some(hard_state),
            must_sync: true,
        };
        wal.save(&write).map_err(|error| OpenError::Io {
            doing: error.doing,
            file: error.file,
            source: error.source,
        })?;
    }
    Ok(Opened { wal, images, image, hard_state, entries, roster: Bytes::new(), restarted: true })
}

fn encode_identity(identity: Identity, roster: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_slice(MAGIC);
    out.put_u32_le(VERSION);
    out.put_u64_le(identity.cluster);
    out.put_u64_le(identity.node.0);
    codec::put_bytes(&mut out, roster);
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out
}

fn decode_identity(bytes: Vec<u8>, path: &Path) -> Result<(Identity, Bytes), OpenError> {
    let damaged = |why: String| OpenError::Damaged { file: path.into(), offset: 0, why };
    if bytes.len() > CHUNK_BYTES_MAX || bytes.len() < 16 || &bytes[..8] != MAGIC {
        return Err(damaged("it does not start as an identity does".into()));
    }
    let (content, crc) = bytes.split_at(bytes.len() - 4);
    let crc_matches = crc == crc32c::crc32c(content).to_le_bytes();
    let mut from = Decoder::new(Bytes::copy_from_slice(&content[8..]));
    let mut decode = || Ok((from.u32()?, from.u64()?, from.node()?, from.bytes()?));
    let decoded: Result<_, codec::DecodeError> = decode();
    match decoded {
        Ok((version, ..)) if version != VERSION => {
            Err(OpenError::Version { file: path.into(), wanted: VERSION, got: version })
        }
        Ok((_, cluster, node, roster)) if crc_matches => Ok((Identity { cluster, node }, roster)),
        Ok(_) => Err(damaged("the checksum does not match".into())),
        Err(error) => Err(damaged(error.to_string())),
    }
}
