//! Transactions on registers by session, without times: AWDIT's text and Plume's, which IsoVista and Cobra's
//! converters write too.
//!
//! AWDIT: a step a line, `r KEY VALUE` or `w KEY VALUE`; `-----` ends a transaction, `=====` a session. Plume: a step
//! a line, `r(KEY,VALUE,SESSION,TRANSACTION)`. All transactions took effect. What is initial is written by some
//! transaction, so a read of a value that nobody wrote is of a write that the history lacks, as in Elle's.
//! Sources: <https://github.com/lassemoldrup/AWDIT>, <https://github.com/dracoooooo/Plume>.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

use serde_json::{Value, json};

use super::super::event::{CLOCK_SESSIONS, Event, Header, ProcessId, VERSION, What};
use super::super::file::{ReadError, ReadErrorKind};
use super::super::{Builder, History};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Lines of AWDIT's tests.
    Awdit,
    /// Lines of Plume.
    Plume,
}

/// A step: whether it writes, the key, the value.
type Step = (bool, i64, i64);

/// A transaction of a session: the line where it begins, its number where it has one, its steps.
#[derive(Debug)]
struct Txn {
    line: u64,
    number: i64,
    steps: Vec<Step>,
}

type Sessions = BTreeMap<ProcessId, Vec<Txn>>;

/// What a file's first line of text says, if it is of one of the two.
pub fn style(start: &[u8]) -> Option<Style> {
    let mut lines = start.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.find(|line| !line.is_empty() && !is_border(line))?;
    let text = std::str::from_utf8(line).ok()?;
    match () {
        () if awdit(text).is_ok() => Some(Style::Awdit),
        () if plume(text).is_ok() => Some(Style::Plume),
        () => None,
    }
}

fn is_border(line: &[u8]) -> bool {
    [&b"-----"[..], b"====="].contains(&line)
}

/// Reads a history: the events of each session in turn, with [`CLOCK_SESSIONS`] for a clock.
///
/// # Errors
/// [`ReadError`], with the line, where a step cannot be understood or a transaction is interrupted by another.
pub fn read(input: impl BufRead, path: &Path, style: Style) -> Result<History, ReadError> {
    let mut sessions = Sessions::new();
    let (mut session, mut fresh) = (0, true);
    for (number, line) in (1..).zip(input.lines()) {
        let line = line.map_err(|error| ReadError::new(path, number, ReadErrorKind::Io(error)))?;
        let text = line.trim();
        let broken = |why| ReadError::new(path, number, ReadErrorKind::Foreign(why));
        match (style, text) {
            (_, "") => {}
            (Style::Awdit, "-----") => fresh = true,
            (Style::Awdit, "=====") => (session, fresh) = (session + 1, true),
            (Style::Awdit, _) => {
                let step = awdit(text).map_err(broken)?;
                let txns = sessions.entry(session).or_default();
                if std::mem::take(&mut fresh) {
                    txns.push(Txn { line: number, number: 0, steps: Vec::new() });
                }
                txns.last_mut().into_iter().for_each(|txn| txn.steps.push(step));
            }
            (Style::Plume, _) => {
                let (step, of, txn) = plume(text).map_err(broken)?;
                add(sessions.entry(of).or_default(), number, txn, step).map_err(broken)?;
            }
        }
    }
    if sessions.is_empty() {
        let why = "the history has no transactions".to_owned();
        return Err(ReadError::new(path, 0, ReadErrorKind::Foreign(why)));
    }
    Ok(history(sessions))
}

/// Adds a step to the session's newest transaction, or to a new one.
fn add(txns: &mut Vec<Txn>, line: u64, number: i64, step: Step) -> Result<(), String> {
    match txns.iter_mut().rev().find(|txn| txn.number == number) {
        Some(txn) => txn.steps.push(step),
        None => txns.push(Txn { line, number, steps: vec![step] }),
    }
    match txns.last() {
        Some(last) if last.number != number => {
            Err(format!("transaction {number} goes on after {} of the same session began", last.number))
        }
        Some(_) | None => Ok(()),
    }
}

fn history(sessions: Sessions) -> History {
    let header = Header {
        v: VERSION,
        seed: 0,
        scenario: "rw-register".to_owned(),
        faults: Vec::new(),
        system: "unknown".to_owned(),
        nodes: 0,
        clock: CLOCK_SESSIONS.to_owned(),
    };
    let mut builder = Builder::new(header);
    let mut i = 0;
    for (p, txns) in sessions {
        for Txn { line, steps, .. } in txns {
            let steps = |answered: bool| -> Value {
                let step = |(write, key, value): &Step| match (*write, answered) {
                    (true, _) => json!(["w", key.to_string(), value]),
                    (false, true) => json!(["r", key.to_string(), value]),
                    (false, false) => json!(["r", key.to_string(), null]),
                };
                steps.iter().map(step).collect()
            };
            let f = || "txn".to_owned();
            let invoke = What::Invoke { p, node: None, f: f(), key: None, value: steps(false) };
            let ok = What::Ok { p, f: f(), key: None, value: steps(true), rev: None };
            for what in [invoke, ok] {
                builder.push(line, Event { i, t: i, what });
                i += 1;
            }
        }
    }
    builder.finish()
}

/// `w KEY VALUE`.
fn awdit(text: &str) -> Result<Step, String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    match parts.as_slice() {
        [name, key, value] => step(name, key, value),
        _ => Err(format!("`{text}` is none of `r KEY VALUE`, `w KEY VALUE`, `-----` and `=====`")),
    }
}

/// `w(KEY,VALUE,SESSION,TRANSACTION)`.
fn plume(text: &str) -> Result<(Step, ProcessId, i64), String> {
    let wrong = || format!("`{text}` is not `r` or `w` with `(KEY,VALUE,SESSION,TRANSACTION)`");
    let (name, rest) = text.split_once('(').ok_or_else(wrong)?;
    let parts: Vec<&str> = rest.strip_suffix(')').ok_or_else(wrong)?.split(',').map(str::trim).collect();
    let [key, value, session, txn] = parts[..] else { return Err(wrong()) };
    let session = session.parse().map_err(|_| wrong())?;
    Ok((step(name, key, value)?, session, txn.parse().map_err(|_| wrong())?))
}

fn step(name: &str, key: &str, value: &str) -> Result<Step, String> {
    let number =
        |text: &str| text.parse::<i64>().map_err(|_| format!("`{text}` is no whole number of 64 bits"));
    let write = match name {
        "w" => true,
        "r" => false,
        _ => return Err(format!("a step is `r` or `w`, not `{name}`")),
    };
    Ok((write, number(key)?, number(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<Vec<(u64, String)>, String> {
        let style = style(text.as_bytes()).expect("a style");
        let history = read(text.as_bytes(), Path::new("h.txt"), style).map_err(|error| error.to_string())?;
        assert_eq!(history.problems(), []);
        assert_eq!(history.header().clock, CLOCK_SESSIONS);
        let operations = history.operations().iter();
        Ok(operations.map(|op| (op.process, op.answer().expect("answered").to_string())).collect())
    }

    #[test]
    fn both_styles_say_the_same() {
        let want = vec![
            (0, r#"[["w","1",5]]"#.to_owned()),
            (0, r#"[["r","1",5],["w","2",-6]]"#.to_owned()),
            (2, r#"[["r","2",-6]]"#.to_owned()),
        ];
        let awdit = "w 1 5\n-----\nr 1 5\nw 2 -6\n=====\n\n=====\nr 2 -6";
        assert_eq!(lines(awdit), Ok(want.clone()));
        assert_eq!(lines("w(1,5,0,0)\nr(2,-6,2,9)\nr(1,5,0,7)\nw(2, -6, 0, 7)\n"), Ok(want));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, why) in [
            ("w 1 5\nr 1", "h.txt:2: `r 1` is none of `r KEY VALUE`, `w KEY VALUE`, `-----` and `=====`"),
            ("w 1 5\nx 1 5", "h.txt:2: a step is `r` or `w`, not `x`"),
            ("w 1 5\nr 1 y", "h.txt:2: `y` is no whole number of 64 bits"),
            (
                "w(1,5,0,0)\nw(1,5,0)",
                "h.txt:2: `w(1,5,0)` is not `r` or `w` with `(KEY,VALUE,SESSION,TRANSACTION)`",
            ),
            (
                "w(1,5,0,0)\nw(2,5,0,1)\nw(3,5,0,0)",
                "h.txt:3: transaction 0 goes on after 1 of the same session began",
            ),
        ] {
            assert_eq!(lines(text), Err(why.to_owned()), "{text}");
        }
        assert_eq!(style(b"{:type :ok}"), None);
        assert_eq!(style(b"=====\n-----\n"), None);
    }
}
