//! What can be wrong with a data directory.

use raft::types::{LogIndex, NodeId};
use std::{fmt, io, path::PathBuf};

/// Whose data directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: u64,
    /// The member.
    pub node: NodeId,
}

impl Identity {
    /// Refuses a file of another cluster or, where the file says it, of another member.
    pub(super) fn check(
        &self,
        file: &std::path::Path,
        cluster: u64,
        node: Option<u64>,
    ) -> Result<(), OpenError> {
        let (what, wanted, got) = if cluster != self.cluster {
            ("cluster", self.cluster, cluster)
        } else if let Some(node) = node.filter(|node| *node != self.node.0) {
            ("member", self.node.0, node)
        } else {
            return Ok(());
        };
        Err(OpenError::Foreign { file: file.into(), what, wanted, got })
    }
}

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug)]
pub enum OpenError {
    /// The operating system refused.
    Io {
        /// What was done.
        doing: &'static str,
        /// To which file.
        file: PathBuf,
        /// Its error.
        source: io::Error,
    },
    /// Another process uses the directory.
    Locked {
        /// The lock file.
        file: PathBuf,
    },
    /// The directory is another cluster's or another member's.
    Foreign {
        /// The file that says so.
        file: PathBuf,
        /// `cluster` or `member`.
        what: &'static str,
        /// This server's.
        wanted: u64,
        /// The file's.
        got: u64,
    },
    /// Written by a version that this one cannot read.
    Version {
        /// The file.
        file: PathBuf,
        /// What this version reads.
        wanted: u32,
        /// The file's.
        got: u32,
    },
    /// Bytes that had been durable are not what was written.
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// A file that must be there is not.
    Missing {
        /// Where it was looked for.
        place: PathBuf,
        /// What it would have held.
        what: String,
    },
    /// The log does not begin where the newest usable image ends.
    Gap {
        /// Last entry in the image.
        image: LogIndex,
        /// First entry in the log.
        first: LogIndex,
    },
}

/// How a member gets its data back when its directory cannot be used.
const REMEDY: &str = "Restore this directory from a copy, or remove the member from the cluster and add it \
                      again with an empty directory; never start it empty under its old identity, for it \
                      would forget what it acknowledged.";

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, file, source } => write!(f, "cannot {doing} {}: {source}", file.display()),
            Self::Locked { file } => write!(
                f,
                "another process holds the lock {}. Stop it, or choose another --data-dir.",
                file.display()
            ),
            Self::Foreign { file, what, wanted, got } => write!(
                f,
                "{} belongs to {what} {got:x}, this server is of {what} {wanted:x}. Choose another \
                 --data-dir, or start with the --name, --initial-cluster and --initial-cluster-token that \
                 the directory was made with.",
                file.display()
            ),
            Self::Version { file, wanted, got } => write!(
                f,
                "{} has format version {got}, this program reads version {wanted}. Use the program that \
                 wrote it.",
                file.display()
            ),
            Self::Damaged { file, offset, why } => write!(
                f,
                "{} is damaged at offset {offset}: {why}. Nothing was changed. {REMEDY}",
                file.display()
            ),
            Self::Missing { place, what } => {
                write!(f, "{what} is missing in {}. {REMEDY}", place.display())
            }
            Self::Gap { image, first } => write!(
                f,
                "the newest usable image ends at entry {image}, but the log begins at entry {first}. {REMEDY}"
            ),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Locked { .. }
            | Self::Foreign { .. }
            | Self::Version { .. }
            | Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::Gap { .. } => None,
        }
    }
}

/// Adds to an operating system's error what was being done.
pub(super) trait Doing<T> {
    /// `doing` is a verb, as in "cannot read FILE".
    fn doing(self, doing: &'static str, file: &std::path::Path) -> Result<T, OpenError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, file: &std::path::Path) -> Result<T, OpenError> {
        self.map_err(|source| OpenError::Io { doing, file: file.into(), source })
    }
}

/// Why a turn could not be made durable: the node must stop.
#[derive(Debug)]
pub struct SaveError {
    /// What was done.
    pub doing: &'static str,
    /// To which file.
    pub file: PathBuf,
    /// The operating system's error.
    pub source: io::Error,
}

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot {} {}: {}; what reached the disk is unknown",
            self.doing,
            self.file.display(),
            self.source
        )
    }
}

impl std::error::Error for SaveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
