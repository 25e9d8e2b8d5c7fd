//! Histories of Jepsen and of what is built like it (Knossos, Elle, elle-cli, Porcupine's key-value logs): maps
//! with `type`, `process`, `f`, `value`, and where there are `key`, `error` and `time`; as EDN or JSON.
//!
//! Such a history does not say what was tested. The names of its functions tell ([`Scenario`]'s rules are in
//! [`Seen::scenario`]); `header.scenario` carries it, and whoever knows better may say so
//! ([`History::with_scenario`]).
//!
//! What is made equal, so that the same decoders read all histories: transactions without a function are
//! `txn`; keys are text; where reads are invoked with `[key nil]`, the first half of every value is the key
//! (`jepsen.independent`); elements of sets are numbers; where a register has no key, it is `r`, and its `cas` swapped where it is ok. Time is for people: the order is that of the file, and a time that goes back
//! counts as the latest before it. A `:fail` did not happen, whatever its function: that is Jepsen's meaning of it.
//! Processes that are no numbers (the nemesis) become observations.

use std::collections::{BTreeSet, VecDeque};
use std::io::Read;
use std::path::Path;

use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};

use super::super::event::{Event, Header, OpError, ProcessId, VERSION, What};
use super::super::file::{ReadError, ReadErrorKind};
use super::super::{Builder, History, Operation, Outcome};
use super::elements::{Broken, Elements, Notation, text};

/// Processes of operations that name none have numbers from here on.
const UNNAMED: ProcessId = 1 << 40;
/// The key of the register in histories of one.
const ONLY_REGISTER: &str = "r";

/// Reads a history, an element at a time.
///
/// # Errors
/// [`ReadError`], with the line, where the file or an operation cannot be understood.
pub fn read(input: impl Read, path: &Path, notation: Notation) -> Result<History, ReadError> {
    let header = Header {
        v: VERSION,
        seed: 0,
        scenario: String::new(),
        faults: Vec::new(),
        system: "unknown".to_owned(),
        nodes: 0,
        clock: "monotonic_ns".to_owned(),
    };
    let mut elements = Elements::new(input, notation);
    let mut reading = Reading { seen: Seen::default(), unnamed: FxHashMap::default(), next: UNNAMED, t: 0 };
    let mut builder = Builder::new(header);
    let mut i = 0;
    loop {
        let (line, element) = match elements.next_element() {
            Ok(Some(found)) => found,
            Ok(None) => break,
            Err(Broken::Io(error)) => {
                return Err(ReadError::new(path, elements.line(), ReadErrorKind::Io(error)));
            }
            Err(broken @ (Broken::Torn | Broken::Syntax(_))) => {
                let kind = ReadErrorKind::Foreign(broken.to_string());
                return Err(ReadError::new(path, elements.line(), kind));
            }
        };
        let what = reading.event(element);
        let what = what.map_err(|why| ReadError::new(path, line, ReadErrorKind::Foreign(why)))?;
        builder.push(line, Event { i, t: reading.t, what });
        i += 1;
    }
    if i == 0 {
        return Err(ReadError::new(
            path,
            0,
            ReadErrorKind::Foreign("the history has no operations".to_owned()),
        ));
    }
    let (keyed, scenario) = (reading.seen.is_keyed(), reading.seen.scenario());
    let mut elements = Numbered::default();
    for operation in builder.operations_mut() {
        even_out(operation, keyed);
        if scenario == "set" {
            elements.number(operation);
        }
        if scenario == "register" {
            even_out_register(operation);
        }
    }
    builder.header_mut().scenario = scenario.to_owned();
    Ok(builder.finish())
}

struct Reading {
    seen: Seen,
    /// Open operations without a process, oldest first, by function.
    unnamed: FxHashMap<String, VecDeque<ProcessId>>,
    next: ProcessId,
    t: u64,
}

impl Reading {
    fn event(&mut self, element: Value) -> Result<What, String> {
        let Value::Object(mut fields) = element else {
            return Err(format!("an operation is a map, not {}", short(&element)));
        };
        if let Some(time) = fields.get("time").and_then(Value::as_u64) {
            self.t = self.t.max(time);
        }
        let kind = match fields.remove("type") {
            Some(Value::String(kind)) => kind,
            Some(other) => return Err(format!("an operation's type is a word, not {}", short(&other))),
            None => return Err("the operation has no type".to_owned()),
        };
        let f = match fields.remove("f") {
            Some(Value::String(f)) => f,
            Some(other) if !other.is_null() => {
                return Err(format!("a function has a name, not {}", short(&other)));
            }
            // Elle leaves it out where everything is a transaction.
            Some(_) | None => "txn".to_owned(),
        };
        let value = fields.remove("value").unwrap_or(Value::Null);
        let p = match fields.remove("process") {
            Some(Value::Number(number)) => {
                number.as_u64().ok_or_else(|| format!("a process has a number from 0 on, not {number}"))?
            }
            Some(Value::String(node)) => return Ok(What::Observe { node, f, value }),
            Some(Value::Null) | None => self.unnamed(&kind, &f)?,
            Some(other) => return Err(format!("a process is a number or a name, not {}", short(&other))),
        };
        let key = fields.remove("key").filter(|key| !key.is_null()).map(|key| text(&key));
        match kind.as_str() {
            "invoke" => {
                self.seen.invocation(&f, &value);
                Ok(What::Invoke { p, node: None, f, key, value })
            }
            "ok" => {
                self.seen.answer(&f, &value);
                Ok(What::Ok { p, f, key, value, rev: None })
            }
            "fail" => Ok(What::Fail { p, f, key, error: error(&mut fields) }),
            "info" => Ok(What::Info { p, f, key, error: error(&mut fields) }),
            _ => Err(format!("`{kind}` is none of invoke, ok, fail and info")),
        }
    }

    /// A process for an operation that names none: a completion is the oldest open operation's of its function.
    fn unnamed(&mut self, kind: &str, f: &str) -> Result<ProcessId, String> {
        if kind == "invoke" {
            self.unnamed.entry(f.to_owned()).or_default().push_back(self.next);
            self.next += 1;
            return Ok(self.next - 1);
        }
        let open = self.unnamed.get_mut(f).and_then(VecDeque::pop_front);
        open.ok_or_else(|| format!("`{f}` is completed and was not invoked"))
    }
}

fn error(fields: &mut Map<String, Value>) -> OpError {
    match fields.remove("error") {
        None | Some(Value::Null) => OpError { kind: "unknown".to_owned(), text: String::new() },
        Some(Value::String(kind)) => OpError { kind, text: String::new() },
        Some(Value::Array(parts)) if parts.first().is_some_and(Value::is_string) => {
            let rest: Vec<String> = parts[1..].iter().filter(|part| !part.is_null()).map(text).collect();
            OpError { kind: text(&parts[0]), text: rest.join(" ") }
        }
        Some(other) => OpError { kind: "unknown".to_owned(), text: text(&other) },
    }
}

/// What tells the workload.
#[derive(Debug, Default)]
struct Seen {
    functions: BTreeSet<String>,
    steps: BTreeSet<String>,
    /// Reads that were invoked with `[key nil]`, and other invocations that have no key.
    with_key: u64,
    without_key: u64,
    read_list: bool,
    read_map: bool,
}

impl Seen {
    fn invocation(&mut self, f: &str, value: &Value) {
        if !self.functions.contains(f) {
            self.functions.insert(f.to_owned());
        }
        if let Some(steps) = steps(value) {
            for name in steps.iter().filter_map(|step| step.get(0)?.as_str()) {
                if !self.steps.contains(name) {
                    self.steps.insert(name.to_owned());
                }
            }
            return;
        }
        match value {
            Value::Array(parts) if f == "read" && parts.len() == 2 && parts[1].is_null() => {
                self.with_key += 1
            }
            Value::Array(parts) if parts.len() == 2 => {}
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => {
                self.without_key += 1;
            }
        }
    }

    fn answer(&mut self, f: &str, value: &Value) {
        if f == "read" && steps(value).is_none() {
            let pair = value.as_array().filter(|parts| parts.len() == 2);
            // One that is answered without its key has none: its value is a pair.
            self.without_key += u64::from(pair.is_none() && !value.is_null());
            let value = pair.filter(|_| self.is_keyed()).map_or(value, |parts| &parts[1]);
            self.read_list |= value.is_array();
            self.read_map |= value.is_object();
        }
    }

    fn is_keyed(&self) -> bool {
        self.with_key > 0 && self.without_key == 0
    }

    /// The workload; the functions' names where none is known by them.
    fn scenario(&self) -> &'static str {
        let has = |f: &str| self.functions.contains(f);
        let only = |names: &[&str]| self.functions.iter().all(|f| names.contains(&f.as_str()));
        let step = |name: &str| self.steps.contains(name);
        if step("append") {
            return "append";
        }
        if step("r") || step("w") {
            return if has("txn") { "rw-register" } else { "long-fork" };
        }
        if step("read") || step("write") {
            return "multi-register";
        }
        match () {
            () if only(&["acquire", "release"]) => "mutex",
            () if has("transfer") || (only(&["read"]) && self.read_map) => "bank",
            () if has("add") && only(&["add", "read"]) && self.read_list => "set",
            () if has("add") && only(&["add", "read"]) => "counter",
            () if has("enqueue") && only(&["enqueue", "dequeue", "drain"]) => "queue",
            () if has("push") && only(&["push", "pop"]) => "stack",
            () if only(&["generate"]) => "unique-ids",
            () if only(&["get", "put", "append"]) => "strings",
            () if only(&["read", "write"]) && self.read_list => "comments",
            () if only(&["read", "write", "cas"]) => "register",
            () => "unknown",
        }
    }
}

/// The steps of a transaction, where a value is that.
fn steps(value: &Value) -> Option<&[Value]> {
    let steps = value.as_array()?;
    let is_step = |step: &Value| {
        let parts = step.as_array();
        parts.is_some_and(|parts| {
            parts.len() == 3 && matches!(parts[0].as_str(), Some("append" | "r" | "w" | "read" | "write"))
        })
    };
    (!steps.is_empty() && steps.iter().all(is_step)).then_some(steps)
}

/// Brings an operation into the form that the decoders read.
fn even_out(operation: &mut Operation, keyed: bool) {
    if steps(&operation.value).is_some() {
        name_keys(&mut operation.value);
        if let Outcome::Ok { value, .. } = &mut operation.outcome {
            name_keys(value);
        }
        operation.f = "txn".to_owned();
        return;
    }
    if !keyed {
        return;
    }
    if let Some((key, value)) = halves(&mut operation.value) {
        operation.key = Some(text(&key));
        operation.value = value;
    }
    if let Outcome::Ok { value, .. } = &mut operation.outcome
        && let Some((_, answer)) = halves(value)
    {
        *value = answer;
    }
}

/// A read asks for nothing, though Knossos's repeat the answer in the call; a `cas` that was answered with what it
/// was asked for swapped.
fn even_out_register(operation: &mut Operation) {
    if operation.key.is_none() {
        operation.key = Some(ONLY_REGISTER.to_owned());
    }
    if operation.f == "read" {
        operation.value = Value::Null;
    }
    if let Outcome::Ok { value, .. } = &mut operation.outcome
        && operation.f == "cas"
        && (value.is_null() || *value == operation.value)
    {
        *value = json!({"swapped": true});
    }
}

/// Numbers for the elements of sets that are none: from -1 downwards, in order of appearance.
#[derive(Default)]
struct Numbered(FxHashMap<String, i64>);

impl Numbered {
    fn number(&mut self, operation: &mut Operation) {
        if operation.f == "add" {
            self.element(&mut operation.value);
        }
        if let Outcome::Ok { value: Value::Array(elements), .. } = &mut operation.outcome {
            elements.iter_mut().for_each(|element| self.element(element));
        }
    }

    fn element(&mut self, element: &mut Value) {
        if element.is_array() || element.is_string() || element.is_object() {
            let next = -1 - self.0.len() as i64;
            *element = (*self.0.entry(element.to_string()).or_insert(next)).into();
        }
    }
}

fn halves(value: &mut Value) -> Option<(Value, Value)> {
    match value {
        Value::Array(parts) if parts.len() == 2 => {
            let value = parts.pop()?;
            Some((parts.pop()?, value))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    }
}

/// Makes the keys of a transaction's steps text, and their names short.
fn name_keys(value: &mut Value) {
    for step in value.as_array_mut().into_iter().flatten() {
        let Some([name, key, _]) = step.as_array_mut().map(Vec::as_mut_slice) else { continue };
        if !key.is_string() {
            *key = Value::String(text(key));
        }
        match name.as_str() {
            Some("read") => *name = Value::from("r"),
            Some("write") => *name = Value::from("w"),
            Some(_) | None => {}
        }
    }
}

fn short(value: &Value) -> String {
    const CHARS_MAX: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edn(text: &str) -> Result<History, String> {
        read(text.as_bytes(), Path::new("h.edn"), Notation::Edn).map_err(|error| error.to_string())
    }

    #[test]
    fn the_functions_tell_the_workload() {
        for (invoke, ok, scenario) in [
            (":f :read", ":f :read :value 3", "register"),
            (":f :cas :value [1 2]", ":f :cas :value [1 2]", "register"),
            (":f :read :value [5 nil]", ":f :read :value [5 1]", "register"),
            (":f :txn :value [[:append 1 2]]", ":f :txn :value [[:append 1 2]]", "append"),
            (":value [[:append 1 2]]", ":value [[:append 1 2]]", "append"),
            (":f :txn :value [[:r :x nil]]", ":f :txn :value [[:r :x 1]]", "rw-register"),
            (":f :read :value [[:r 0 nil]]", ":f :read :value [[:r 0 1]]", "long-fork"),
            (":f :txn :value [[:read :x nil]]", ":f :txn :value [[:read :x 0]]", "multi-register"),
            (":f :acquire", ":f :acquire", "mutex"),
            (":f :read", ":f :read :value {0 10}", "bank"),
            (":f :add :value 1", ":f :add :value 1", "counter"),
            (":f :enqueue :value 1", ":f :enqueue :value 1", "queue"),
            (":f :pop", ":f :pop :value 1", "stack"),
            (":f :get :key \"3\"", ":f :get :key \"3\" :value \"x\"", "strings"),
            (":f :jump", ":f :jump", "unknown"),
        ] {
            let push = if scenario == "stack" { "{:type :invoke :process 9 :f :push :value 1}" } else { "" };
            let text = format!("{{:type :invoke :process 1 {invoke}}} {push} {{:type :ok :process 1 {ok}}}");
            let history = edn(&text).expect("reads");
            assert_eq!(history.header().scenario, scenario, "{text}");
            assert_eq!(history.problems(), [], "{text}");
            assert!(history.operations()[0].is_ok(), "{text}");
        }
    }

    #[test]
    fn keys_are_taken_from_values_where_all_have_one() {
        let text = "{:type :invoke :process 1 :f :read :value [5 nil]} {:type :invoke :process 2 :f :cas :value [:b [1 2]]}
            {:type :ok :process 1 :f :read :value [5 7]}";
        let history = edn(text).expect("reads");
        let [read, cas] = history.operations() else { panic!("two operations") };
        assert_eq!((read.key.as_deref(), read.answer()), (Some("5"), Some(&json!(7))));
        assert_eq!((cas.key.as_deref(), &cas.value, cas.is_info()), (Some("b"), &json!([1, 2]), true));
    }

    #[test]
    fn registers_of_knossos_are_read_as_ours() {
        let text = "{:process 1 :type :invoke :f :read :value 4} {:process 1 :type :ok :f :read :value 4}
            {:process 2 :type :invoke :f :cas :value [4 1]} {:process 2 :type :ok :f :cas :value [4 1]}";
        let history = edn(text).expect("reads");
        let [read, cas] = history.operations() else { panic!("two operations") };
        assert_eq!((&read.value, read.answer()), (&Value::Null, Some(&json!(4))));
        assert_eq!((cas.key.as_deref(), cas.answer()), (Some("r"), Some(&json!({"swapped": true}))));
    }

    #[test]
    fn pairs_are_elements_where_reads_are_answered_without_a_key() {
        let text = "{:process 1 :type :invoke :f :add :value [0 5]} {:process 1 :type :ok :f :add :value [0 5]}
            {:process 1 :type :invoke :f :add :value [0 6]} {:process 1 :type :ok :f :add :value [0 6]}
            {:process 2 :type :invoke :f :read :value [0 nil]} {:process 2 :type :ok :f :read :value [5 [0 6] 7]}";
        let history = edn(text).expect("reads");
        assert_eq!(history.header().scenario, "set");
        let [one, other, read] = history.operations() else { panic!("three operations") };
        assert_eq!((&one.value, &other.value, &read.key), (&json!(-1), &json!(-2), &None));
        assert_eq!(read.answer(), Some(&json!([5, -2, 7])));
    }

    #[test]
    fn operations_without_a_process_are_paired_in_order() {
        let history = edn("[{:type :invoke :value [[:append 1 2]]} {:type :ok :value [[:append 1 2]]}
            {:type :invoke :value [[:r 1 nil]]} {:type :ok :value [[:r 1 [2]]]}]");
        let history = history.expect("reads");
        assert_eq!(history.problems(), []);
        assert_eq!(history.operations()[1].answer(), Some(&json!([["r", "1", [2]]])));
    }

    #[test]
    fn what_is_no_operation_is_named_with_its_line() {
        for (text, why) in [
            ("\n:x", "h.edn:2: an operation is a map, not \"x\""),
            ("{:f :read}", "h.edn:1: the operation has no type"),
            ("{:type :gone :process 1}", "h.edn:1: `gone` is none of invoke, ok, fail and info"),
            ("{:type :ok :process -1}", "h.edn:1: a process has a number from 0 on, not -1"),
            ("{:type :ok :f :read}", "h.edn:1: `read` is completed and was not invoked"),
            ("[{:type :invoke", "h.edn:1: the file ends in the middle of an element"),
            ("", "h.edn: the history has no operations"),
        ] {
            assert_eq!(edn(text).map(|_| ()), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn the_nemesis_is_observed_and_errors_keep_their_kind() {
        let history = edn("{:type :info :process :nemesis :f :kill :value nil :time 5}
            {:type :invoke :process 1 :f :write :value 3 :time 4}
            {:type :fail :process 1 :f :write :value 3 :error [:net \"gone\"] :time 9}");
        let history = history.expect("reads");
        assert_eq!(history.observations()[0].f, "kill");
        assert_eq!(history.problems(), []);
        let Outcome::Fail { error, .. } = &history.operations()[0].outcome else { panic!("failed") };
        assert_eq!((error.kind.as_str(), error.text.as_str()), ("net", "gone"));
    }
}
