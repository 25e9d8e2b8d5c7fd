//! Snapshots as files: what the Maintenance service streams, `etcdctl snapshot save` stores, and
//! `assay-server snapshot restore` makes a cluster from.
//!
//! ```text
//! "ASSAYSNP" | version u32
//! (length u32 | chunk of a state image)*        little-endian; the chunks guard themselves, see state_machine
//! 0 u32 | zeros up to a multiple of 512
//! SHA-256 of everything before
//! ```
//! The padding and the hash at the end are what etcdctl looks for when it has stored a snapshot. The rest is this
//! server's own: etcd's tools cannot read it, nor can this server read etcd's database files.

use crate::state_machine::{Image, Restore, RestoreError, StateMachine};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read, Seek, Write},
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

const MAGIC: &[u8; 8] = b"ASSAYSNP";
const VERSION: u32 = 1;
const BLOCK_BYTES: usize = 512;
const HASH_BYTES: usize = 32;
/// Largest chunk that is read.
const CHUNK_BYTES_MAX: usize = 64 << 20;
/// Bytes of a streamed message. As etcd.
const BLOB_BYTES: usize = 32 << 10;

/// What one look at the state gives.
#[derive(Debug)]
pub enum Step {
    /// An image was begun.
    Begun(Box<Image>),
    /// Its next chunk, if there is one.
    Chunk(Option<Vec<u8>>),
}

/// Writes a snapshot into a file without a name in `dir`. `step` is called again and again: first without an
/// image, to begin one, then with it, for its chunks; in between it must let the state go.
///
/// # Errors
/// The operating system's, and those of `step`.
pub fn spool(dir: &Path, step: impl FnMut(Option<&mut Image>) -> io::Result<Step>) -> io::Result<Spooled> {
    let mut file = nameless_file(dir)?;
    let bytes = write(&file, step)?;
    file.rewind()?;
    Ok(Spooled { file, remaining: bytes as u64 })
}

fn write(file: &File, mut step: impl FnMut(Option<&mut Image>) -> io::Result<Step>) -> io::Result<usize> {
    let mut out = Hashed { to: io::BufWriter::new(file), hash: Sha256::new(), bytes: 0 };
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    let Step::Begun(mut image) = step(None)? else {
        return Err(io::Error::other("a chunk came before its image"));
    };
    while let Step::Chunk(Some(chunk)) = step(Some(&mut image))? {
        let len = u32::try_from(chunk.len()).map_err(io::Error::other)?;
        out.write_all(&len.to_le_bytes())?;
        out.write_all(&chunk)?;
    }
    out.write_all(&0_u32.to_le_bytes())?;
    let padding = out.bytes.next_multiple_of(BLOCK_BYTES) - out.bytes;
    out.write_all(&vec![0; padding])?;
    let Hashed { mut to, hash, bytes } = out;
    to.write_all(&hash.finalize())?;
    to.flush()?;
    Ok(bytes + HASH_BYTES)
}

/// A file that is gone once it is closed.
fn nameless_file(dir: &Path) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("snapshot-{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Relaxed));
    let path = dir.join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Writes, counts and hashes.
struct Hashed<W> {
    to: W,
    hash: Sha256,
    bytes: usize,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A snapshot to be sent: yields blobs, each with the number of bytes that come after it. It ends early if the
/// file cannot be read, which the hash that then is missing tells the receiver.
#[derive(Debug)]
pub struct Spooled {
    file: File,
    remaining: u64,
}

impl Iterator for Spooled {
    type Item = (u64, Bytes);

    fn next(&mut self) -> Option<(u64, Bytes)> {
        // The hash comes alone. As etcd.
        let content = self.remaining.saturating_sub(HASH_BYTES as u64);
        let len = if content > 0 { content.min(BLOB_BYTES as u64) } else { self.remaining };
        if len == 0 {
            return None;
        }
        let mut blob = vec![0; len as usize];
        self.file.read_exact(&mut blob).ok()?;
        self.remaining -= len;
        Some((self.remaining, blob.into()))
    }
}

/// Why a file is no snapshot.
#[derive(Debug)]
pub enum SnapshotError {
    /// The operating system's.
    Io(io::Error),
    /// It is one of etcd's database files.
    OfEtcd,
    /// It does not begin as a snapshot does.
    Alien,
    /// Another version wrote it.
    Version(u32),
    /// It ends too early, or goes on behind its end.
    Length,
    /// It was changed after it was written.
    Hash,
    /// What it holds is no state.
    State(RestoreError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::OfEtcd => f.write_str(
                "this is a database file of etcd, which this server cannot read. Copy the keys instead: start \
                 etcd on it, and run etcdctl make-mirror",
            ),
            Self::Alien => f.write_str("it does not begin as a snapshot of this server does"),
            Self::Version(version) => {
                write!(f, "it has format {version}; this program reads format {VERSION}")
            }
            Self::Length => f.write_str("it is not complete, or something follows its end"),
            Self::Hash => f.write_str("its hash does not match: it was damaged, or changed"),
            Self::State(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> SnapshotError {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Length } else { Self::Io(error) }
    }
}

/// Reads and checks a whole snapshot.
///
/// # Errors
/// See [`SnapshotError`].
pub fn read(path: &Path) -> Result<StateMachine, SnapshotError> {
    let mut from = Checked { from: BufReader::new(File::open(path)?), hash: Sha256::new(), bytes: 0 };
    let mut head = [0; 12];
    from.take(&mut head)?;
    if &head[..8] != MAGIC {
        return Err(if is_etcds(path) { SnapshotError::OfEtcd } else { SnapshotError::Alien });
    }
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let mut restore = Restore::new();
    loop {
        let mut len = [0; 4];
        from.take(&mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        if len == 0 {
            break;
        }
        if len > CHUNK_BYTES_MAX {
            return Err(SnapshotError::Hash);
        }
        let mut chunk = vec![0; len];
        from.take(&mut chunk)?;
        restore = restore.push(&chunk).map_err(SnapshotError::State)?;
    }
    let mut padding = vec![0; from.bytes.next_multiple_of(BLOCK_BYTES) - from.bytes];
    from.take(&mut padding)?;
    let Checked { mut from, hash, .. } = from;
    let mut found = Vec::new();
    from.read_to_end(&mut found)?;
    if found.len() != HASH_BYTES {
        return Err(SnapshotError::Length);
    }
    if found != hash.finalize().as_slice() {
        return Err(SnapshotError::Hash);
    }
    restore.finish().map_err(SnapshotError::State)
}

/// Reads, counts and hashes.
struct Checked<R> {
    from: R,
    hash: Sha256,
    bytes: usize,
}

impl<R: Read> Checked<R> {
    fn take(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.from.read_exact(bytes)?;
        self.hash.update(&*bytes);
        self.bytes += bytes.len();
        Ok(())
    }
}

/// Whether a file begins as bbolt's do: a page header, then the magic number.
fn is_etcds(path: &Path) -> bool {
    let mut head = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head[16..20] == 0xED0C_DAED_u32.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{
        etcdserverpb::PutRequest,
        internal::{Command, command::Request},
    };
    use raft::types::LogIndex;

    fn state() -> StateMachine {
        let mut state = StateMachine::new();
        for n in 1..=50_u64 {
            let put = PutRequest {
                key: format!("k{n}").into(),
                value: vec![7; 1000].into(),
                ..PutRequest::default()
            };
            let command = Command { request: Some(Request::Put(put)), ..Command::default() };
            state.apply(LogIndex(n), &command).expect("a put");
        }
        state
    }

    fn spooled(state: &StateMachine, dir: &Path) -> Vec<(u64, Bytes)> {
        let step = |image: Option<&mut Image>| {
            Ok(match image {
                None => Step::Begun(Box::new(state.begin_image())),
                Some(image) => Step::Chunk(state.image_chunk(image, 4000)),
            })
        };
        spool(dir, step).expect("a snapshot").collect()
    }

    #[test]
    fn a_snapshot_is_read_back_and_no_other_file_is_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = state();
        let blobs = spooled(&state, dir.path());
        assert_eq!(std::fs::read_dir(dir.path()).expect("a list").count(), 0, "nothing is left behind");
        let whole: Vec<u8> = blobs.iter().flat_map(|(_, blob)| blob.to_vec()).collect();
        let mut left = whole.len() as u64;
        for (remaining, blob) in &blobs {
            left -= blob.len() as u64;
            assert_eq!(*remaining, left);
        }
        assert_eq!((whole.len() % 512, blobs.last().map(|(_, blob)| blob.len())), (32, Some(32)));

        let file = dir.path().join("snapshot");
        let read_of = |bytes: &[u8]| {
            std::fs::write(&file, bytes).expect("a file");
            read(&file)
        };
        let restored = read_of(&whole).expect("a snapshot");
        assert_eq!(restored.kv().hash(), state.kv().hash());
        for cut in [0, 5, 11, 100, whole.len() - 32, whole.len() - 1] {
            assert!(read_of(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(matches!(read_of(&[&whole[..], b"x"].concat()), Err(SnapshotError::Length)));
        let mut flipped = whole.clone();
        let padding = whole.len() - 40;
        flipped[padding] ^= 1;
        assert!(matches!(read_of(&flipped), Err(SnapshotError::Hash)));
        let mut other = whole.clone();
        other[8] = 9;
        assert!(matches!(read_of(&other), Err(SnapshotError::Version(9))));
        let bbolt = [&[0; 16][..], &0xED0C_DAED_u32.to_le_bytes(), &[0; 100]].concat();
        assert!(matches!(read_of(&bbolt), Err(SnapshotError::OfEtcd)));
    }
}
