//! One node's server, as a process of the harness or in a container.

use super::{
    ClusterError, Crash, Ended, MemoryLimit, Node, ProcessState, compose::Server, memory, network::Network,
    process::Process,
};
use serde_json::{Value, json};
use std::{io, process::Command};

/// One node's server.
#[derive(Debug)]
pub(super) enum NodeProcess {
    /// A process of the harness.
    Child(Process),
    /// A container.
    Container(Server),
}

impl NodeProcess {
    /// Starts the server unless it runs.
    pub(super) async fn start(
        &mut self,
        node: &Node,
        command: impl FnOnce() -> Result<Command, ClusterError>,
        network: &Network,
    ) -> Result<u32, ClusterError> {
        match self {
            NodeProcess::Child(process) => process.start(node, command, network).await,
            NodeProcess::Container(server) => server.start(node, &command()?).await,
        }
    }

    /// Lets the server have no more memory than it has.
    pub(super) async fn limit_memory(&mut self) -> Result<MemoryLimit, ClusterError> {
        match self {
            NodeProcess::Child(process) => match process.state() {
                ProcessState::Running { pid } | ProcessState::Paused { pid } => memory::limit(pid),
                ProcessState::Killed | ProcessState::Exited { .. } => {
                    Err(ClusterError::io("limiting the memory of a process")(io::Error::other(
                        "it does not run",
                    )))
                }
            },
            NodeProcess::Container(server) => server.limit_memory().await,
        }
    }

    /// Lets the server have all the memory that it asks for.
    pub(super) async fn unlimit_memory(&mut self) -> Result<(), ClusterError> {
        match self {
            NodeProcess::Child(process) => match process.state() {
                ProcessState::Running { pid } | ProcessState::Paused { pid } => memory::unlimit(pid),
                ProcessState::Killed | ProcessState::Exited { .. } => Ok(()),
            },
            NodeProcess::Container(server) => server.unlimit_memory().await,
        }
    }

    /// Every end that nobody asked for.
    pub(super) async fn crashes(&mut self, node: &Node) -> Vec<Crash> {
        match self {
            NodeProcess::Child(process) => process.crashes(node),
            NodeProcess::Container(server) => server.crashes(node).await,
        }
    }

    /// What the server is doing.
    pub(super) async fn state(&mut self) -> ProcessState {
        match self {
            NodeProcess::Child(process) => process.state(),
            NodeProcess::Container(server) => server.state().await,
        }
    }

    /// What shows that the server is in this state, for a proof.
    pub(super) fn evidence(&self, state: &ProcessState) -> Value {
        let pid = match state {
            ProcessState::Running { pid } | ProcessState::Paused { pid } => *pid,
            ProcessState::Killed | ProcessState::Exited { .. } => return json!({}),
        };
        match self {
            NodeProcess::Child(_) => {
                json!({"pid": pid, "state": super::process::proc_state(pid).map(String::from)})
            }
            NodeProcess::Container(server) => server.evidence(pid, state),
        }
    }

    /// Ends the server with SIGKILL and waits for it.
    pub(super) async fn kill(&mut self, node: &Node) -> Result<Option<Ended>, ClusterError> {
        match self {
            NodeProcess::Child(process) => process.kill(node).await,
            NodeProcess::Container(server) => server.kill(node).await,
        }
    }

    /// Asks the server to end with SIGTERM and waits for it.
    pub(super) async fn terminate(&mut self, node: &Node) -> Result<Option<Ended>, ClusterError> {
        match self {
            NodeProcess::Child(process) => process.terminate(node).await,
            NodeProcess::Container(server) => server.terminate(node).await,
        }
    }

    /// From here to the next start an end is no crash.
    pub(super) fn expect_end(&mut self) {
        match self {
            NodeProcess::Child(process) => process.expect_end(),
            NodeProcess::Container(server) => server.expect_end(),
        }
    }

    /// How the server ended, where that was expected.
    pub(super) async fn expected_end(&mut self) -> Option<Ended> {
        match self {
            NodeProcess::Child(process) => process.expected_end(),
            NodeProcess::Container(server) => server.expected_end().await,
        }
    }

    /// Stops the server in its tracks.
    pub(super) async fn pause(&mut self) -> Result<ProcessState, ClusterError> {
        match self {
            NodeProcess::Child(process) => process.pause().await,
            NodeProcess::Container(server) => server.pause().await,
        }
    }

    /// Lets a paused server run on.
    pub(super) async fn resume(&mut self) -> Result<ProcessState, ClusterError> {
        match self {
            NodeProcess::Child(process) => process.resume().await,
            NodeProcess::Container(server) => server.resume().await,
        }
    }

    /// Ends the server for good.
    pub(super) async fn end(&mut self, node: &Node) -> Result<(), ClusterError> {
        match self {
            NodeProcess::Child(process) => process.kill(node).await.map(drop),
            NodeProcess::Container(server) => server.remove().await,
        }
    }
}
