//! The file operations that durability rests on, as a seam: the real ones here, faulty ones in the
//! simulator and in tests.

use crate::metrics::Metrics;
use std::{
    fmt::Debug,
    fs, io,
    io::{Read, Write},
    path::Path,
    sync::Arc,
    time::Instant,
};

/// A file system, as far as the log and the images need one.
pub trait Files: Clone + Debug + Send + Sync + 'static {
    /// A file that is only appended to.
    type File: AppendFile;
    /// A file that is read from its start.
    type Reader: Read + Send;

    /// Makes an empty file, in place of an old one of this name.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file to append to its end.
    fn open_append(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file to read it from its start.
    fn open_read(&self, path: &Path) -> io::Result<Self::Reader>;
    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes a directory and its parents; it may be there already.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Gives a file another name in the same directory, replacing what has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// The whole of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_read(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A file that is only appended to.
pub trait AppendFile: Debug + Send + 'static {
    /// Writes all of `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written durable. After an error nothing is known of what was written since the
    /// last success, and asking again proves nothing.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Clone, Debug)]
pub struct RealFiles {
    /// Whether to flush at all: `false` gives up durability for speed (`--unsafe-no-fsync`).
    pub fsync: bool,
    /// Where flushes and written bytes are counted.
    pub metrics: Arc<Metrics>,
}

/// A file of the operating system.
#[derive(Debug)]
pub struct RealFile {
    file: fs::File,
    files: RealFiles,
}

impl Files for RealFiles {
    type File = RealFile;
    type Reader = io::BufReader<fs::File>;

    fn create(&self, path: &Path) -> io::Result<RealFile> {
        let file = fs::OpenOptions::new().append(true).create(true).open(path)?;
        file.set_len(0)?; // std refuses `truncate` beside `append`
        Ok(RealFile { file, files: self.clone() })
    }

    fn open_append(&self, path: &Path) -> io::Result<RealFile> {
        Ok(RealFile { file: fs::OpenOptions::new().append(true).open(path)?, files: self.clone() })
    }

    fn open_read(&self, path: &Path) -> io::Result<Self::Reader> {
        Ok(io::BufReader::with_capacity(128 << 10, fs::File::open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.fsync { fs::File::open(dir)?.sync_all() } else { Ok(()) }
    }
}

impl AppendFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.files.metrics.wal_write_bytes.add(bytes.len() as u64);
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if !self.files.fsync {
            return Ok(());
        }
        let begun = Instant::now();
        let result = self.file.sync_data();
        self.files.metrics.wal_fsync.observe(begun.elapsed());
        result
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
