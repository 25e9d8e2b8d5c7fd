//! `assay bench`: load, latency, throughput.

mod args;
mod config;
mod generator;
mod objective;
mod session;
mod strain;
mod suite;
mod target;
mod versus;

pub(super) use args::BenchArgs;

use super::{Failure, Format, UNKNOWN, colour, log, print};
use crate::{
    load::{BenchResults, Workload},
    report,
};
use session::Session;
use std::path::Path;

pub(super) fn bench(args: &BenchArgs, program: &str) -> Result<u8, Failure> {
    if args.workload == "list" {
        let lines = Workload::NAMES.map(|(name, what)| format!("{name:<20}{what}\n"));
        print(&lines.concat())?;
        return Ok(0);
    }
    args.bounds()?;
    log();
    if let Some(suite) = args.suite {
        return suite::run(suite, args);
    }
    let session = Session::new(args, program)?;
    match (&args.vs, &args.slo) {
        (Some(other), _) => session.versus(other),
        (None, Some(slo)) => session.objective(slo),
        (None, None) => {
            let results = session.measure(&session.target, &session.dir, session.load.clone())?;
            tell(&results, &session.dir, args.format)?;
            let valid = results.invalid.is_empty() && !results.partial;
            let checked = results.check.as_ref().map_or(0, |check| check.status);
            Ok(if checked == 0 && !valid { UNKNOWN } else { checked })
        }
    }
}

/// Prints the results.
fn tell(results: &BenchResults, dir: &Path, format: Format) -> Result<(), Failure> {
    match format {
        Format::Text => print(&report::bench_text(results, Some(dir), colour())),
        Format::Json => {
            let json = serde_json::to_string_pretty(results).map_err(std::io::Error::from)?;
            print(&format!("{json}\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{config::command, target::Target, *};
    use crate::load::Endpoint;
    use clap::Parser;

    fn parse(words: &[&str]) -> Result<BenchArgs, clap::Error> {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            args: BenchArgs,
        }
        Alone::try_parse_from(std::iter::once("bench").chain(words.iter().copied())).map(|alone| alone.args)
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        for (words, say) in [
            (&["--workload", "ycsb-z"][..], "known are put"),
            (&["--workload", "mix"], "--mix get=95,put=5"),
            (&["--mix", "get"], "belongs to --workload mix"),
            (&["--workload", "mix", "--mix", "fly"], "known are put"),
            (&["--rate", "fast"], "steps:1000,2000:10s"),
            (&["--clients", "0"], "choose 1 to"),
            (&["--keys", "0"], "choose 1 to"),
            (&["--txn-ops", "500"], "choose 1 to 128"),
            (&["--warmup", "1500ms"], "whole seconds"),
            (&["--client", "tonic", "--workers", "2"], "one worker"),
            (&["--endpoints", "https://localhost:1"], "--cacert FILE"),
            (&["--endpoints", "ftp://localhost:1"], "only http"),
            (&["--watch", "3x2", "--value-size", "8"], "at least 28 bytes"),
            (&["--workload", "nothing.toml"], "nothing.toml"),
            (&["--workload", "mvcc-put", "--watch", "1x1"], "no server"),
            (&["--check", "few"], "how many keys"),
            (&["--check", "5", "--client", "tonic"], "only --client raw"),
            (&["--system", "zookeeper"], "endpoints:URL"),
            (&["--system", "etcd"], "--etcd-bin PATH"),
        ] {
            let args = parse(words).unwrap();
            let outcome = args
                .bounds()
                .and_then(|()| args.workload().map(drop))
                .and_then(|()| args.workload().and_then(|workload| args.check_keys(&workload)).map(drop))
                .and_then(|()| args.load().map(drop))
                .and_then(|()| args.target().map(drop));
            let Err(Failure::Usage(text)) = outcome else { panic!("taken: {words:?}") };
            assert!(text.contains(say), "{words:?}: {text}");
        }
        for words in [&["--slo", "p98<1ms"][..], &["--value-size", "big"], &["--clients", "5", "--rate", "7"]]
        {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn the_command_that_repeats_a_run_says_everything() {
        let args = parse(&["--workload", "ycsb-a", "--rate", "ramp:10-20:5s", "--seed", "7"]).unwrap();
        let target = Target::Running(vec![Endpoint::parse("http://127.0.0.1:2379").unwrap()]);
        let config = args.config(
            &target,
            &args.workload().unwrap_or_else(|_| panic!()),
            &args.load().unwrap_or_else(|_| panic!()),
        );
        let command = command("assay", &config, &["--target-leader"]);
        let words: Vec<&str> = command.split(' ').skip(2).collect();
        let again = parse(&words).unwrap();
        assert!(again.target_leader && again.seed == 7 && again.rate == "ramp:10-20:5s", "{command}");
        assert_eq!(again.keys, Some(1000));
    }
}
