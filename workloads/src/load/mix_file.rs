//! Workloads of one's own, from a TOML file.

use super::{keys::Distribution, mix::Workload, values::Size, watchers::Watching};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt::Display, path::Path, str::FromStr};

/// What a file may say; what it leaves out is as in the workload that it is based on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    /// The workload to begin with.
    based_on: Option<String>,
    /// Weights of the operations.
    mix: Option<BTreeMap<String, u32>>,
    keys: Option<u64>,
    key_distribution: Option<String>,
    key_size: Option<usize>,
    prefix: Option<String>,
    value_size: Option<Text>,
    compressible: Option<f64>,
    txn_ops: Option<u64>,
    scan_max: Option<u64>,
    preload: Option<bool>,
    watch: Option<String>,
}

/// A number or a text: `value-size = 256` as well as `value-size = "uniform:1-100"`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Number(u64),
    Text(String),
}

impl Workload {
    /// Reads a workload from a TOML file.
    ///
    /// # Errors
    /// A text for the user that names the file and the line or the setting.
    pub fn read(path: &Path) -> Result<Workload, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let file: File = toml::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
        let stem =
            path.file_stem().map_or_else(|| name.to_string(), |stem| stem.to_string_lossy().into_owned());
        file.workload(stem).map_err(|error| format!("{name}: {error}"))
    }
}

impl File {
    fn workload(self, name: String) -> Result<Workload, String> {
        let mut workload = Workload::named(self.based_on.as_deref().unwrap_or("mix"))?;
        workload.name = name;
        if self.mix.is_none() && self.based_on.is_none() {
            return Err("it has neither a table [mix] nor based-on = \"NAME\"".to_owned());
        }
        if let Some(mix) = self.mix {
            let parts: Vec<String> = mix.iter().map(|(name, weight)| format!("{name}={weight}")).collect();
            workload.mix = parse("mix", &parts.join(","))?;
        }
        if let Some(distribution) = self.key_distribution {
            workload.keys = parse::<Distribution>("key-distribution", &distribution)?;
        }
        if let Some(size) = self.value_size {
            let text = match size {
                Text::Number(bytes) => bytes.to_string(),
                Text::Text(text) => text,
            };
            workload.values = parse::<Size>("value-size", &text)?;
        }
        if let Some(watch) = self.watch {
            workload.watching = Some(parse::<Watching>("watch", &watch)?).filter(|watch| !watch.is_none());
        }
        workload.key_count = self.keys.unwrap_or(workload.key_count);
        workload.key_bytes = self.key_size.unwrap_or(workload.key_bytes);
        workload.prefix = self.prefix.unwrap_or(workload.prefix);
        workload.compressible = self.compressible.unwrap_or(workload.compressible);
        workload.txn_ops = self.txn_ops.unwrap_or(workload.txn_ops);
        workload.scan_max = self.scan_max.unwrap_or(workload.scan_max).max(1);
        workload.preload = self.preload.unwrap_or(workload.preload);
        Ok(workload)
    }
}

fn parse<T: FromStr>(setting: &str, text: &str) -> Result<T, String>
where
    T::Err: Display,
{
    text.parse().map_err(|error| format!("{setting}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::mix::Action;

    fn read(text: &str) -> Result<Workload, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("own.toml");
        std::fs::write(&path, text).unwrap();
        Workload::read(&path)
    }

    #[test]
    fn a_file_changes_what_it_names_and_no_more() {
        let own = read("based-on = \"ycsb-a\"\nvalue-size = 10\n[mix]\nget = 9\nput = 1\n").unwrap();
        assert_eq!((own.name.as_str(), &own.values), ("own", &Size::Constant(10)));
        assert_eq!(own.mix.0, [(Action::Get, 9), (Action::Put, 1)]);
        assert_eq!((own.keys, own.hashed), (Distribution::Scrambled, true));
        let watched = read("watch = \"2x3:all\"\n[mix]\nput = 1\n").unwrap();
        assert_eq!(watched.watching.map(|watching| watching.to_string()), Some("2x3:all".to_owned()));
    }

    #[test]
    fn what_is_wrong_in_a_file_is_told_with_its_name() {
        for (text, say) in [
            ("keys = 5", "neither a table [mix]"),
            ("[mix]\nfly = 1", "known are put"),
            ("colour = 1", "colour"),
            ("based-on = \"nothing\"", "there is no workload"),
            ("value-size = \"big\"\n[mix]\nput = 1", "value-size"),
            ("watch = \"many\"\n[mix]\nput = 1", "STREAMSxWATCHES"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains("own.toml") && error.contains(say), "{text}: {error}");
        }
    }
}
