//! A disk in memory: knows what was flushed, can fail, can lose power.

use super::super::{AppendFile, Files};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

#[derive(Clone, Debug, Default)]
pub struct MemoryFiles(Arc<Mutex<Disk>>);

#[derive(Clone, Debug, Default)]
struct Disk {
    /// What the process sees: name to file.
    names: BTreeMap<PathBuf, usize>,
    /// What would be found after a loss of power.
    durable_names: BTreeMap<PathBuf, usize>,
    contents: Vec<Content>,
    /// Operations until everything fails.
    budget: Option<u64>,
    fail_sync: bool,
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    flushed: usize,
}

#[derive(Debug)]
pub struct MemoryFile(MemoryFiles, usize);

impl MemoryFiles {
    /// Everything fails after `operations` more.
    pub fn fail_after(&self, operations: u64) {
        self.0.lock().budget = Some(operations);
    }

    /// Every flush fails from now on, or no longer.
    pub fn fail_sync(&self, fail: bool) {
        self.0.lock().fail_sync = fail;
    }

    /// What is found after a loss of power: nothing that was not flushed, be it bytes or names.
    pub fn after_power_loss(&self) -> MemoryFiles {
        let mut disk = self.0.lock().clone();
        disk.names = disk.durable_names.clone();
        for content in &mut disk.contents {
            content.bytes.truncate(content.flushed);
        }
        disk.budget = None;
        disk.fail_sync = false;
        MemoryFiles(Arc::new(Mutex::new(disk)))
    }

    /// A copy on which other things can happen.
    pub fn fork(&self) -> MemoryFiles {
        MemoryFiles(Arc::new(Mutex::new(self.0.lock().clone())))
    }

    pub fn len(&self, path: &Path) -> usize {
        self.read(path).unwrap().len()
    }

    /// Changes the bytes of a file behind everybody's back.
    pub fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.0.lock();
        let id = disk.names[path];
        let content = &mut disk.contents[id];
        change(&mut content.bytes);
        content.flushed = content.bytes.len();
    }

    pub fn names(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }

    fn spend(&self) -> io::Result<()> {
        match &mut self.0.lock().budget {
            Some(0) => Err(io::Error::other("the disk is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn id(&self, path: &Path) -> io::Result<usize> {
        self.0.lock().names.get(path).copied().ok_or(io::ErrorKind::NotFound.into())
    }
}

impl Files for MemoryFiles {
    type File = MemoryFile;
    type Reader = io::Cursor<Vec<u8>>;

    fn create(&self, path: &Path) -> io::Result<MemoryFile> {
        self.spend()?;
        let mut disk = self.0.lock();
        let id = disk.contents.len();
        disk.contents.push(Content::default());
        disk.names.insert(path.into(), id);
        Ok(MemoryFile(self.clone(), id))
    }

    fn open_append(&self, path: &Path) -> io::Result<MemoryFile> {
        Ok(MemoryFile(self.clone(), self.id(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Self::Reader> {
        let id = self.id(path)?;
        Ok(io::Cursor::new(self.0.lock().contents[id].bytes.clone()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.0.lock();
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().into()).collect())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend()?;
        let id = self.id(from)?;
        let mut disk = self.0.lock();
        disk.names.remove(from);
        disk.names.insert(to.into(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.spend()?;
        self.id(path)?;
        self.0.lock().names.remove(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.spend()?;
        let mut disk = self.0.lock();
        let inside = |path: &PathBuf| path.parent() == Some(dir);
        disk.durable_names.retain(|path, _| !inside(path));
        let now: Vec<_> =
            disk.names.iter().filter(|(path, _)| inside(path)).map(|(p, id)| (p.clone(), *id)).collect();
        disk.durable_names.extend(now);
        Ok(())
    }
}

impl AppendFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.spend()?;
        self.0.0.lock().contents[self.1].bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.spend()?;
        let mut disk = self.0.0.lock();
        if disk.fail_sync {
            return Err(io::Error::other("flush failed"));
        }
        let content = &mut disk.contents[self.1];
        content.flushed = content.bytes.len();
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.0.lock().contents[self.1].bytes.truncate(len as usize);
        Ok(())
    }
}
