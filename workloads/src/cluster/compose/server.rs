//! A node's server, in a container of its own that shares its machine's network and disk.

use super::{
    engine::{Engine, EngineError},
    fleet::Machine,
    follower::Follower,
    frames::Frames,
    images::Image,
    labels::PROJECT,
};
use crate::cluster::{
    ClusterError, Crash, Ended, MemoryLimit, Node, ProcessState, System, process::Process, system::version_in,
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::{collections::BTreeMap, ffi::OsString, process::Command, time::Duration};
use tokio::time::timeout;

/// How long a server may take to end once it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// The least that docker lets a container have, in bytes. Source: docker run's reference.
const MEMORY_MIN: u64 = 6 << 20;
/// What a container whose memory is limited gets beyond what it has, in bytes: what the kernel hands out at a time.
const MEMORY_SPARE: u64 = 256 << 10;
/// The most that it gets beyond that: a kernel that refuses even this is out of order.
const MEMORY_SPARE_MAX: u64 = 32 << 20;
/// More than any machine has, in bytes: docker cannot take a limit back, only raise it.
const MEMORY_MAX: u64 = 1 << 50;

/// A node's server.
#[derive(Debug)]
pub(in crate::cluster) struct Server {
    engine: Engine,
    machine: Machine,
    labels: BTreeMap<String, String>,
    image: Image,
    /// The container's id, once there is one.
    container: Option<String>,
    /// The arguments that its container was made with.
    arguments: Vec<OsString>,
    /// Whether nobody expects it to run.
    killed: bool,
    starts: u32,
    /// Copies what it writes into the node's log.
    follower: Option<Follower>,
    /// Whether its present end is among the crashes.
    noted: bool,
    crashes: Vec<Crash>,
}

impl Server {
    pub(super) fn new(
        engine: Engine,
        machine: Machine,
        labels: BTreeMap<String, String>,
        system: &System,
    ) -> Server {
        Server {
            engine,
            machine,
            labels,
            image: Image::of(system),
            container: None,
            arguments: Vec::new(),
            killed: true,
            starts: 0,
            follower: None,
            noted: false,
            crashes: Vec::new(),
        }
    }

    /// Starts the server unless it runs.
    pub(in crate::cluster) async fn start(
        &mut self,
        node: &Node,
        command: &Command,
    ) -> Result<u32, ClusterError> {
        if let ProcessState::Running { pid } | ProcessState::Paused { pid } = self.state().await {
            // What was expected did not come, and is expected no more.
            self.killed = false;
            return Ok(pid);
        }
        self.note_crash(node).await;
        let doing = || format!("starting the server of {}", node.name);
        let arguments: Vec<OsString> = command.get_args().map(OsString::from).collect();
        if self.arguments != arguments {
            // A container keeps the arguments that it was made with, and a member that joins anew has others.
            self.remove().await?;
            self.arguments = arguments;
        }
        let container = match &self.container {
            Some(container) => container.clone(),
            None => self.create(command).await?,
        };
        self.container = Some(container.clone());
        self.starts += 1;
        // Before the start: what the server writes first counts too.
        let follower = Follower::begin(&self.engine, &container, node, self.starts, command)?;
        if let Some(previous) = self.follower.replace(follower) {
            previous.end().await;
        }
        self.engine.start(&container).await.map_err(|e| e.during(doing()))?;
        self.follower.as_ref().expect("it was made above").started();
        (self.killed, self.noted) = (false, false);
        let state = self.engine.inspect(&container).await.map_err(|e| e.during(doing()))?.state;
        Ok(state.pid)
    }

    async fn create(&self, command: &Command) -> Result<String, ClusterError> {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let container = json!({
            "Image": self.image.name,
            "Entrypoint": [self.image.program],
            "Cmd": arguments,
            "Labels": self.labels,
            "HostConfig": {
                "NetworkMode": format!("container:{}", self.machine.id),
                "VolumesFrom": [self.machine.id],
                "CapDrop": ["ALL"],
                "RestartPolicy": {"Name": "no"},
                // One whose logs can be read back, whatever the daemon is set to.
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "64m", "max-file": "2"}},
            },
        });
        let name = format!("{}-server", self.machine.name);
        self.image.create(&self.engine, &name, &container).await
    }

    /// From here to the next start an end is no crash.
    pub(in crate::cluster) fn expect_end(&mut self) {
        self.killed = true;
    }

    /// How it ended, where that was expected.
    pub(in crate::cluster) async fn expected_end(&mut self) -> Option<Ended> {
        let state = self.engine.inspect(self.container.as_deref()?).await.ok()?.state;
        (self.killed && !state.running).then(|| ended(0, &state))
    }

    /// Ends the server with SIGKILL, and waits for it. `None` when it does not run.
    pub(in crate::cluster) async fn kill(&mut self, node: &Node) -> Result<Option<Ended>, ClusterError> {
        self.end(node, "KILL").await
    }

    /// Asks the server to end with SIGTERM, and waits for it. `None` when it does not run.
    pub(in crate::cluster) async fn terminate(&mut self, node: &Node) -> Result<Option<Ended>, ClusterError> {
        self.end(node, "TERM").await
    }

    async fn end(&mut self, node: &Node, signal: &str) -> Result<Option<Ended>, ClusterError> {
        let pid = match self.state().await {
            ProcessState::Running { pid } | ProcessState::Paused { pid } => pid,
            ProcessState::Killed => return Ok(None),
            ProcessState::Exited { .. } => {
                self.note_crash(node).await;
                return Ok(None);
            }
        };
        let doing = || format!("ending the server of {}", node.name);
        let container = self.container.as_deref().expect("a server that runs has a container");
        match self.engine.kill(container, signal).await {
            // It ended by itself a moment ago: then that is how it ended.
            Err(error) if error.is_conflict() => {
                self.note_crash(node).await;
                return Ok(None);
            }
            outcome => outcome.map_err(|e| e.during(doing()))?,
        }
        // However the waiting went, the state tells what came of it.
        let _ = timeout(END_TIMEOUT, self.engine.wait(container)).await;
        let state = self.engine.inspect(container).await.map_err(|e| e.during(doing()))?.state;
        if state.running {
            return Err(ClusterError::Docker {
                doing: doing(),
                message: format!("it does not end within {} s", END_TIMEOUT.as_secs()),
                remedy: "see what the docker daemon logs".to_owned(),
            });
        }
        self.killed = true;
        Ok(Some(ended(pid, &state)))
    }

    /// Freezes the server.
    pub(in crate::cluster) async fn pause(&mut self) -> Result<ProcessState, ClusterError> {
        let doing = || format!("pausing the server of {}", self.machine.node);
        match &self.container {
            Some(container) => match self.engine.pause(container).await {
                // It is paused, or does not run: its state will tell.
                Err(error) if !error.is_conflict() => return Err(error.during(doing())),
                Ok(()) | Err(_) => {}
            },
            None => return Err(ClusterError::io(doing())(std::io::Error::other("it does not run"))),
        }
        Ok(self.state().await)
    }

    /// Lets a frozen server run on. One that is not frozen is left alone.
    pub(in crate::cluster) async fn resume(&mut self) -> Result<ProcessState, ClusterError> {
        if let (ProcessState::Paused { .. }, Some(container)) = (self.state().await, &self.container) {
            let doing = || format!("resuming the server of {}", self.machine.node);
            self.engine.unpause(container).await.map_err(|e| e.during(doing()))?;
        }
        Ok(self.state().await)
    }

    /// Lets the server have little more memory than it has: docker's least, where it has less.
    pub(in crate::cluster) async fn limit_memory(&mut self) -> Result<MemoryLimit, ClusterError> {
        let doing = || format!("limiting the memory of the server of {}", self.machine.node);
        let Some(container) = &self.container else {
            return Err(ClusterError::io(doing())(std::io::Error::other("it does not run")));
        };
        let mut spare = MEMORY_SPARE;
        let in_use = loop {
            let in_use = self.engine.memory_in_use(container).await.map_err(|e| e.during(doing()))?;
            let limit = (in_use + spare).max(MEMORY_MIN);
            match self.engine.limit_memory(container, limit).await {
                Ok(()) => break in_use,
                // What the kernel holds for it counts too, and cannot be told before.
                Err(EngineError::Refused { .. }) if spare < MEMORY_SPARE_MAX => spare *= 2,
                Err(error) => return Err(error.during(doing())),
            }
        };
        let limit = self.engine.inspect(container).await.map_err(|e| e.during(doing()))?.host_config.memory;
        Ok(MemoryLimit { limit, in_use })
    }

    /// Lets the server have all the memory that it asks for.
    pub(in crate::cluster) async fn unlimit_memory(&mut self) -> Result<(), ClusterError> {
        let Some(container) = &self.container else { return Ok(()) };
        let doing = || format!("giving the server of {} its memory back", self.machine.node);
        if self.engine.inspect(container).await.map_err(|e| e.during(doing()))?.host_config.memory == 0 {
            return Ok(());
        }
        self.engine.limit_memory(container, MEMORY_MAX).await.map_err(|e| e.during(doing()))
    }

    /// What the server is doing, in docker's words.
    pub(in crate::cluster) async fn state(&self) -> ProcessState {
        let Some(container) = &self.container else { return ProcessState::Killed };
        let state = match self.engine.inspect(container).await {
            Ok(inspection) => inspection.state,
            Err(error) => {
                let status = error.during("asking for its state").to_string();
                return ProcessState::Exited { status };
            }
        };
        match (state.running, state.paused) {
            (true, true) => ProcessState::Paused { pid: state.pid },
            (true, false) => ProcessState::Running { pid: state.pid },
            (false, _) if self.killed => ProcessState::Killed,
            (false, _) => {
                let error = if state.error.is_empty() { String::new() } else { format!(", {}", state.error) };
                let status = format!("{}{error}", ended(state.pid, &state).status);
                ProcessState::Exited { status }
            }
        }
    }

    /// What docker says of it, for a proof.
    pub(in crate::cluster) fn evidence(&self, pid: u32, state: &ProcessState) -> Value {
        let says = match state {
            ProcessState::Running { .. } => "running",
            ProcessState::Paused { .. } => "paused",
            ProcessState::Killed | ProcessState::Exited { .. } => "ended",
        };
        json!({"container": format!("{}-server", self.machine.name), "pid": pid, "state": says})
    }

    /// Every end that nobody asked for.
    pub(in crate::cluster) async fn crashes(&mut self, node: &Node) -> Vec<Crash> {
        self.note_crash(node).await;
        self.crashes.clone()
    }

    async fn note_crash(&mut self, node: &Node) {
        if self.noted {
            return;
        }
        if let ProcessState::Exited { status } = self.state().await {
            self.noted = true;
            if let Some(follower) = self.follower.take() {
                follower.end().await;
            }
            self.crashes.push(Crash { node: node.name.clone(), status, log_tail: Process::log_tail(node) });
        }
    }

    /// Removes the container.
    pub(in crate::cluster) async fn remove(&mut self) -> Result<(), ClusterError> {
        if let Some(container) = self.container.take() {
            let doing = || format!("removing the server of {}", self.machine.node);
            self.engine.remove(&container).await.map_err(|e| e.during(doing()))?;
        }
        if let Some(follower) = self.follower.take() {
            follower.end().await;
        }
        self.killed = true;
        Ok(())
    }
}

fn ended(pid: u32, state: &super::engine::State) -> Ended {
    let out_of_memory = if state.out_of_memory { ", out of memory" } else { "" };
    let status = format!("docker: {}, exit status {}{out_of_memory}", state.status, state.exit_code);
    Ended { pid, status }
}

/// Removes the servers that an earlier run left in a project: it was not there any more to do so.
pub(super) async fn remove_leftovers(engine: &Engine, project: &str) -> Result<(), ClusterError> {
    let doing = || format!("removing what an earlier run left in project {project}");
    for container in engine.list(&[format!("{PROJECT}={project}")]).await.map_err(|e| e.during(doing()))? {
        tracing::info!(container, "removing a server of an earlier run");
        engine.remove(&container).await.map_err(|e| e.during(doing()))?;
    }
    Ok(())
}

/// The version that a system's program tells of itself.
pub(super) async fn version(
    engine: &Engine,
    labels: &BTreeMap<String, String>,
    system: &System,
) -> Result<String, ClusterError> {
    let image = Image::of(system);
    let doing = || format!("asking {} for its version", image.name);
    let container = json!({
        "Image": image.name,
        "Entrypoint": [image.program],
        "Cmd": ["--version"],
        "Labels": labels,
        "HostConfig": {
            "NetworkMode": "none", "CapDrop": ["ALL"], "LogConfig": {"Type": "json-file", "Config": {}}
        },
    });
    let project = labels.get(PROJECT).map_or("assay", String::as_str);
    let id = image.create(engine, &format!("{project}-version"), &container).await?;
    let asking = async {
        engine.start(&id).await?;
        engine.wait(&id).await?;
        let said = engine.logs(&id, 0.0, false).await?.collect().await;
        Ok(said.map(|said| said.to_bytes()).unwrap_or_default())
    };
    let said = asking.await;
    engine.remove(&id).await.map_err(|e| e.during(doing()))?;
    let said = Frames::default().take(&said.map_err(|e: EngineError| e.during(doing()))?);
    let text = String::from_utf8_lossy(&said);
    version_in(&text)
        .ok_or_else(|| image.fault(format!("--version says {:?} instead of a version", text.trim())))
}
