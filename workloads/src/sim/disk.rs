//! A disk in memory that forgets and tears what was not flushed, and can fail or rot.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use server::disk::{AppendFile, Files};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes that a disk writes as a unit.
const SECTOR: usize = 512;

/// A simulated file system. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct SimFiles(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    /// What the process sees: name to file.
    names: BTreeMap<PathBuf, usize>,
    /// What is surely found after a loss of power.
    durable_names: BTreeMap<PathBuf, usize>,
    contents: Vec<Content>,
    /// The next flushes and appends that fail.
    fail_sync: bool,
    fail_append: bool,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    flushed: usize,
    /// What had been flushed before the first append that is not: whatever was appended then may tell of it.
    flushed_before: Option<usize>,
    /// What had been flushed before something was appended that is flushed too.
    proved: usize,
}

impl Content {
    fn append(&mut self, bytes: &[u8]) {
        self.flushed_before.get_or_insert(self.flushed);
        self.bytes.extend_from_slice(bytes);
    }

    fn flush(&mut self) {
        self.proved = self.flushed_before.take().unwrap_or(self.proved);
        self.flushed = self.bytes.len();
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.flushed = self.flushed.min(len);
        self.proved = self.proved.min(len);
    }
}

/// Which of a member's files are damaged. Damage is done only where it can be told from a torn write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The log: whatever a later record proves to have been there. A flaw in the very last one is like a torn write.
    Log,
    /// Images, which have their names only once they are whole.
    Images,
}

impl Part {
    fn has(self, path: &Path) -> bool {
        let folder = match self {
            Part::Log => "log",
            Part::Images => "images",
        };
        path.parent().is_some_and(|parent| parent.ends_with(folder))
            && path.extension().is_none_or(|end| end != "tmp")
    }

    /// The bytes at the beginning of a file in which damage can be told.
    fn reach(self, content: &Content) -> usize {
        match self {
            Part::Log => content.proved,
            Part::Images => content.flushed,
        }
    }
}

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct SimFile(SimFiles, usize);

impl SimFiles {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every flush fails from now on.
    pub(super) fn fail_sync(&self) {
        self.disk().fail_sync = true;
    }

    /// The disk is full from now on.
    pub(super) fn fail_append(&self) {
        self.disk().fail_append = true;
    }

    /// Loses power: of what was not flushed a part stays, cut anywhere, with sectors that never arrived; names
    /// that were not flushed may be the old ones.
    pub(super) fn lose_power(&self, rng: &mut ChaCha8Rng, torn: bool) {
        let mut disk = self.disk();
        disk.fail_sync = false;
        disk.fail_append = false;
        if !torn || rng.random_bool(0.5) {
            disk.names = disk.durable_names.clone();
        }
        for content in &mut disk.contents {
            let pending = content.bytes.len() - content.flushed;
            let kept = if torn && pending > 0 { rng.random_range(0..=pending) } else { 0 };
            content.bytes.truncate(content.flushed + kept);
            let mut at = content.flushed.next_multiple_of(SECTOR);
            while at < content.bytes.len() {
                let end = (at + SECTOR).min(content.bytes.len());
                if rng.random_bool(0.2) {
                    content.bytes[at..end].fill(0);
                }
                at = end;
            }
            // What stayed stays; but whatever would have told of what was before it may be torn.
            content.flushed_before = None;
            content.flush();
        }
        disk.durable_names = disk.names.clone();
    }

    /// Flips a bit of a file. Returns whether there was one.
    pub(super) fn rot(&self, rng: &mut ChaCha8Rng, part: Part) -> bool {
        self.damage(rng, part, 1, |rng, bytes| {
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8_u32);
            true
        })
    }

    /// Overwrites a sector of a file with another of it, as a write that went to a wrong place does. Returns whether
    /// that changed anything.
    pub(super) fn misdirect(&self, rng: &mut ChaCha8Rng, part: Part) -> bool {
        self.damage(rng, part, 2 * SECTOR, |rng, bytes| {
            let sectors = bytes.len() / SECTOR;
            let (to, from) = (rng.random_range(0..sectors), rng.random_range(0..sectors));
            let sector = bytes[from * SECTOR..(from + 1) * SECTOR].to_vec();
            let place = &mut bytes[to * SECTOR..(to + 1) * SECTOR];
            let changed = *place != sector[..];
            place.copy_from_slice(&sector);
            changed
        })
    }

    /// Lets `act` damage a file in whose beginning damage can be told for at least `least` bytes.
    fn damage(
        &self,
        rng: &mut ChaCha8Rng,
        part: Part,
        least: usize,
        act: impl FnOnce(&mut ChaCha8Rng, &mut [u8]) -> bool,
    ) -> bool {
        let mut disk = self.disk();
        let named = disk.names.iter().filter(|(path, _)| part.has(path)).map(|(_, id)| *id);
        let files: Vec<usize> = named.filter(|id| part.reach(&disk.contents[*id]) >= least).collect();
        if files.is_empty() {
            return false;
        }
        let content = &mut disk.contents[files[rng.random_range(0..files.len())]];
        let reach = part.reach(content);
        act(rng, &mut content.bytes[..reach])
    }

    fn id(&self, path: &Path) -> io::Result<usize> {
        self.disk().names.get(path).copied().ok_or(io::ErrorKind::NotFound.into())
    }
}

impl Files for SimFiles {
    type File = SimFile;
    type Reader = io::Cursor<Vec<u8>>;

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let mut disk = self.disk();
        let id = disk.contents.len();
        disk.contents.push(Content::default());
        disk.names.insert(path.into(), id);
        Ok(SimFile(self.clone(), id))
    }

    fn open_append(&self, path: &Path) -> io::Result<SimFile> {
        Ok(SimFile(self.clone(), self.id(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Self::Reader> {
        let id = self.id(path)?;
        Ok(io::Cursor::new(self.disk().contents[id].bytes.clone()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(Into::into)).collect())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.id(from)?;
        let mut disk = self.disk();
        disk.names.remove(from);
        disk.names.insert(to.into(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.id(path)?;
        self.disk().names.remove(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.fail_sync {
            return Err(io::Error::other("simulated: the disk does not flush"));
        }
        let inside = |path: &Path| path.parent() == Some(dir);
        disk.durable_names.retain(|path, _| !inside(path));
        let now: Vec<_> = disk
            .names
            .iter()
            .filter(|(path, _)| inside(path))
            .map(|(path, id)| (path.clone(), *id))
            .collect();
        disk.durable_names.extend(now);
        Ok(())
    }
}

impl AppendFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.disk();
        if disk.fail_append {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        disk.contents[self.1].append(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.0.disk();
        if disk.fail_sync {
            return Err(io::Error::other("simulated: the disk does not flush"));
        }
        disk.contents[self.1].flush();
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.disk().contents[self.1].truncate(len as usize);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn what_was_flushed_survives_and_what_was_not_is_cut() {
        let (log, mut rng) = (Path::new("/d/log"), ChaCha8Rng::seed_from_u64(1));
        let mut lengths = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let files = SimFiles::default();
            let mut file = files.create(log).unwrap();
            file.append(b"durable").unwrap();
            file.sync().unwrap();
            files.sync_dir(Path::new("/d")).unwrap();
            file.append(b" and not").unwrap();
            files.lose_power(&mut rng, true);
            let left = files.read(log).unwrap();
            assert!(left.starts_with(b"durable"));
            lengths.insert(left.len());
        }
        assert!(lengths.len() > 4, "cut in different places: {lengths:?}");
    }

    #[test]
    fn names_need_their_directory_flushed() {
        let files = SimFiles::default();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut file = files.create(Path::new("/d/a")).unwrap();
        file.append(b"x").unwrap();
        file.sync().unwrap();
        files.lose_power(&mut rng, false);
        assert!(files.read(Path::new("/d/a")).is_err());
        assert!(!files.rot(&mut rng, Part::Log));
    }

    #[test]
    fn damage_is_done_where_a_later_record_proves_what_was_there() {
        let (log, mut rng) = (Path::new("/d/log/1"), ChaCha8Rng::seed_from_u64(1));
        let files = SimFiles::default();
        let mut file = files.create(log).unwrap();
        files.sync_dir(Path::new("/d/log")).unwrap();
        file.append(&[0; 100]).unwrap();
        file.sync().unwrap();
        assert!(!files.rot(&mut rng, Part::Log), "nothing proves the first record");
        file.append(&[0; 100]).unwrap();
        files.lose_power(&mut rng, false);
        assert!(!files.rot(&mut rng, Part::Log), "what would have proved it is lost");
        for _ in 0..50 {
            file.append(&[0; 100]).unwrap();
            file.sync().unwrap();
            assert!(files.rot(&mut rng, Part::Log));
            let bytes = files.read(log).unwrap();
            assert!(
                bytes[bytes.len() - 100..].iter().all(|byte| *byte == 0),
                "the last record is left alone"
            );
        }
        assert!(!files.rot(&mut rng, Part::Images));
    }
}
