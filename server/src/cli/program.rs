//! The program: reads the flags, and runs the server or a tool.

use super::{
    Flags, config_file,
    foreign::{self, Sorted},
    snapshot,
};
use crate::{
    config::{Config, ConfigError},
    run, telemetry,
};
use clap::Parser as _;
use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the program: `args` begin with its name. Ends with 2 for mistakes in flags, 1 for errors at run time.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().map(as_two_dashes).collect();
    if args.get(1).is_some_and(|arg| arg == "snapshot") {
        return snapshot::main(&args[1..]);
    }
    let flags = match parse(args) {
        Ok(flags) => flags,
        Err(code) => return code,
    };
    let (flags, without_effect) = flags;
    if flags.version {
        let _ = writeln!(io::stdout(), "{}", version());
        return ExitCode::SUCCESS;
    }
    let config = match Config::from_flags(&flags) {
        Ok(config) => config,
        Err(errors) => return refuse(&errors),
    };
    if let Err(error) = telemetry::start(&config.log) {
        return usage(&[format!("--log-outputs: {error}")]);
    }
    for flag in without_effect {
        tracing::warn!(flag, "this flag has no effect here");
    }
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The flags, from the command line or from the file that it names, and those that have no effect here.
fn parse(args: Vec<OsString>) -> Result<(Flags, Vec<String>), ExitCode> {
    let variables: Vec<(String, String)> = std::env::vars().collect();
    let sorted = foreign::sort(args, &variables).map_err(|errors| usage(&errors))?;
    let flags = try_parse(&sorted)?;
    let Some(path) = flags.config_file else { return Ok((flags, sorted.without_effect)) };
    let args = config_file::read(&path).map_err(|error| usage(&[format!("--config-file: {error}")]))?;
    // As with etcd, the file is all there is.
    let sorted = foreign::sort(args, &[]).map_err(|errors| usage(&errors))?;
    let flags = try_parse(&sorted)?;
    Ok((flags, sorted.without_effect))
}

fn try_parse(sorted: &Sorted) -> Result<Flags, ExitCode> {
    Flags::try_parse_from(&sorted.args).map_err(|error| {
        // A closed pipe is no reason to complain.
        let _ = error.print();
        ExitCode::from(if error.use_stderr() { 2 } else { 0 })
    })
}

/// etcd's flags may be written with one dash.
fn as_two_dashes(arg: OsString) -> OsString {
    match arg.to_str() {
        Some(text)
            if text.len() > 2
                && text.starts_with('-')
                && text[1..].starts_with(|c: char| c.is_ascii_lowercase()) =>
        {
            format!("-{text}").into()
        }
        _ => arg,
    }
}

fn version() -> String {
    format!(
        "etcd Version: {}\nassay-server Version: {}\nPlanted bugs: {}",
        crate::api::ETCD_VERSION,
        env!("CARGO_PKG_VERSION"),
        if cfg!(feature = "plant") { "can be chosen with --plant" } else { "not in this build" },
    )
}

fn refuse(errors: &[ConfigError]) -> ExitCode {
    usage(&errors.iter().map(ConfigError::to_string).collect::<Vec<_>>())
}

fn usage(errors: &[String]) -> ExitCode {
    let mut stderr = io::stderr().lock();
    for error in errors {
        let _ = writeln!(stderr, "error: {error}");
    }
    let _ = writeln!(stderr, "\nFor more information, try '--help'.");
    ExitCode::from(2)
}

fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    // Half the cores answer clients: the replica, applying and the peers have threads of their own, and
    // handing a request from thread to thread costs more than carrying it out.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = (cores / 2).max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    let served = runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping");
        };
        Ok(run(config, shutdown).await?)
    });
    // What still waits for an answer of another member changes nothing any more.
    runtime.shutdown_background();
    served
}
