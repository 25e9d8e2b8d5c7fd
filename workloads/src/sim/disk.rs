//! A disk in memory that forgets and tears what was not flushed, and can fail or rot.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use server::disk::{AppendFile, Files};
use std::{
    collections::{BTreeMap, BTreeSet},
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
    dirs: BTreeMap<PathBuf, Dir>,
    contents: Vec<Content>,
    /// The next flushes and appends that fail.
    fail_sync: bool,
    fail_append: bool,
}

/// A directory. Names that are as durable as they are new cost nothing at a flush: logs of a thousand segments are
/// flushed a thousand times.
#[derive(Debug, Default)]
struct Dir {
    /// What the process sees: name to file.
    names: BTreeMap<String, usize>,
    /// What is surely found after a loss of power.
    durable: BTreeMap<String, usize>,
    /// Names that may differ between the two.
    unflushed: BTreeSet<String>,
}

impl Dir {
    /// Gives a name to a file, or to none.
    fn set(&mut self, name: &str, id: Option<usize>) {
        match id {
            Some(id) => self.names.insert(name.into(), id),
            None => self.names.remove(name),
        };
        self.unflushed.insert(name.into());
    }

    fn flush(&mut self) {
        for name in std::mem::take(&mut self.unflushed) {
            match self.names.get(&name) {
                Some(id) => self.durable.insert(name, *id),
                None => self.durable.remove(&name),
            };
        }
    }

    /// Goes back to what is durable.
    fn forget(&mut self) {
        for name in std::mem::take(&mut self.unflushed) {
            match self.durable.get(&name) {
                Some(id) => self.names.insert(name, *id),
                None => self.names.remove(&name),
            };
        }
    }
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
    fn has(self, dir: &Path, name: &str) -> bool {
        let folder = match self {
            Part::Log => "log",
            Part::Images => "images",
        };
        dir.ends_with(folder) && !name.ends_with(".tmp")
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
        let old_names = !torn || rng.random_bool(0.5);
        for dir in disk.dirs.values_mut() {
            if old_names {
                dir.forget();
            } else {
                dir.flush();
            }
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
        let named = disk.dirs.iter().flat_map(|(path, dir)| {
            let inside = dir.names.iter().filter(|(name, _)| part.has(path, name));
            inside.map(|(_, id)| *id)
        });
        let files: Vec<usize> = named.filter(|id| part.reach(&disk.contents[*id]) >= least).collect();
        if files.is_empty() {
            return false;
        }
        let content = &mut disk.contents[files[rng.random_range(0..files.len())]];
        let reach = part.reach(content);
        act(rng, &mut content.bytes[..reach])
    }

    fn id(&self, path: &Path) -> io::Result<usize> {
        self.disk().id(path)
    }
}

impl Disk {
    fn id(&self, path: &Path) -> io::Result<usize> {
        let (dir, name) = split(path)?;
        let dir = self.dirs.get(dir);
        dir.and_then(|dir| dir.names.get(name)).copied().ok_or(io::ErrorKind::NotFound.into())
    }

    /// Gives a path to a file, or to none.
    fn set(&mut self, path: &Path, id: Option<usize>) -> io::Result<()> {
        let (dir, name) = split(path)?;
        if !self.dirs.contains_key(dir) {
            self.dirs.insert(dir.into(), Dir::default());
        }
        let dir = self.dirs.get_mut(dir).ok_or(io::ErrorKind::NotFound)?;
        dir.set(name, id);
        Ok(())
    }
}

/// Directory and name.
fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent().zip(name).ok_or(io::ErrorKind::InvalidInput.into())
}

impl Files for SimFiles {
    type File = SimFile;
    type Reader = io::Cursor<Vec<u8>>;

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let mut disk = self.disk();
        let id = disk.contents.len();
        disk.set(path, Some(id))?;
        disk.contents.push(Content::default());
        Ok(SimFile(self.clone(), id))
    }

    fn open_append(&self, path: &Path) -> io::Result<SimFile> {
        Ok(SimFile(self.clone(), self.id(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Self::Reader> {
        let disk = self.disk();
        Ok(io::Cursor::new(disk.contents[disk.id(path)?].bytes.clone()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        Ok(disk.dirs.get(dir).map(|dir| dir.names.keys().cloned().collect()).unwrap_or_default())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let id = disk.id(from)?;
        disk.set(from, None)?;
        disk.set(to, Some(id))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.id(path)?;
        disk.set(path, None)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.fail_sync {
            return Err(io::Error::other("simulated: the disk does not flush"));
        }
        if let Some(dir) = disk.dirs.get_mut(dir) {
            dir.flush();
        }
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
