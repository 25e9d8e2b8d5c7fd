//! The `assay` program. Called by the name of a server it is that server, so that one program is all that a
//! run needs.

use std::{env, path::Path, process::ExitCode};

fn main() -> ExitCode {
    if is_server_name(env::args_os().next().as_deref().map(Path::new)) {
        server::cli::main(env::args_os())
    } else {
        workloads::cli::main(env::args_os())
    }
}

/// `assay-server`, and `etcd` for those who start programs by that name.
fn is_server_name(program: Option<&Path>) -> bool {
    let name = program.and_then(Path::file_name);
    name.is_some_and(|name| name == workloads::cluster::SERVER_ARGV0 || name == "etcd")
}
