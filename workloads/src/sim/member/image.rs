//! A member's images: taken, stored, and handed to others.

use super::{Member, Out, turn::step};
use crate::sim::disk::SimFiles;
use raft::SnapshotMeta;
use server::{
    disk::{Images, OpenError},
    node::{LoadError, load_image},
    replica::{Answers, Input},
    state_machine::News,
};

/// Bytes of an image's chunk.
const CHUNK_BYTES: usize = 1 << 14;

impl Member {
    /// Stores an image that a peer sent. Returns whether that was possible.
    pub(super) fn store_image(&mut self, meta: SnapshotMeta, chunks: &[Vec<u8>]) -> bool {
        let Some(life) = &mut self.life else { return false };
        let stored = life.images.write(meta, "peer").and_then(|mut writer| {
            chunks.iter().try_for_each(|chunk| writer.chunk(chunk))?;
            writer.finish()
        });
        stored.is_ok()
    }

    /// Replaces the state by a stored image.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn install(&mut self, meta: SnapshotMeta, out: &mut Out) -> Result<(), LoadError> {
        let Some(life) = &mut self.life else { return Ok(()) };
        #[cfg_attr(not(feature = "plant"), expect(unused_mut, reason = "a plant is set in it"))]
        let mut state = load_image(&life.images, meta.index, &self.roster)?;
        #[cfg(feature = "plant")]
        state.set_plant(self.plant);
        let revision = state.kv().revision();
        *self.door.state_mut() = state;
        self.door.tell(News::default(), revision);
        life.last_image = meta.index;
        out.imaged = true;
        let mut answers = Answers::default();
        life.applier.installed(meta, &mut answers);
        self.answer_all(answers);
        Ok(())
    }

    /// Writes an image when enough was applied since the last one.
    pub(super) fn take_image(&mut self, out: &mut Out) {
        let Some(life) = &mut self.life else { return };
        let index = life.applier.applied();
        if index.0 < life.last_image.0 + self.snapshot_count {
            return;
        }
        let meta = life.applier.meta().clone();
        let written = life.images.write(meta, "own").and_then(|mut writer| {
            let state = self.door.state();
            let mut image = state.begin_image();
            while let Some(chunk) = state.image_chunk(&mut image, CHUNK_BYTES) {
                writer.chunk(&chunk)?;
            }
            state.end_image(image);
            writer.finish()?;
            life.images.remove_older()
        });
        // After an error the log is kept, and another image is tried later.
        let Ok(oldest) = written else { return };
        life.last_image = index;
        out.imaged = true;
        step(&mut life.replica, Input::SnapshotTaken { index, keep: self.keep }, out);
        let _ = life.wal.release(oldest).remove();
    }
}

/// The newest image, to be sent: what it is of, and its chunks.
///
/// # Errors
/// There is none, or it cannot be read.
pub(super) fn read_image(images: &Images<SimFiles>) -> Result<(SnapshotMeta, Vec<Vec<u8>>), OpenError> {
    let mut reader = images.read_at(images.newest_index()?)?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.chunk()? {
        chunks.push(chunk);
    }
    Ok((reader.meta, chunks))
}
