//! Reads histories from files, line by line: one JSON object a line, the header first.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::event::{Event, Header, VERSION};

/// Lines longer than this are not read into memory.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Reads the events of a history, in order, without holding the file as text.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    path: PathBuf,
    header: Header,
    line: u64,
    buffer: Vec<u8>,
    accept_torn: bool,
    torn: Option<Torn>,
}

/// The last line of a file that was cut in the middle of a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Torn {
    /// Its number, from 1.
    pub line: u64,
    /// How many bytes of it there are.
    pub bytes: usize,
    /// Why it could not be understood.
    pub reason: String,
}

impl Reader<BufReader<File>> {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`ReadError`], where the file cannot be read or has no header of this version.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(|error| ReadError::new(path, 0, ReadErrorKind::Io(error)))?;
        Reader::new(BufReader::with_capacity(1 << 20, file), path)
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads the header from any input; `path` is for messages.
    ///
    /// # Errors
    /// [`ReadError`], where the input cannot be read or has no header of this version.
    pub fn new(input: R, path: &Path) -> Result<Self, ReadError> {
        let placeholder = Header {
            v: VERSION,
            seed: 0,
            scenario: String::new(),
            faults: Vec::new(),
            system: String::new(),
            nodes: 0,
            clock: String::new(),
        };
        let mut reader = Reader {
            input,
            path: path.to_owned(),
            header: placeholder,
            line: 0,
            buffer: Vec::new(),
            accept_torn: false,
            torn: None,
        };
        if !reader.read_line()? {
            return Err(reader.error(ReadErrorKind::Empty));
        }
        let header: Header = serde_json::from_slice(&reader.buffer)
            .map_err(|error| reader.error(ReadErrorKind::Header(error)))?;
        if header.v != VERSION {
            return Err(reader.error(ReadErrorKind::Version { found: header.v }));
        }
        reader.header = header;
        Ok(reader)
    }

    /// Lets the last line be torn: it is kept in [`Reader::torn`] and is no error.
    #[must_use]
    pub fn accept_torn(mut self) -> Self {
        self.accept_torn = true;
        self
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The torn last line, once the end has been reached.
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// The next event, with the number of its line (the header's is 1); `None` at the end.
    ///
    /// # Errors
    /// [`ReadError`], with the line.
    pub fn next_event(&mut self) -> Result<Option<(u64, Event)>, ReadError> {
        loop {
            if self.torn.is_some() || !self.read_line()? {
                return Ok(None);
            }
            if self.buffer.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let error = match serde_json::from_slice(&self.buffer) {
                Ok(event) => return Ok(Some((self.line, event))),
                Err(error) => error,
            };
            // Only a line without its newline can be a write that was cut.
            if self.accept_torn && self.buffer.last() != Some(&b'\n') {
                let (line, bytes) = (self.line, self.buffer.len());
                self.torn = Some(Torn { line, bytes, reason: error.to_string() });
                return Ok(None);
            }
            return Err(self.error(ReadErrorKind::Event(error)));
        }
    }

    fn read_line(&mut self) -> Result<bool, ReadError> {
        self.buffer.clear();
        self.line += 1;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.error(ReadErrorKind::Io(error))),
            };
            if chunk.is_empty() {
                return Ok(!self.buffer.is_empty());
            }
            let end = chunk.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
            let taken = end.unwrap_or(chunk.len());
            self.buffer.extend_from_slice(&chunk[..taken]);
            self.input.consume(taken);
            if end.is_some() {
                return Ok(true);
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(self.error(ReadErrorKind::LineTooLong));
            }
        }
    }

    fn error(&self, kind: ReadErrorKind) -> ReadError {
        ReadError::new(&self.path, self.line, kind)
    }
}

/// Why a history could not be read.
#[derive(Debug)]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; 0 where the file could not be opened.
    pub line: u64,
    /// What is wrong there.
    pub kind: ReadErrorKind,
}

/// What is wrong with a line or a file.
#[derive(Debug)]
pub enum ReadErrorKind {
    /// The file could not be read.
    Io(io::Error),
    /// There is no line at all.
    Empty,
    /// The first line is no header.
    Header(serde_json::Error),
    /// The header is of another version of the format.
    Version {
        /// Which.
        found: u32,
    },
    /// A line is no event.
    Event(serde_json::Error),
    /// A line is longer than any event.
    LineTooLong,
    /// A line of another tool's format is not understood.
    Foreign(String),
}

impl ReadError {
    pub(crate) fn new(path: &Path, line: u64, kind: ReadErrorKind) -> ReadError {
        ReadError { path: path.to_owned(), line, kind }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        match &self.kind {
            ReadErrorKind::Io(error) => write!(f, ": {error}"),
            ReadErrorKind::Empty => write!(f, ": the file is empty, a history begins with a header"),
            ReadErrorKind::Header(error) => write!(f, ": not a history's header: {error}"),
            ReadErrorKind::Version { found } => {
                write!(f, ": format version {found}, this build reads version {VERSION}")
            }
            ReadErrorKind::Event(error) => write!(f, ": not an event: {error}"),
            ReadErrorKind::LineTooLong => write!(f, ": the line is longer than {LINE_BYTES_MAX} bytes"),
            ReadErrorKind::Foreign(why) => write!(f, ": {why}"),
        }
    }
}

impl std::error::Error for ReadError {}
