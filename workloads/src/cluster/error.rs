//! Why a cluster could not do what it was told.

use super::netns::Why;
use std::{fmt, io, path::PathBuf, time::Duration};

/// A program that was run for its effect, and failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The command line.
    pub command: String,
    /// What it said, or why it could not be run.
    pub message: String,
}

/// Why a cluster could not do what it was told.
#[derive(Debug)]
pub enum ClusterError {
    /// The cluster that was asked for cannot be.
    Spec(String),
    /// The system's program is missing, or does not tell its version.
    Program {
        /// Which program.
        program: PathBuf,
        /// What is wrong with it.
        message: String,
        /// What to do about it.
        remedy: String,
    },
    /// A node's process ended when it should have served.
    Exited {
        /// Which node.
        node: String,
        /// How it ended.
        status: String,
        /// The last lines that it wrote.
        log_tail: String,
    },
    /// A node did not serve in time.
    NotReady {
        /// Which node.
        node: String,
        /// How long was waited.
        after: Duration,
        /// What its last answer was.
        last_error: String,
        /// The last lines that it wrote.
        log_tail: String,
    },
    /// Network namespaces are not to be had.
    Namespaces(Why),
    /// A helper program failed.
    Tool(Tool),
    /// Docker did not do what it was told.
    Docker {
        /// What was being done.
        doing: String,
        /// What it said.
        message: String,
        /// What to do about it.
        remedy: String,
    },
    /// The operating system refused.
    Io {
        /// What was being done.
        doing: String,
        /// What it said.
        source: io::Error,
    },
}

impl ClusterError {
    /// Makes an error of a refusal of the operating system.
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
        let doing = doing.into();
        move |source| ClusterError::Io { doing, source }
    }

    /// Whether the one who asked is at fault, rather than the machine: exit status 2 instead of 3.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Spec(_) | Self::Program { .. } | Self::Namespaces(_) => true,
            Self::Exited { .. }
            | Self::NotReady { .. }
            | Self::Tool(_)
            | Self::Docker { .. }
            | Self::Io { .. } => false,
        }
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spec(message) => f.write_str(message),
            Self::Program { program, message, remedy } => {
                write!(f, "{}: {message}; {remedy}", program.display())
            }
            Self::Exited { node, status, log_tail } => {
                write!(f, "{node} ended ({status}) instead of serving; its last words:\n{log_tail}")
            }
            Self::NotReady { node, after, last_error, log_tail } => write!(
                f,
                "{node} does not serve after {:.1} s: {last_error}; its last words:\n{log_tail}",
                after.as_secs_f64()
            ),
            Self::Namespaces(why) => why.fmt(f),
            Self::Tool(Tool { command, message }) => write!(f, "`{command}` failed: {message}"),
            Self::Docker { doing, message, remedy } => write!(f, "{doing}: {message}; {remedy}"),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for ClusterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Spec(_)
            | Self::Program { .. }
            | Self::Exited { .. }
            | Self::NotReady { .. }
            | Self::Namespaces(_)
            | Self::Tool(_)
            | Self::Docker { .. } => None,
        }
    }
}
