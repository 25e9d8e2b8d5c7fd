//! What belongs to one run on this host's docker: a compose project.

use super::{
    super::labels::PROJECT,
    docker::{Compose, docker},
};
use crate::cluster::ClusterError;
use std::{
    ffi::OsString,
    time::{SystemTime, UNIX_EPOCH},
};

/// A compose project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Project {
    compose: Compose,
    name: String,
}

impl Project {
    /// A project that no other run has: named after this process and the time.
    pub(super) fn new(compose: Compose) -> Project {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("assay-{}-{:05x}", std::process::id(), since.subsec_micros());
        Project { compose, name }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name of the harness's container.
    pub(super) fn harness(&self) -> String {
        format!("{}-harness", self.name)
    }

    /// Runs compose in this project, with these variables set.
    pub(super) async fn compose(
        &self,
        variables: &[(&str, String)],
        arguments: &[&str],
    ) -> Result<String, ClusterError> {
        let mut all = vec![("COMPOSE_PROJECT_NAME", self.name.clone())];
        all.extend_from_slice(variables);
        self.compose.run(&all, arguments).await
    }

    /// Removes everything of the project: servers, harness, machines, disks, network.
    ///
    /// # Errors
    /// The first that came up; everything was tried.
    pub(super) async fn remove(&self) -> Result<(), ClusterError> {
        let servers = self.remove_servers().await;
        let rest = self.compose(&[], &["down", "--volumes", "--timeout", "1"]).await;
        servers.and(rest.map(drop))
    }

    async fn remove_servers(&self) -> Result<(), ClusterError> {
        let filter = format!("label={PROJECT}={}", self.name);
        let servers = docker(["ps", "--all", "--quiet", "--filter", &filter]).await?;
        if servers.is_empty() {
            return Ok(());
        }
        docker(["rm", "--force"].into_iter().chain(servers.split_whitespace())).await.map(drop)
    }

    /// As arguments of a program, for [`Project::from_words`].
    pub(super) fn words(&self) -> [OsString; 2] {
        let compose = match self.compose {
            Compose::Plugin => "plugin",
            Compose::Program => "program",
        };
        [compose.into(), self.name.clone().into()]
    }

    /// What [`Project::words`] stood for.
    pub(super) fn from_words(compose: &str, name: &str) -> Option<Project> {
        let compose = match compose {
            "plugin" => Compose::Plugin,
            "program" => Compose::Program,
            _ => return None,
        };
        Some(Project { compose, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_survives_being_said_in_words() {
        for compose in [Compose::Plugin, Compose::Program] {
            let project = Project::new(compose);
            let words = project.words().map(|word| word.into_string().unwrap());
            assert_eq!(Project::from_words(&words[0], &words[1]), Some(project));
        }
        assert_eq!(Project::from_words("podman", "x"), None);
    }
}
