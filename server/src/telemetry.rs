//! The log of a server: one line an event, as text or as JSON of the form that etcd's has.

use serde_json::Value;
use std::{fmt, fs::File, io, path::PathBuf, sync::Arc};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// How much is logged, in etcd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// What went wrong.
    Error,
}

impl LogLevel {
    /// The level of one of etcd's names; its `panic` and `fatal` are errors here.
    pub fn of(name: &str) -> Option<LogLevel> {
        match name {
            "debug" => Some(LogLevel::Debug),
            "info" => Some(LogLevel::Info),
            "warn" => Some(LogLevel::Warn),
            "error" | "dpanic" | "panic" | "fatal" => Some(LogLevel::Error),
            _ => None,
        }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Console,
    /// For programs: `{"level":...,"ts":...,"caller":...,"msg":...}` and the fields of the event.
    Json,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

impl LogOutput {
    /// What one of etcd's names for outputs stands for.
    ///
    /// # Errors
    /// What cannot be had, and the remedy.
    pub fn of(name: &str) -> Result<LogOutput, String> {
        match name {
            "" => Err("it names no output; write stderr, stdout or the path of a file".into()),
            "default" | "stderr" => Ok(LogOutput::Stderr),
            "stdout" => Ok(LogOutput::Stdout),
            "systemd/journal" => Err("the journal takes what is written to stderr; write stderr".into()),
            path => Ok(LogOutput::File(path.into())),
        }
    }
}

/// All about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// How much.
    pub level: LogLevel,
    /// How.
    pub format: LogFormat,
    /// Where to: to each of them.
    pub outputs: Vec<LogOutput>,
}

/// Logs from now on. Without effect where the process logs already.
///
/// # Errors
/// A file that cannot be opened, and why.
pub fn start(logging: &Logging) -> Result<(), String> {
    let filter = match logging.level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let outputs = logging.outputs.iter().map(Sink::open).collect::<Result<Vec<_>, _>>()?;
    let outputs = Outputs(Arc::new(outputs));
    let builder = tracing_subscriber::fmt()
        .with_writer(move || outputs.clone())
        .with_max_level(filter)
        .with_target(false)
        .with_ansi(false);
    let _ = match logging.format {
        LogFormat::Console => builder.try_init(),
        LogFormat::Json => builder.event_format(Json).try_init(),
    };
    Ok(())
}

/// An output that is open.
enum Sink {
    Stderr,
    Stdout,
    File(File),
}

impl Sink {
    fn open(output: &LogOutput) -> Result<Sink, String> {
        match output {
            LogOutput::Stderr => Ok(Sink::Stderr),
            LogOutput::Stdout => Ok(Sink::Stdout),
            LogOutput::File(path) => {
                let file = File::options().create(true).append(true).open(path);
                file.map(Sink::File).map_err(|error| format!("{}: {error}", path.display()))
            }
        }
    }
}

#[derive(Clone)]
struct Outputs(Arc<Vec<Sink>>);

impl io::Write for Outputs {
    /// A line to each output. One that takes none (a closed pipe, a full disk) keeps none from the others.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for sink in self.0.iter() {
            let _ = match sink {
                Sink::Stderr => io::Write::write_all(&mut io::stderr(), line),
                Sink::Stdout => io::Write::write_all(&mut io::stdout(), line),
                // Appended in one piece, so that lines of threads do not mix.
                Sink::File(file) => io::Write::write_all(&mut &*file, line),
            };
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines of JSON, with etcd's names for what every line has.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = metadata.level().as_str().to_lowercase();
        let caller =
            format!("{}:{}", metadata.file().unwrap_or_default(), metadata.line().unwrap_or_default());
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { message, rest } = fields;
        let head = [("level", level), ("ts", time), ("caller", caller), ("msg", message)];
        let head = head.into_iter().map(|(name, text)| (name, Value::from(text)));
        for (place, (name, value)) in head.chain(rest).enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            write!(writer, "{before}{}:{value}", Value::from(name))?;
        }
        writeln!(writer, "}}")
    }
}

/// What an event says.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.rest.push((field.name(), value.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.add(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_json_with_etcds_names() {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber =
            tracing_subscriber::fmt().event_format(Json).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(node = 7_u64, why = "a \"reason\"", list = ?[1, 2], "it\nhappened");
        });
        let text = String::from_utf8(memory.0.lock().clone()).expect("text");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with("{\"level\":\"warn\",\"ts\":\"2"), "{text}");
        let line: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&line["msg"], &line["node"]), (&Value::from("it\nhappened"), &Value::from(7)));
        assert_eq!((&line["why"], &line["list"]), (&Value::from("a \"reason\""), &Value::from("[1, 2]")));
        assert!(line["caller"].as_str().is_some_and(|caller| caller.contains("telemetry.rs:")), "{text}");
    }

    #[test]
    fn every_output_gets_every_line() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = ["a", "b"].map(|name| dir.path().join(name));
        let open = || files.iter().map(|path| Sink::open(&LogOutput::File(path.clone())));
        for line in ["one\n", "two\n"] {
            let sinks = open().collect::<Result<Vec<_>, _>>().expect("they open");
            io::Write::write_all(&mut Outputs(Arc::new(sinks)), line.as_bytes()).expect("it never fails");
        }
        for file in &files {
            assert_eq!(std::fs::read_to_string(file).expect("a file"), "one\ntwo\n", "lines are added");
        }
        let nowhere = LogOutput::File(dir.path().join("no/such/folder"));
        assert!(Sink::open(&nowhere).err().expect("no folder").contains("no/such/folder"));
        assert!(LogOutput::of("systemd/journal").is_err() && LogOutput::of("").is_err());
        assert_eq!(LogOutput::of("default"), Ok(LogOutput::Stderr));
    }
}
