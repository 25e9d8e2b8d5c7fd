//! The lines of the nodes' logs, by the run's own clock: near the moments that matter before others.

use super::{
    super::{progress::plain, results::Results, time},
    budget::{LOG_LINE_CHARS, LOG_TAIL_BYTES, LOGS_BYTES, cut, json_bytes},
};
use serde::Serialize;
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

/// A line within this of a moment belongs to it, s.
const NEAR_S: f64 = 1.0;
/// No clock of a log is wrong by more than this, s; times without a time zone may be, by the zone's offset.
const NAIVE_STEP_S: f64 = 900.0;

/// A node's log.
#[derive(Debug, Default, Serialize)]
pub(super) struct Log {
    pub node: String,
    /// Time in s from the start of the run, and text.
    lines: Vec<(f64, String)>,
    /// Lines that had no room.
    left_out: usize,
}

/// The logs of all nodes; `moments` are the times that matter, in s. A log that cannot be read is empty.
pub(super) fn logs(results: &Results, dir: &Path, moments: &[f64]) -> Vec<Log> {
    let Some(start) = time::parse(&results.run.started) else { return Vec::new() };
    let with_log = results.nodes.iter().filter_map(|node| Some((node, node.log.as_ref()?)));
    let with_log: Vec<_> = with_log.collect();
    let share = LOGS_BYTES / with_log.len().max(1);
    let read = with_log.into_iter().map(|(node, log)| {
        let lines =
            File::open(dir.join(log)).and_then(|file| select(BufReader::new(file), start, moments, share));
        let (lines, left_out) = lines.unwrap_or_default();
        Log { node: node.name.clone(), lines, left_out }
    });
    read.collect()
}

/// Reads line by line, and never holds more than twice the `bytes`.
fn select(
    mut input: impl BufRead,
    start: f64,
    moments: &[f64],
    bytes: usize,
) -> io::Result<(Vec<(f64, String)>, usize)> {
    let mut sorted = moments.to_vec();
    sorted.sort_by(f64::total_cmp);
    let near = |at: f64| {
        let next = sorted.partition_point(|moment| *moment < at - NEAR_S);
        sorted.get(next).is_some_and(|moment| *moment <= at + NEAR_S)
    };
    // Of the lines far from any moment the last are kept.
    let (mut close, mut far) = (Vec::new(), VecDeque::new());
    let (mut close_bytes, mut far_bytes, mut left_out) = (0, 0, 0);
    let mut untimed: Vec<String> = Vec::new();
    let mut at = None;
    let mut buffer = Vec::new();
    let mut number = 0;
    loop {
        buffer.clear();
        if input.by_ref().take(1 << 20).read_until(b'\n', &mut buffer)? == 0 {
            break;
        }
        let whole = String::from_utf8_lossy(&buffer);
        let text = cut(&short(whole.trim_end()), LOG_LINE_CHARS);
        match stamp(&whole).map(|stamp| stamp.after(start)) {
            Some(own) => at = Some(own),
            // The harness's own line before a start: it belongs to what follows.
            None if text.starts_with("--- ") || at.is_none() => {
                untimed.push(text);
                continue;
            }
            None => {}
        }
        let Some(at) = at else { continue };
        for text in untimed.drain(..).chain([text]) {
            number += 1;
            if near(at) && close_bytes + json_bytes(&text) <= bytes {
                close_bytes += json_bytes(&text);
                close.push((number, at, text));
                continue;
            }
            far_bytes += json_bytes(&text);
            far.push_back((number, at, text));
            while far_bytes > bytes {
                far_bytes -=
                    far.pop_front().map_or(far_bytes, |(_, _, text): (usize, f64, String)| json_bytes(&text));
                left_out += 1;
            }
        }
    }
    while close_bytes + far_bytes > bytes {
        let Some((_, _, text)) = far.pop_front() else { break };
        far_bytes -= json_bytes(&text);
        left_out += 1;
    }
    close.extend(far);
    close.sort_by_key(|(number, _, _)| *number);
    Ok((close.into_iter().map(|(_, at, text)| ((at * 1000.0).round() / 1000.0, text)).collect(), left_out))
}

/// A line without its time, which is shown beside it, and without the braces of a JSON object.
fn short(line: &str) -> String {
    if let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(line) {
        let mut word = |name: &str| fields.remove(name).map_or(String::new(), |value| plain(&value));
        let (level, message) = (word("level"), word("msg"));
        let (_, _) = (word("ts"), word("caller"));
        let rest: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
        return format!("{:>5} {message} {}", level.to_uppercase(), rest.join(" ")).trim_end().to_string();
    }
    match line.split_once(' ') {
        Some((first, rest)) if time::parse(first).is_some() => rest.to_string(),
        _ => line.to_string(),
    }
}

/// A point in time, as a line has it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp {
    seconds: f64,
    /// Without a time zone.
    naive: bool,
}

impl Stamp {
    fn after(self, start: f64) -> f64 {
        let at = self.seconds - start;
        // Zones differ by quarters of an hour, and a run's log begins with the run.
        if self.naive && at.abs() > NAIVE_STEP_S / 2.0 {
            at - (at / NAIVE_STEP_S).round() * NAIVE_STEP_S
        } else {
            at
        }
    }
}

/// The time of a line: at its beginning, or in the field `ts` of a JSON object.
fn stamp(line: &str) -> Option<Stamp> {
    if line.starts_with('{') {
        let rest = line.split_once("\"ts\":\"")?.1;
        let seconds = time::parse(rest.split('"').next()?)?;
        return Some(Stamp { seconds, naive: false });
    }
    let mut words = line.split(' ');
    let (first, second) = (words.next()?, words.next());
    if let Some(seconds) = time::parse(first) {
        return Some(Stamp { seconds, naive: false });
    }
    // etcd 3.4: 2026-01-31 09:15:00.123456 I | ...
    let seconds = time::parse(&format!("{first}T{}Z", second?))?;
    Some(Stamp { seconds, naive: true })
}

/// The end of a file, from the start of a line on.
pub(super) fn tail(path: &Path) -> String {
    let read = || -> io::Result<(String, bool)> {
        let length = fs::metadata(path)?.len();
        let from = length.saturating_sub(LOG_TAIL_BYTES as u64);
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES as u64).read_to_end(&mut bytes)?;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), from > 0))
    };
    match read() {
        Ok((text, true)) => text.split_once('\n').map_or(text.clone(), |(_, rest)| rest.to_string()),
        Ok((text, false)) => text,
        Err(error) => format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-14T22:13:20Z.
    const START: f64 = 1_700_000_000.0;

    #[test]
    fn every_log_that_there_is_has_its_times_read() {
        for (line, want) in [
            ("2023-11-14T22:13:21.500000Z  INFO starting", Some(1.5)),
            ("{\"level\":\"info\",\"ts\":\"2023-11-14T22:13:21.500Z\",\"msg\":\"x\"}", Some(1.5)),
            ("{\"level\":\"info\",\"ts\":\"2023-11-14T23:13:21.500+0100\",\"msg\":\"x\"}", Some(1.5)),
            ("2023-11-14 22:13:21.500000 I | etcdserver: x", Some(1.5)),
            ("2023-11-15 03:43:21.500000 I | etcdserver: x", Some(1.5)),
            ("thread 'main' panicked", None),
            ("{\"level\":\"info\"}", None),
            ("", None),
        ] {
            assert_eq!(stamp(line).map(|stamp| stamp.after(START)), want, "{line}");
        }
    }

    #[test]
    fn a_line_is_shown_without_what_stands_beside_it() {
        for (line, want) in [
            ("2023-11-14T22:13:21.500000Z  INFO starting node=7", " INFO starting node=7"),
            (
                "{\"level\":\"warn\",\"ts\":\"2023-11-14T22:13:21.5Z\",\"caller\":\"a.go:1\",\"msg\":\"slow\",\"took\":\"1s\"}",
                " WARN slow took=1s",
            ),
            ("panicked at x", "panicked at x"),
            ("{not json", "{not json"),
        ] {
            assert_eq!(short(line), want);
        }
    }

    #[test]
    fn lines_near_a_moment_have_room_before_others_and_the_order_stays() {
        let mut text = "--- start 1 of n1\n".to_string();
        for n in 0..40 {
            text.push_str(&format!("2023-11-14T22:13:{:02}Z  line {n}\n  and more\n", 20 + n));
        }
        let all = select(text.as_bytes(), START, &[], 1 << 20).unwrap();
        assert_eq!((all.0.len(), all.1), (81, 0));
        assert_eq!(all.0[0], (0.0, "--- start 1 of n1".to_string()), "it belongs to what follows");
        assert_eq!(all.0[2], (0.0, "  and more".to_string()), "it belongs to what came before");
        let (lines, left_out) = select(text.as_bytes(), START, &[10.0], 200).unwrap();
        assert!(left_out > 50 && lines.iter().map(|(_, text)| text.len()).sum::<usize>() <= 200);
        for n in [9, 10, 11] {
            assert!(lines.iter().any(|(_, text)| text.ends_with(&format!("line {n}"))), "{lines:?}");
        }
        assert!(lines.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n1.log");
        fs::write(&path, (0..5000).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();
        let tail = tail(&path);
        assert!(
            tail.len() <= LOG_TAIL_BYTES && tail.starts_with("line ") && tail.ends_with("line 4999\n"),
            "{tail}"
        );
        assert!(super::tail(&dir.path().join("none")).contains("cannot be read"));
    }
}
