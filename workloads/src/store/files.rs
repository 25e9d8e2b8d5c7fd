//! Files of runs, and whole runs in one file.

use super::{index, scan::Store};
use crate::report::{JUNIT, PAGE};
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Pieces under way between the disk and the network.
const PIECES: usize = 8;
const PIECE_BYTES: usize = 64 * 1024;
/// Under it a browser loads nothing from elsewhere and sends nothing anywhere.
const NO_SCRIPT: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; \
                         form-action 'self'; frame-ancestors 'none'";
/// The same, and the report's own script runs.
const OWN_SCRIPT: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self' \
                          data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A page of ours.
pub(super) fn page(status: StatusCode, html: String) -> Response {
    let mut response = (status, html).into_response();
    secure(&mut response, "text/html; charset=utf-8", NO_SCRIPT);
    response
}

fn secure(response: &mut Response, kind: &'static str, policy: &'static str) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // A report may be made again at any time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

/// A file, or what is in a folder.
///
/// # Errors
/// When it is not there.
pub(super) fn file(store: &Store, path: &str) -> io::Result<Response> {
    let place = store.resolve(path)?;
    if place.is_dir() {
        return Ok(page(StatusCode::OK, index::folder(path.trim_matches('/'), &place)?));
    }
    let file = File::open(&place)?;
    let bytes = file.metadata()?.len();
    let mut response =
        Body::from_stream(ReceiverStream::new(pieces(move |out| copy(file, out)))).into_response();
    let (kind, policy) = kind(&place);
    secure(&mut response, kind, policy);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    Ok(response)
}

/// What a browser may take a file for: a log or a history is text, whatever stands in it.
fn kind(place: &Path) -> (&'static str, &'static str) {
    let name = place.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match (name, place.extension().and_then(|ending| ending.to_str())) {
        (PAGE, _) => ("text/html; charset=utf-8", OWN_SCRIPT),
        (JUNIT, _) => ("application/xml", NO_SCRIPT),
        (_, Some("json")) => ("application/json", NO_SCRIPT),
        (_, Some("svg")) => ("image/svg+xml", NO_SCRIPT),
        (_, Some("jsonl" | "log" | "md" | "txt")) => ("text/plain; charset=utf-8", NO_SCRIPT),
        _ => ("application/octet-stream", NO_SCRIPT),
    }
}

fn copy(mut file: File, out: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            n => out.write_all(&buffer[..n])?,
        }
    }
}

/// A whole run as `.tar.gz`, made while it is sent.
///
/// # Errors
/// When there is no such folder.
pub(super) fn archive(store: &Store, path: &str) -> io::Result<Response> {
    let place = store.resolve(path)?;
    if !place.is_dir() || place == store.root {
        return Err(io::Error::new(io::ErrorKind::NotFound, "not the folder of a run"));
    }
    let name =
        path.trim_matches('/').replace(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-', "_");
    let within = name.clone();
    let pieces = pieces(move |out| {
        let mut tar = tar::Builder::new(GzEncoder::new(out, Compression::fast()));
        tar.follow_symlinks(false);
        tar.append_dir_all(&within, &place)?;
        tar.into_inner()?.finish()?.flush()
    });
    let mut response = Body::from_stream(ReceiverStream::new(pieces)).into_response();
    secure(&mut response, "application/gzip", NO_SCRIPT);
    let disposition = format!("attachment; filename=\"{name}.tar.gz\"");
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

type Piece = io::Result<Bytes>;

/// What `work` writes, piece by piece; its error ends the transfer, so that nobody takes a part for the whole.
fn pieces(work: impl FnOnce(&mut Sender) -> io::Result<()> + Send + 'static) -> mpsc::Receiver<Piece> {
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut out = Sender(sender);
        if let Err(error) = work(&mut out) {
            // Nobody is there any more, if this fails.
            let _ = out.0.blocking_send(Err(error));
        }
    });
    receiver
}

/// Hands what is written to the network.
struct Sender(mpsc::Sender<Piece>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Ok(piece)).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_report_may_run_a_script() {
        for (name, html) in [
            ("report.html", true),
            ("other.html", false),
            ("history.jsonl", false),
            ("witness-1.svg", false),
            ("n1.log", false),
            ("0.wal", false),
        ] {
            let (kind, policy) = kind(Path::new(name));
            assert_eq!((kind.starts_with("text/html"), policy == OWN_SCRIPT), (html, html), "{name}");
        }
    }
}
