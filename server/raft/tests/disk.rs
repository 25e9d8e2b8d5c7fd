//! A disk that forgets in a crash what was not synced.

use raft::{Durable, Storage, Write};

#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// What a crash leaves.
    pub durable: Durable,
    unsynced: Vec<Write>,
}

impl Disk {
    pub fn new(durable: Durable) -> Disk {
        Disk { durable, unsynced: Vec::new() }
    }

    /// Loses the writes that were not synced, but for the first `kept`.
    pub fn crash(&mut self, kept: usize) {
        for write in std::mem::take(&mut self.unsynced).into_iter().take(kept) {
            self.apply(&write);
        }
    }

    /// Takes a write that a crash cut short for a whole one.
    #[cfg(feature = "plant")]
    pub fn accept_torn(&mut self, write: &Write) {
        self.apply(&raft::mutation::torn(write));
    }

    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    fn apply(&mut self, write: &Write) {
        let Durable { hard_state, snapshot, entries } = &mut self.durable;
        if let Some(meta) = &write.install {
            *snapshot = Some(meta.clone());
            entries.clear();
        }
        if let Some(first) = write.entries.first() {
            entries.retain(|entry| entry.index < first.index);
            if let Some(last) = entries.last() {
                assert_eq!(last.index.next(), first.index, "a write leaves a gap in the log");
            }
            entries.extend(write.entries.iter().cloned());
        }
        if let Some(new) = write.hard_state {
            *hard_state = new;
        }
    }
}

impl Storage for Disk {
    type Error = std::convert::Infallible;

    fn save(&mut self, write: &Write) -> Result<(), Self::Error> {
        assert_ne!(*write, Write::default(), "nothing to write");
        self.unsynced.push(write.clone());
        if write.must_sync {
            self.crash(usize::MAX);
        }
        Ok(())
    }
}
