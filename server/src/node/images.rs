//! State images: written in the background, loaded at start or when a leader sent one, streamed to peers.

use super::shared::{Event, Shared};
use crate::{
    cluster::Roster,
    disk::{Files, ImageReader, Images, OpenError},
    net::ImageSource,
    state_machine::{Image, Restore, RestoreError, StateMachine},
};
use raft::types::{LogIndex, SnapshotMeta};
use std::{
    fmt,
    io::{self, Read},
    sync::{
        Arc,
        atomic::Ordering::{Acquire, Relaxed},
    },
    time::Instant,
};

/// Bytes of a chunk: what is copied under one short read lock.
const CHUNK_BYTES: usize = 256 << 10;

/// Why an image cannot be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The file.
    File(OpenError),
    /// The file is intact, but what it holds is no state.
    State(RestoreError),
    /// The state is not the one that the file's header names.
    Index {
        /// The header's.
        wanted: LogIndex,
        /// The state's.
        got: LogIndex,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::State(error) => write!(f, "the image is intact, but holds no state: {error}"),
            Self::Index { wanted, got } => {
                write!(f, "the image should end at entry {wanted}, and ends at {got}")
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// Loads the image that ends at `index`; 0 is the empty state of a cluster that begins with `birth`.
///
/// # Errors
/// See [`LoadError`].
pub fn load<F: Files>(
    images: &Images<F>,
    index: LogIndex,
    birth: &Roster,
) -> Result<StateMachine, LoadError> {
    if index == LogIndex::ZERO {
        return Ok(StateMachine::of_new_cluster(birth.clone()));
    }
    let mut reader = images.read_at(index).map_err(LoadError::File)?;
    let mut restore = Restore::new();
    while let Some(chunk) = reader.chunk().map_err(LoadError::File)? {
        restore = restore.push(&chunk).map_err(LoadError::State)?;
    }
    let state = restore.finish().map_err(LoadError::State)?;
    let got = state.applied();
    if got == index { Ok(state) } else { Err(LoadError::Index { wanted: index, got }) }
}

/// The newest image, opened for streaming.
pub(super) fn newest<F: Files>(images: &Images<F>) -> Result<Source<F::Reader>, OpenError> {
    let meta = images.newest_index()?;
    images.read_at(meta).map(Source)
}

/// An image on its way to a peer.
pub(super) struct Source<R>(ImageReader<R>);

impl<R> Source<R> {
    pub(super) fn meta(&self) -> &SnapshotMeta {
        &self.0.meta
    }
}

impl<R: Read + Send + 'static> ImageSource for Source<R> {
    fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.0.chunk().map_err(io::Error::other)
    }
}

/// Writes an image of the state that was pinned, and tells the raft thread. Gives the bytes written, `None`
/// if the image was given up.
pub(super) fn write<F: Files>(
    shared: &Arc<Shared>,
    images: &Images<F>,
    meta: SnapshotMeta,
    mut image: Image,
    generation: u64,
) -> io::Result<Option<u64>> {
    let (begun, index) = (Instant::now(), meta.index);
    let mut writer = images.write(meta, "own")?;
    let mut bytes = 0;
    loop {
        let state = shared.state.read();
        if shared.generation.load(Acquire) != generation || shared.stopping.load(Relaxed) {
            return Ok(None);
        }
        let chunk = state.image_chunk(&mut image, CHUNK_BYTES);
        drop(state);
        let Some(chunk) = chunk else { break };
        bytes += chunk.len() as u64;
        writer.chunk(&chunk)?;
    }
    shared.state.read().end_image(image);
    writer.finish()?;
    let oldest = images.remove_older()?;
    shared.metrics.snapshot_save.observe(begun.elapsed());
    let took_ms = begun.elapsed().as_millis() as u64;
    tracing::info!(node = %shared.options.id, index = index.0, bytes, took_ms, "wrote a snapshot image");
    shared.events.push(Event::ImageWritten { index, oldest });
    Ok(Some(bytes))
}
