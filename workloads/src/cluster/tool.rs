//! Helper programs, run for their effect.

use super::{ClusterError, Tool, place::Place};
use std::{
    io,
    process::{Command, Stdio},
};
use tokio::{io::AsyncWriteExt, process::Child};

/// Runs a program with `input`, and returns what it wrote.
pub(super) async fn run(command: &mut Command, input: &str) -> Result<String, ClusterError> {
    let command = prepared(command);
    let line = line(&command);
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn();
    converse(line, child, input).await
}

/// The same, with the program in another place than the harness.
pub(super) async fn run_in(
    place: &Place,
    command: &mut Command,
    input: &str,
) -> Result<String, ClusterError> {
    let command = prepared(command);
    let line = line(&command);
    let child = place.spawn(command).await;
    converse(line, child, input).await
}

fn prepared(command: &mut Command) -> Command {
    let mut command = std::mem::replace(command, Command::new("true"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn line(command: &Command) -> String {
    format!("{command:?}").replace('"', "")
}

async fn converse(line: String, child: io::Result<Child>, input: &str) -> Result<String, ClusterError> {
    tracing::debug!(command = %line, input, "running");
    let failed = |message: String| ClusterError::Tool(Tool { command: line.clone(), message });
    let mut child = child.map_err(|e| failed(e.to_string()))?;
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    // A program that ends without reading says why on its way out.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(failed(format!("{}: {}", output.status, said.trim())))
    }
}
