//! Images of the state on disk.
//!
//! ```text
//! "ASSAYIMG" | version u32 | meta length u32 | cluster u64 | meta | crc u32       meta: index, term, membership
//! (length u32 | crc u32 | bytes)*                                                 the chunks
//! 0xffffffff u32 | chunks u64 | bytes of all chunks u64 | crc u32                 the footer
//! ```
//! Each checksum starts from the one before it, so that chunks cannot change places. An image is written
//! under another name, flushed and renamed: one that has its name was whole. It names no member: members
//! send each other their images.

use super::{
    AppendFile, Files, OpenError,
    error::{Doing, Identity},
};
use crate::codec::{self, Decoder};
use bytes::BufMut;
use raft::types::{LogIndex, SnapshotMeta};
use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Version of the format of images.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"ASSAYIMG";
const SUFFIX: &str = ".img";
/// Behind the name of an image that was passed over.
const DAMAGED_SUFFIX: &str = ".damaged";
const FOOTER: u32 = u32::MAX;
/// Largest chunk that is read.
pub const CHUNK_BYTES_MAX: usize = 64 << 20;
/// Written bytes are flushed this often, so that the log's flushes never wait behind a whole image.
const FLUSH_BYTES: u64 = 4 << 20;
/// Images that are kept: the newest, and one to fall back to.
const KEPT: usize = 2;

/// The images of a member.
#[derive(Clone, Debug)]
pub struct Images<F: Files> {
    files: F,
    dir: PathBuf,
    identity: Identity,
}

impl<F: Files> Images<F> {
    /// The images in `dir`.
    pub fn new(files: F, dir: &Path, identity: Identity) -> Images<F> {
        Images { files, dir: dir.into(), identity }
    }

    /// Where they are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins an image, under a name that no other writer of this process has.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&self, meta: SnapshotMeta, writer: &str) -> io::Result<ImageWriter<F>> {
        let path = self.dir.join(name(&meta));
        let temporary = self.dir.join(format!("{}.{writer}.tmp", name(&meta)));
        let mut header = Vec::new();
        let mut encoded = Vec::new();
        codec::put_snapshot_meta(&mut encoded, &meta);
        header.put_slice(MAGIC);
        header.put_u32_le(VERSION);
        codec::put_count(&mut header, encoded.len());
        header.put_u64_le(self.identity.cluster);
        header.put_slice(&encoded);
        let crc = crc32c::crc32c(&header);
        header.put_u32_le(crc);
        let mut file = self.files.create(&temporary)?;
        file.append(&header)?;
        let at = Place { crc, chunks: 0, bytes: 0 };
        Ok(ImageWriter {
            files: self.files.clone(),
            dir: self.dir.clone(),
            path,
            temporary,
            file: Some(file),
            at,
            unflushed: header.len() as u64,
        })
    }

    /// The images that have a name, newest first: index, term, path.
    ///
    /// # Errors
    /// The operating system's.
    pub fn list(&self) -> io::Result<Vec<(LogIndex, PathBuf)>> {
        let names = self.files.list(&self.dir)?;
        let mut found: Vec<_> =
            names.iter().filter_map(|name| Some((parse_name(name)?, self.dir.join(name)))).collect();
        found.sort();
        found.reverse();
        Ok(found)
    }

    /// Opens an image: its header is checked, the rest while it is read.
    ///
    /// # Errors
    /// Damage, another version, another cluster's image.
    pub fn read(&self, path: &Path) -> Result<ImageReader<F::Reader>, OpenError> {
        let from = self.files.open_read(path).doing("open", path)?;
        ImageReader::open(from, path, self.identity)
    }

    /// Opens the image that ends at `index`.
    ///
    /// # Errors
    /// As [`read`](Self::read), and where there is none.
    pub fn read_at(&self, index: LogIndex) -> Result<ImageReader<F::Reader>, OpenError> {
        let images = self.list().doing("list", &self.dir)?;
        match images.into_iter().find(|(at, _)| *at == index) {
            Some((_, path)) => self.read(&path),
            None => Err(OpenError::Missing { place: self.dir.clone(), what: format!("image {index}") }),
        }
    }

    /// Where the newest image ends, intact or not.
    ///
    /// # Errors
    /// The operating system's, and where there is none.
    pub fn newest_index(&self) -> Result<LogIndex, OpenError> {
        let images = self.list().doing("list", &self.dir)?;
        let missing = || OpenError::Missing { place: self.dir.clone(), what: "the snapshot image".into() };
        images.first().map(|(index, _)| *index).ok_or_else(missing)
    }

    /// The newest image that is intact, read through. Damaged ones are named in the log and passed over.
    ///
    /// # Errors
    /// The operating system's, or the newest image's fault if none is intact.
    pub fn newest(&self) -> Result<SnapshotMeta, OpenError> {
        let mut fault = None;
        for (_, path) in self.list().doing("list", &self.dir)? {
            match self.read(&path).and_then(|mut image| {
                while image.chunk()?.is_some() {}
                Ok(image.meta)
            }) {
                Ok(meta) => return Ok(meta),
                Err(error @ OpenError::Damaged { .. }) => {
                    tracing::error!(%error, "a snapshot image is damaged; trying an older one");
                    fault.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let what = "the snapshot image".into();
        Err(fault.unwrap_or(OpenError::Missing { place: self.dir.clone(), what }))
    }

    /// Takes images that end after `index` out of the way: they were passed over, since they are damaged, and if they
    /// counted among those that are kept, intact ones would go for them. They stay for who wants to look at them, with
    /// `.damaged` behind their names; earlier ones go.
    ///
    /// # Errors
    /// The operating system's.
    pub fn set_aside_after(&self, index: LogIndex) -> Result<(), OpenError> {
        let passed_over: Vec<PathBuf> = self
            .list()
            .doing("list", &self.dir)?
            .into_iter()
            .filter_map(|(at, path)| (at > index).then_some(path))
            .collect();
        if passed_over.is_empty() {
            return Ok(());
        }
        for name in self.files.list(&self.dir).doing("list", &self.dir)? {
            if name.ends_with(DAMAGED_SUFFIX) {
                let path = self.dir.join(name);
                self.files.remove(&path).doing("remove", &path)?;
            }
        }
        for path in passed_over {
            let mut aside = path.clone().into_os_string();
            aside.push(DAMAGED_SUFFIX);
            self.files.rename(&path, Path::new(&aside)).doing("rename", &path)?;
        }
        self.files.sync_dir(&self.dir).doing("flush", &self.dir)
    }

    /// Removes all but the newest images, and gives the index of the oldest that is kept: the log may let
    /// go of what lies before it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn remove_older(&self) -> io::Result<LogIndex> {
        let images = self.list()?;
        let kept = &images[..images.len().min(KEPT)];
        for (_, path) in images[kept.len()..].iter().rev() {
            self.files.remove(path)?;
        }
        if images.len() > kept.len() {
            self.files.sync_dir(&self.dir)?;
        }
        Ok(kept.last().map_or(LogIndex::ZERO, |(index, _)| *index))
    }
}

/// Where a reader or writer is.
#[derive(Clone, Copy, Debug)]
struct Place {
    crc: u32,
    chunks: u64,
    bytes: u64,
}

impl Place {
    fn pass(&mut self, chunk: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, chunk);
        self.chunks += 1;
        self.bytes += chunk.len() as u64;
    }

    fn footer(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..4].copy_from_slice(&FOOTER.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.chunks.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32c::crc32c_append(self.crc, &bytes[..20]);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// Writes one image. Dropped unfinished, it leaves nothing under the image's name.
#[derive(Debug)]
pub struct ImageWriter<F: Files> {
    files: F,
    dir: PathBuf,
    path: PathBuf,
    temporary: PathBuf,
    /// `None` once finished.
    file: Option<F::File>,
    at: Place,
    unflushed: u64,
}

impl<F: Files> ImageWriter<F> {
    /// Appends a chunk.
    ///
    /// # Errors
    /// The operating system's; the image must be given up then.
    pub fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        assert!(chunk.len() <= CHUNK_BYTES_MAX, "a chunk of {} bytes", chunk.len());
        let file = self.file.as_mut().expect("only finish takes it");
        self.at.pass(chunk);
        let mut head = [0; 8];
        head[..4].copy_from_slice(&(chunk.len() as u32).to_le_bytes());
        head[4..].copy_from_slice(&self.at.crc.to_le_bytes());
        file.append(&head)?;
        file.append(chunk)?;
        self.unflushed += 8 + chunk.len() as u64;
        if self.unflushed >= FLUSH_BYTES {
            file.sync()?;
            self.unflushed = 0;
        }
        Ok(())
    }

    /// Makes the image durable under its name.
    ///
    /// # Errors
    /// The operating system's; then it may or may not have its name, and is whole if it has.
    pub fn finish(mut self) -> io::Result<()> {
        let mut file = self.file.take().expect("only finish takes it");
        file.append(&self.at.footer())?;
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::ImageNotFlushed) {
            self.files.rename(&self.temporary, &self.path)?;
            return self.files.sync_dir(&self.dir);
        }
        file.sync()?;
        self.files.rename(&self.temporary, &self.path)?;
        self.files.sync_dir(&self.dir)
    }
}

impl<F: Files> Drop for ImageWriter<F> {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // What cannot be removed now is removed at the next start.
            let _ = self.files.remove(&self.temporary);
        }
    }
}

/// Reads one image.
#[derive(Debug)]
pub struct ImageReader<R> {
    /// Which state it is an image of.
    pub meta: SnapshotMeta,
    from: R,
    path: PathBuf,
    at: Place,
    /// Bytes read so far, for messages.
    offset: u64,
    ended: bool,
}

impl<R: Read> ImageReader<R> {
    fn open(from: R, path: &Path, identity: Identity) -> Result<ImageReader<R>, OpenError> {
        let meta =
            SnapshotMeta { index: LogIndex::ZERO, term: Default::default(), membership: Default::default() };
        let at = Place { crc: 0, chunks: 0, bytes: 0 };
        let mut image = ImageReader { meta, from, path: path.into(), at, offset: 0, ended: false };
        let mut header = image.take(24)?;
        if &header[..8] != MAGIC {
            return Err(image.damaged("it does not start as an image does"));
        }
        let got = u32::from_le_bytes(header[8..12].try_into().expect("4 bytes"));
        if got != VERSION {
            return Err(OpenError::Version { file: path.into(), wanted: VERSION, got });
        }
        let len = u32::from_le_bytes(header[12..16].try_into().expect("4 bytes")) as usize;
        let cluster = u64::from_le_bytes(header[16..24].try_into().expect("8 bytes"));
        let encoded = image.take(len)?;
        header.extend_from_slice(&encoded);
        image.at.crc = crc32c::crc32c(&header);
        if image.take(4)? != image.at.crc.to_le_bytes() {
            return Err(image.damaged("the checksum of the header does not match"));
        }
        identity.check(path, cluster, None)?;
        let mut decoder = Decoder::new(encoded.into());
        let meta = decoder.snapshot_meta().and_then(|meta| decoder.end().map(|()| meta));
        image.meta = meta.map_err(|error| image.damaged(&format!("the header makes no sense: {error}")))?;
        Ok(image)
    }

    /// The next chunk; `None` after the last one, once the footer has been checked.
    ///
    /// # Errors
    /// Damage, and the operating system's.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, OpenError> {
        if self.ended {
            return Ok(None);
        }
        let head = self.take(4)?;
        let len = u32::from_le_bytes(head.try_into().expect("4 bytes"));
        if len == FOOTER {
            let footer = self.take(20)?;
            if footer != self.at.footer()[4..] {
                return Err(self.damaged("the footer does not match"));
            }
            let mut byte = [0];
            if self.from.read(&mut byte).doing("read", &self.path)? != 0 {
                return Err(self.damaged("there are bytes after the footer"));
            }
            self.ended = true;
            return Ok(None);
        }
        if len as usize > CHUNK_BYTES_MAX {
            return Err(self.damaged("a chunk is too long"));
        }
        let crc = self.take(4)?;
        let chunk = self.take(len as usize)?;
        self.at.pass(&chunk);
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::ImageChecksumIgnored) {
            // The footer's checksum follows from those before it.
            self.at.crc = u32::from_le_bytes(crc[..].try_into().expect("4 bytes"));
            return Ok(Some(chunk));
        }
        if crc != self.at.crc.to_le_bytes() {
            return Err(self.damaged("the checksum of a chunk does not match"));
        }
        Ok(Some(chunk))
    }

    fn take(&mut self, len: usize) -> Result<Vec<u8>, OpenError> {
        // Grows with what is there: a length that is itself damaged allocates nothing.
        let mut bytes = Vec::new();
        let got = self.from.by_ref().take(len as u64).read_to_end(&mut bytes).doing("read", &self.path)?;
        if got < len {
            return Err(self.damaged("the file ends too early"));
        }
        self.offset += len as u64;
        Ok(bytes)
    }

    fn damaged(&self, why: &str) -> OpenError {
        OpenError::Damaged { file: self.path.clone(), offset: self.offset, why: why.into() }
    }
}

fn name(meta: &SnapshotMeta) -> String {
    format!("{:016x}-{:016x}{SUFFIX}", meta.index.0, meta.term.0)
}

fn parse_name(name: &str) -> Option<LogIndex> {
    let (index, term) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    if index.len() != 16 || term.len() != 16 || u64::from_str_radix(term, 16).is_err() {
        return None;
    }
    u64::from_str_radix(index, 16).ok().map(LogIndex)
}
