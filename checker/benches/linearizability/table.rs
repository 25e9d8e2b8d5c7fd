//! Measures a case and prints it as a line of a table.

use std::fs;

use cpu_time::ThreadTime;

/// A rival's figure for the same case.
#[derive(Clone, Copy, Debug)]
pub struct Rival {
    pub name: &'static str,
    /// Milliseconds of CPU; `None` where it gave no answer.
    pub ms: Option<f64>,
    /// What became of it, where it gave no answer.
    pub said: &'static str,
}

/// No rival is known.
pub const NONE: Rival = Rival { name: "", ms: None, said: "" };

/// A figure of docs/checking.md, or measured.
pub const fn took(name: &'static str, ms: f64) -> Rival {
    Rival { name, ms: Some(ms), said: "" }
}

/// A rival that gave no answer after so long.
pub const fn gave_up(name: &'static str, ms: f64, said: &'static str) -> Rival {
    Rival { name, ms: Some(ms), said }
}

/// Prints the head of the table.
pub fn head(title: &str) {
    println!("\n## {title}");
    println!("| case | operations | answer | CPU ms | MiB | decided by | rival | rival ms | rival / ours |");
    println!("|---|--:|---|--:|--:|---|---|--:|--:|");
}

/// What one case answered.
pub struct Answer {
    pub answer: String,
    pub by: String,
}

/// Runs a case and prints its line. Time is this thread's CPU time: other load does not count. Memory is
/// what the process grew by at most.
pub fn line(name: &str, operations: usize, rival: Rival, case: impl FnOnce() -> Answer) -> f64 {
    // The allocator puts together what making the history left behind at the next large request: not within the case.
    drop(std::hint::black_box(vec![1_u8; 64 << 10]));
    let _ = fs::write("/proc/self/clear_refs", "5");
    let (memory, started) = (status("VmRSS"), ThreadTime::now());
    let Answer { answer, by } = case();
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let grown = status("VmHWM").saturating_sub(memory) as f64 / 1024.0;
    let (theirs, ratio) = match rival.ms {
        Some(theirs) => {
            let sign = if rival.said.is_empty() { "" } else { "> " };
            (format!("{sign}{theirs:.3} {}", rival.said), format!("{sign}{:.1}", theirs / ms))
        }
        None => (rival.said.to_owned(), String::new()),
    };
    println!(
        "| {name} | {operations} | {answer} | {ms:.3} | {grown:.1} | {by} | {} | {theirs} | {ratio} |",
        rival.name
    );
    ms
}

/// A field of /proc/self/status, in KiB.
fn status(field: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(field));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
