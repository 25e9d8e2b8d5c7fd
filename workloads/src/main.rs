//! The `assay` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    workloads::cli::main(std::env::args_os())
}
