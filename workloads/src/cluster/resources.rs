//! What a node's process runs on: its disk, its memory, and how long its machine has been up.

use super::{Cluster, ClusterError, MemoryLimit, NodeIndex, ProcessState, clocks, handle::lock, netns::Disk};
use std::time::Duration;

impl Cluster {
    /// Cuts the power of a node's disk: what was not synced is lost, and nothing works there until
    /// [`Cluster::replug_disk`].
    ///
    /// # Errors
    /// When nodes have no disks of their own, or the system refuses; so for all that is done to disks.
    pub fn cut_disk_power(&self, index: NodeIndex) -> Result<(), ClusterError> {
        self.disk(index)?.cut_power()
    }

    /// Mounts a node's disk anew. The node's process must not run.
    ///
    /// # Errors
    /// As above.
    pub async fn replug_disk(&self, index: NodeIndex) -> Result<(), ClusterError> {
        self.disk(index)?.replug().await
    }

    /// Fills a node's disk; gives by how many bytes.
    ///
    /// # Errors
    /// As above.
    pub fn fill_disk(&self, index: NodeIndex) -> Result<u64, ClusterError> {
        self.disk(index)?.fill()
    }

    /// Makes the room again that was taken.
    ///
    /// # Errors
    /// As above.
    pub fn unfill_disk(&self, index: NodeIndex) -> Result<(), ClusterError> {
        self.disk(index)?.unfill()
    }

    /// Makes a node's disk read-only, until [`Cluster::replug_disk`].
    ///
    /// # Errors
    /// As above.
    pub async fn make_disk_read_only(&self, index: NodeIndex) -> Result<(), ClusterError> {
        self.disk(index)?.make_read_only().await
    }

    /// Lets what a node's process writes to its disk take its time: so many writes a second.
    ///
    /// # Errors
    /// As above, and when the process does not run.
    pub async fn slow_disk(&self, index: NodeIndex, writes_per_s: u32) -> Result<(), ClusterError> {
        let ProcessState::Running { pid } = self.state(index).await else {
            let error = std::io::Error::other("its process does not run");
            return Err(ClusterError::io(format!("slowing the disk of {index}"))(error));
        };
        self.disk(index)?.slow(pid, writes_per_s)
    }

    /// How long `writes` writes to a slow disk take, each of them synced.
    ///
    /// # Errors
    /// As above, and when the disk is not slow.
    pub async fn time_slow_disk(&self, index: NodeIndex, writes: u32) -> Result<Duration, ClusterError> {
        self.disk(index)?.time(writes).await
    }

    /// Lets a node's disk be as fast as it is.
    ///
    /// # Errors
    /// As above.
    pub fn speed_up_disk(&self, index: NodeIndex) -> Result<(), ClusterError> {
        self.disk(index)?.speed_up()
    }

    /// What the system says when somebody writes to a node's disk; `None` when that works.
    ///
    /// # Errors
    /// When nodes have no disks of their own.
    pub fn disk_complaint(&self, index: NodeIndex) -> Result<Option<String>, ClusterError> {
        Ok(self.disk(index)?.trial().err().map(|error| error.to_string()))
    }

    fn disk(&self, index: NodeIndex) -> Result<&Disk, ClusterError> {
        self.network
            .disk(index)
            .ok_or_else(|| ClusterError::Spec("nodes of this cluster have no disks of their own".to_owned()))
    }

    /// Has a node's processes begin, from the next start on, on a machine that seems to have been up for longer than
    /// ours by so much; `None`: by nothing.
    pub fn set_uptime(&self, index: NodeIndex, longer: Option<Duration>) {
        let mut uptimes = lock(&self.uptimes);
        match longer {
            Some(longer) => uptimes.insert(index, longer),
            None => uptimes.remove(&index),
        };
    }

    /// By how many seconds the uptime of a node's process is ahead of ours, as the kernel says. `None` when it does
    /// not run, or the kernel does not say.
    pub async fn uptime_offset(&self, index: NodeIndex) -> Option<u64> {
        match self.state(index).await {
            ProcessState::Running { pid } | ProcessState::Paused { pid } => clocks::uptime_offset(pid),
            ProcessState::Killed | ProcessState::Exited { .. } => None,
        }
    }

    /// Lets a node's process have no more memory than it has now.
    ///
    /// # Errors
    /// When it does not run, or the kernel or docker refuses.
    pub async fn limit_memory(&self, index: NodeIndex) -> Result<MemoryLimit, ClusterError> {
        self.processes[index.0].lock().await.limit_memory().await
    }

    /// Lets a node's process have all the memory that it asks for. One that does not run will have it at its start.
    ///
    /// # Errors
    /// When the kernel or docker refuses.
    pub async fn unlimit_memory(&self, index: NodeIndex) -> Result<(), ClusterError> {
        self.processes[index.0].lock().await.unlimit_memory().await
    }
}
