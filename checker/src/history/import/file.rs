//! Reads a history from a file of any known form, compressed or not: what a file is, its first bytes say.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::super::file::{ReadError, ReadErrorKind};
use super::super::{Header, History, Reader};
use super::elements::Notation;
use super::sessions::{self, Style};
use super::{jepsen, porcupine};

const BUFFER_BYTES: usize = 1 << 18;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The forms of histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// This project's `history.jsonl`.
    Assay,
    /// Jepsen's `history.edn`, and Porcupine's key-value logs.
    Edn,
    /// The same as JSON.
    Json,
    /// Lines of Jepsen's log of 2014.
    JepsenLog,
    /// Transactions by session, as AWDIT's and Plume's text.
    Sessions(Style),
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Assay => "history.jsonl",
            Form::Edn => "EDN",
            Form::Json => "JSON",
            Form::JepsenLog => "Jepsen log",
            Form::Sessions(Style::Awdit) => "AWDIT text",
            Form::Sessions(Style::Plume) => "Plume text",
        })
    }
}

/// Reads a history from a file; gzip and zstd are undone.
///
/// # Errors
/// [`ReadError`], with the line, where the file cannot be read or understood.
pub fn read(path: &Path) -> Result<(Form, History), ReadError> {
    let io = |error| ReadError::new(path, 0, ReadErrorKind::Io(error));
    let file = File::open(path).map_err(io)?;
    let mut input = BufReader::with_capacity(BUFFER_BYTES, file);
    let start = input.fill_buf().map_err(io)?;
    let plain: Box<dyn Read> = if start.starts_with(GZIP) {
        Box::new(flate2::bufread::MultiGzDecoder::new(input))
    } else if start.starts_with(ZSTD) {
        let frames = ruzstd::decoding::StreamingDecoder::new(input);
        Box::new(frames.map_err(|error| io(io::Error::other(error)))?)
    } else {
        Box::new(input)
    };
    read_plain(plain, path)
}

/// Reads a history from an input that is not compressed; `path` is for messages.
///
/// # Errors
/// [`ReadError`], with the line, where it cannot be read or understood.
pub fn read_plain(input: impl Read, path: &Path) -> Result<(Form, History), ReadError> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, Whole(input));
    let start = input.fill_buf().map_err(|error| ReadError::new(path, 0, ReadErrorKind::Io(error)))?;
    let form = form(start);
    let history = match form {
        Form::Assay => History::read(Reader::new(input, path)?.accept_torn())?,
        Form::Edn => jepsen::read(input, path, Notation::Edn)?,
        Form::Json => jepsen::read(input, path, Notation::Json)?,
        Form::JepsenLog => porcupine::read(input, path)?,
        Form::Sessions(style) => sessions::read(input, path, style)?,
    };
    Ok((form, history))
}

/// Fills buffers as far as they go: a decoder may give out a byte at a time.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// What the first bytes of a file say about its form.
fn form(start: &[u8]) -> Form {
    let first_line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if serde_json::from_slice::<Header>(first_line).is_ok() {
        return Form::Assay;
    }
    if let Some(style) = sessions::style(start) {
        return Form::Sessions(style);
    }
    let mut rest = start;
    let mut in_list = false;
    loop {
        match rest {
            [b' ' | b'\t' | b'\r' | b'\n' | b',', after @ ..] => rest = after,
            [b';', ..] => {
                let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                rest = &rest[end..];
            }
            [b'[', after @ ..] if !in_list => (rest, in_list) = (after, true),
            [b'{', after @ ..] => {
                let field = after.iter().find(|byte| !byte.is_ascii_whitespace());
                // An empty map is one in either; a header that is not understood is told of as one.
                return match field {
                    Some(b'"') if !in_list && first_line.starts_with(b"{\"v\":") => Form::Assay,
                    Some(b'"') => Form::Json,
                    Some(_) | None => Form::Edn,
                };
            }
            [b'(' | b'#' | b'[' | b']', ..] => return Form::Edn,
            // An empty file is told of by the reader of our own.
            [] => return Form::Assay,
            [..] if contains(start, b"jepsen.util - ") => return Form::JepsenLog,
            [..] => return Form::Edn,
        }
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const EDN: &str = "{:type :invoke :process 1 :f :read} {:type :ok :process 1 :f :read :value 3}";

    #[test]
    fn the_first_bytes_tell_the_form() {
        let header = "{\"v\":1,\"seed\":7,\"scenario\":\"kv\",\"system\":\"s\",\"nodes\":3,\"clock\":\"monotonic_ns\"}\n";
        for (start, want) in [
            (header, Form::Assay),
            ("{\"v\":1,\"seed\":\"x\"}\n", Form::Assay),
            ("", Form::Assay),
            ("{:type :invoke}", Form::Edn),
            ("; a comment\n[{:type", Form::Edn),
            ("({:type", Form::Edn),
            ("#jepsen.history.Op{:type", Form::Edn),
            ("[\n {\"type\": ", Form::Json),
            ("{\"type\":\"invoke\"}", Form::Json),
            ("INFO  jepsen.util - 9\t:invoke\t:write\t1\n", Form::JepsenLog),
            ("nonsense", Form::Edn),
        ] {
            assert_eq!(form(start.as_bytes()), want, "{start}");
        }
    }

    #[test]
    fn gzip_is_undone_and_what_is_cut_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("h.edn.gz");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(EDN.as_bytes()).expect("writes");
        let bytes = encoder.finish().expect("ends");
        std::fs::write(&path, &bytes).expect("writes");
        let (form, history) = read(&path).expect("reads");
        assert_eq!((form, history.operations().len()), (Form::Edn, 1));
        std::fs::write(&path, &bytes[..bytes.len() - 12]).expect("writes");
        assert!(read(&path).is_err());
    }

    #[test]
    fn zstd_is_undone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("h.edn.zst");
        let bytes =
            ruzstd::encoding::compress_to_vec(EDN.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
        std::fs::write(&path, bytes).expect("writes");
        let (form, history) = read(&path).expect("reads");
        assert_eq!((form, history.operations().len()), (Form::Edn, 1));
    }
}
