//! `assay serve`: the stored runs as a web page.

use super::{Failure, out::STORE};
use crate::{runner::Stop, store};
use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
};

/// Arguments of `assay serve`.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// Folder that holds runs.
    #[arg(default_value = STORE)]
    store: PathBuf,
    /// Where to listen; others than this machine can read everything in the store where the address is theirs too.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

pub(super) fn serve(args: &ServeArgs) -> Result<u8, Failure> {
    super::log();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let served = store::serve(&args.store, args.listen).await.map_err(Failure::Usage)?;
        let stop = Stop::default();
        stop.on_signals(|_| {})?;
        super::print(&format!("runs in {}: http://{}/\n", args.store.display(), served.address))?;
        if !served.address.ip().is_loopback() {
            let _ = writeln!(io::stderr(), "assay: whoever reaches {} can read this store", served.address);
        }
        served.run(async move { stop.stopped().await }).await?;
        Ok(0)
    })
}
