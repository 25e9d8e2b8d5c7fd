//! Service discovery on leases and watches, the use that etcd was first known for.
//!
//! ```console
//! $ cargo run -p assay-server --example discovery -- announce services/web/1 10.0.0.1:80
//! $ cargo run -p assay-server --example discovery -- resolve services/web/
//! ```
//!
//! Both take more endpoints of the cluster behind `--`; without, it is http://127.0.0.1:2379.

mod directory;

use directory::{Announcement, Resolver};
use std::{error::Error, process::ExitCode, time::Duration};

/// How long an instance may be seen after it has died.
const TTL_S: i64 = 5;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let endpoints = match args.iter().position(|arg| arg == "--") {
        Some(at) => args.split_off(at).split_off(1),
        None => vec!["http://127.0.0.1:2379".to_string()],
    };
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["announce", key, address] => {
            let announcement = Announcement::start(endpoints, key.into(), address.into(), TTL_S);
            tokio::signal::ctrl_c().await?;
            announcement.withdraw().await;
        }
        ["resolve", prefix] => {
            let resolver = Resolver::start(endpoints, prefix.into(), Duration::from_secs(2));
            let mut shown = None;
            loop {
                let instances = resolver.instances();
                if shown.as_ref() != Some(&instances) {
                    match &instances {
                        Some(instances) => println!("{instances:?}"),
                        None => println!("out of touch with the store: nobody is handed out"),
                    }
                    shown = Some(instances);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        _ => {
            eprintln!(
                "usage: discovery announce KEY ADDRESS [-- ENDPOINT...] | resolve PREFIX [-- ENDPOINT...]"
            );
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}
