//! Histories that others published, with their verdicts. They are read from the folder named by
//! `ASSAY_HISTORIES`, since not all of them may be copied.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Instant;

use checker::budget::Budget;
use checker::history::import::porcupine;
use checker::linearizability::{Decision, decide_parts, split};
use checker::spec::register::Register;
use checker::{Options, decode};

#[test]
#[ignore = "needs ASSAY_HISTORIES"]
fn porcupines_etcd_logs_get_porcupines_verdicts() {
    let folder = PathBuf::from(std::env::var("ASSAY_HISTORIES").expect("ASSAY_HISTORIES names a folder"));
    let verdicts = std::fs::read_to_string(folder.join("porcupine/verdicts.tsv")).expect("verdicts.tsv");
    let mut files: Vec<(PathBuf, bool)> = verdicts
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|row| row[0].starts_with("etcd_"))
        .map(|row| (folder.join("porcupine").join(row[0]), row[1] == "Ok"))
        .collect();
    for entry in std::fs::read_dir(folder.join("synthetic")).expect("synthetic") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        if name.ends_with(".log") && !name.starts_with("uniq_") {
            files.push((path, !name.contains("_bad")));
        }
    }
    let mut total = std::time::Duration::ZERO;
    for (path, legal) in files {
        let file = File::open(&path).expect("opens");
        let history = porcupine::read(BufReader::new(file), &path).expect("reads");
        assert_eq!(history.problems(), &[], "{}", path.display());
        let decoded = decode::register(&history);
        assert_eq!(decoded.problems, [], "{}", path.display());
        let budget = Budget::new(&Options::default());
        let started = Instant::now();
        let parts = split(&Register::default(), decoded.calls);
        let decisions = decide_parts(&Register::default(), &parts, 1, &budget);
        let took = started.elapsed();
        total += took;
        println!("{} {took:?}", path.file_name().expect("name").to_string_lossy());
        for decision in decisions {
            match decision.decision {
                Decision::Undecided { stop, done } => println!("undecided {stop:?} {done}"),
                Decision::Legal => assert!(legal, "{} is not linearizable", path.display()),
                Decision::Illegal(_) => assert!(!legal, "{} is linearizable", path.display()),
            }
        }
    }
    println!("total {total:?}");
}
