//! `assay list`: what there is to choose from.

use super::{Failure, Format, print, run::Profile};
use crate::{
    cluster::{Kind, netns},
    nemesis::{Family, Fault},
    scenario::{Scenario, WorkloadName},
};
use serde_json::json;

/// Arguments of `assay list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

struct Item {
    name: String,
    about: String,
}

pub(super) fn list(args: &ListArgs) -> Result<u8, Failure> {
    let sections = [
        ("workloads", workloads()),
        ("faults", faults()),
        ("clusters", clusters()),
        ("scenarios", scenarios()),
        ("profiles", profiles()),
    ];
    let text = match args.format {
        Format::Text => {
            sections.iter().map(|(title, items)| section(title, items)).collect::<Vec<_>>().join("\n")
        }
        Format::Json => {
            let items = |items: &[Item]| -> Vec<serde_json::Value> {
                items.iter().map(|item| json!({ "name": item.name, "about": item.about })).collect()
            };
            let all: serde_json::Map<String, serde_json::Value> =
                sections.iter().map(|(title, list)| ((*title).to_string(), items(list).into())).collect();
            format!("{:#}\n", serde_json::Value::from(all))
        }
    };
    print(&text)?;
    Ok(0)
}

fn section(title: &str, items: &[Item]) -> String {
    let width = items.iter().map(|item| item.name.len()).max().unwrap_or(0);
    let mut text = format!("{title}\n");
    for item in items {
        text.push_str(&format!("  {:<width$}  {}\n", item.name, item.about));
    }
    text
}

fn workloads() -> Vec<Item> {
    WorkloadName::every()
        .map(|workload| Item { name: workload.to_string(), about: workload.about().into() })
        .collect()
}

fn faults() -> Vec<Item> {
    Family::ALL
        .iter()
        .map(|family| {
            let about = family.about();
            let faults: Vec<String> = Fault::all()
                .filter(|fault| fault.family() == *family)
                .map(|fault| fault.to_string())
                .collect();
            Item { name: family.to_string(), about: format!("{about}: {}", faults.join(", ")) }
        })
        .collect()
}

/// What each catches, and what it is made of.
fn scenarios() -> Vec<Item> {
    let item = |scenario: Scenario| Item {
        name: scenario.name.into(),
        about: format!(
            "{} (--workload {} --faults {})",
            scenario.catches, scenario.workloads, scenario.faults
        ),
    };
    Scenario::ALL.map(item).into()
}

fn profiles() -> Vec<Item> {
    use clap::ValueEnum;
    let item = |profile: &Profile| Item {
        name: profile.to_possible_value().map_or(String::new(), |value| value.get_name().into()),
        about: profile.about().into(),
    };
    Profile::value_variants().iter().map(item).collect()
}

fn clusters() -> Vec<Item> {
    Kind::ALL
        .iter()
        .map(|kind| {
            let about = match kind {
                Kind::Netns => match netns::available() {
                    Ok(()) => {
                        "a network namespace for every node, and iptables between them; works here".into()
                    }
                    Err(why) => format!("a network namespace for every node; not to be had here: {why}"),
                },
                Kind::Local => {
                    "processes on 127.0.0.1, and a proxy in front of every node; works anywhere".into()
                }
                Kind::Compose => {
                    "containers on a docker network, iptables in each; needs docker, compose and our images"
                        .into()
                }
            };
            Item { name: kind.to_string(), about }
        })
        .collect()
}
