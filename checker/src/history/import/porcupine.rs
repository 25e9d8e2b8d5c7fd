//! Logs of Jepsen's etcd test of 2014, as Porcupine's test data has them: one line an event,
//! `INFO  jepsen.util - PROCESS<tab>:TYPE<tab>:F<tab>VALUE`, on one register.
//!
//! They have no clock: an event's time is its position. A `:fail` of a `cas` says that the compare failed,
//! which is an answer; a `:fail` of a read says nothing.

use std::io::BufRead;
use std::path::Path;

use serde_json::{Value, json};

use super::super::event::{Event, Header, OpError, ProcessId, VERSION, What};
use super::super::file::{ReadError, ReadErrorKind};
use super::super::{Builder, History};

const KEY: &str = "r";

/// Reads a log. Lines that are no events (etcd's own, blank ones) are left out.
///
/// # Errors
/// [`ReadError`], with the line, where an event cannot be understood.
pub fn read(input: impl BufRead, path: &Path) -> Result<History, ReadError> {
    let header = Header {
        v: VERSION,
        seed: 0,
        scenario: "register".to_owned(),
        faults: Vec::new(),
        system: "etcd".to_owned(),
        nodes: 0,
        clock: "position".to_owned(),
    };
    let mut builder = Builder::new(header);
    let mut i = 0;
    for (number, line) in (1..).zip(input.lines()) {
        let line = line.map_err(|error| ReadError::new(path, number, ReadErrorKind::Io(error)))?;
        let Some((_, text)) = line.split_once("jepsen.util - ") else { continue };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let what = event(&fields).map_err(|why| ReadError::new(path, number, ReadErrorKind::Foreign(why)))?;
        builder.push(number, Event { i, t: i, what });
        i += 1;
    }
    Ok(builder.finish())
}

fn event(fields: &[&str]) -> Result<What, String> {
    let [process, kind, f, argument @ ..] = fields else {
        return Err("an event has a process, a type, a function and a value".to_owned());
    };
    let p: ProcessId = process.parse().map_err(|_| format!("`{process}` is no process"))?;
    let name = f.trim_start_matches(':').to_owned();
    let key = Some(KEY.to_owned());
    match (*kind, *f) {
        (":invoke", ":read") => Ok(What::Invoke { p, node: None, f: name, key, value: Value::Null }),
        (":invoke", ":write" | ":cas") => {
            Ok(What::Invoke { p, node: None, f: name, key, value: value(argument)? })
        }
        (":ok", ":read") => Ok(What::Ok { p, f: name, key, value: value(argument)?, rev: None }),
        (":ok", ":write") => Ok(What::Ok { p, f: name, key, value: Value::Null, rev: None }),
        (":ok" | ":fail", ":cas") if argument.first().is_some_and(|first| first.starts_with('[')) => {
            Ok(What::Ok { p, f: name, key, value: json!({"swapped": *kind == ":ok"}), rev: None })
        }
        (":fail", ":read") => Ok(What::Fail { p, f: name, key, error: error(argument) }),
        (":info", _) => Ok(What::Info { p, f: name, key, error: error(argument) }),
        _ => Err(format!("`{kind} {f}` is no event of a register")),
    }
}

fn error(argument: &[&str]) -> OpError {
    OpError { kind: argument.join(" ").trim_start_matches(':').to_owned(), text: String::new() }
}

/// `nil`, a number, or `[a b]`.
fn value(argument: &[&str]) -> Result<Value, String> {
    let number = |text: &str| -> Result<Value, String> {
        let text = text.trim_matches(['[', ']']);
        if text == "nil" {
            return Ok(Value::Null);
        }
        text.parse::<i64>().map(Value::from).map_err(|_| format!("`{text}` is no number"))
    };
    match argument {
        [one] => number(one),
        [old, new] => Ok(Value::Array(vec![number(old)?, number(new)?])),
        _ => Err(format!("`{}` is no value", argument.join(" "))),
    }
}
