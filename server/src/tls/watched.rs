//! What is made of files, and made again when one of them has changed.

use super::TlsError;
use parking_lot::Mutex;
use std::{fmt, fs, path::PathBuf, sync::Arc, time::SystemTime};

/// How to make it.
type Make<T> = Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>;

/// What was made of files last.
pub(super) struct Watched<T> {
    files: Vec<PathBuf>,
    make: Make<T>,
    made: Mutex<Made<T>>,
}

struct Made<T> {
    changed: Vec<Option<SystemTime>>,
    value: Arc<T>,
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("files", &self.files).finish_non_exhaustive()
    }
}

impl<T> Watched<T> {
    /// Makes it for the first time.
    pub(super) fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Watched<T>, TlsError> {
        // Looked at first: a change while the files are read is seen the next time.
        let changed = changed(&files);
        let value = Arc::new(make()?);
        Ok(Watched { files, make: Box::new(make), made: Mutex::new(Made { changed, value }) })
    }

    /// As the files are now; as they were while they make no sense.
    pub(super) fn get(&self) -> Arc<T> {
        let mut made = self.made.lock();
        let changed = changed(&self.files);
        if changed != made.changed {
            match (self.make)() {
                Ok(value) => {
                    tracing::info!(files = ?self.files, "read the certificates again");
                    made.value = Arc::new(value);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read the certificates again; the old ones are used")
                }
            }
            made.changed = changed;
        }
        made.value.clone()
    }
}

/// When the files were changed last.
fn changed(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    files.iter().map(|path| fs::metadata(path).and_then(|file| file.modified()).ok()).collect()
}
