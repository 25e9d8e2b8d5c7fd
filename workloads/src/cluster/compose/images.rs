//! The images that servers run from.

use super::engine::Engine;
use crate::cluster::{ClusterError, System};
use serde_json::Value;
use std::{env, path::PathBuf};

/// Makes our images: see there.
const BUILD: &str = ".docker/build-images";

/// An image, and the program in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// Its name, with the tag.
    pub(super) name: String,
    /// A path in it, or a name on its search path.
    pub(super) program: &'static str,
    /// What makes it, where no registry has it.
    pub(super) build: Option<&'static str>,
}

impl Image {
    /// The image of a system: the one that `SERVER_IMAGE` or `ETCD_IMAGE` names, or the one that our script
    /// makes.
    pub(super) fn of(system: &System) -> Image {
        match system {
            System::Assay { .. } => Image::named("SERVER_IMAGE", "assay-server:dev", "/assay-server", BUILD),
            System::Etcd { .. } => {
                Image::named("ETCD_IMAGE", "assay-etcd:3.4.23", "etcd", ".docker/build-images etcd")
            }
        }
    }

    /// The image of the harness and of the machines.
    pub(super) fn harness() -> Image {
        Image::named("HARNESS_IMAGE", "assay-harness:dev", "/usr/local/bin/assay", BUILD)
    }

    fn named(variable: &str, default: &str, program: &'static str, build: &'static str) -> Image {
        match env::var(variable) {
            Ok(name) if !name.is_empty() => Image { name, program, build: None },
            Ok(_) | Err(_) => Image { name: default.to_owned(), program, build: Some(build) },
        }
    }

    /// Makes a container of this image, which is fetched where it is not here and might be elsewhere.
    pub(super) async fn create(
        &self,
        engine: &Engine,
        name: &str,
        container: &Value,
    ) -> Result<String, ClusterError> {
        let doing = || format!("making container {name}");
        match engine.create(name, container).await {
            Err(error) if error.is_missing() => {
                if self.build.is_some() {
                    return Err(self.missing());
                }
                engine
                    .pull(&self.name)
                    .await
                    .map_err(|e| e.during(format!("fetching image {}", self.name)))?;
                engine.create(name, container).await.map_err(|e| e.during(doing()))
            }
            outcome => outcome.map_err(|e| e.during(doing())),
        }
    }

    /// That it is not here.
    pub(super) fn missing(&self) -> ClusterError {
        ClusterError::Docker {
            doing: format!("looking for image {}", self.name),
            message: "it is not here".to_owned(),
            remedy: match self.build {
                Some(build) => format!("make it with {build}"),
                None => format!("fetch it with docker pull {}", self.name),
            },
        }
    }

    /// That its program does not do what it should.
    pub(super) fn fault(&self, message: String) -> ClusterError {
        ClusterError::Program {
            program: PathBuf::from(format!("{} of image {}", self.program, self.name)),
            message,
            remedy: "name an image that has the program".to_owned(),
        }
    }
}
