//! The files of a run: histogram logs, percentile tables, CSV and JSON lines.

use super::{
    interval::{Interval, histogram},
    summary::{BenchResults, Row, to_ms},
};
use base64::Engine;
use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer, Serializer, V2DeflateSerializer,
        interval_log::{IntervalLogIterator, LogEntry},
    },
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// What a histogram log holds: for each tag the intervals, with their starts in s.
pub type Tagged = BTreeMap<String, Vec<(f64, Histogram<u64>)>>;

/// The histogram log in a run's folder.
pub const HLOG: &str = "intervals.hlog";

/// Writes what comes while the run goes on.
#[derive(Debug)]
pub struct Journal {
    hlog: BufWriter<File>,
    lines: BufWriter<File>,
    csv: BufWriter<File>,
    start_s: f64,
    names: Vec<&'static str>,
}

impl Journal {
    /// Begins the files in `dir`; `date` is the start in words.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn create(
        dir: &Path,
        names: Vec<&'static str>,
        started: SystemTime,
        date: &str,
    ) -> io::Result<Journal> {
        let file = |name: &str| File::create(dir.join(name)).map(BufWriter::new);
        let start_s = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut journal = Journal {
            hlog: file(HLOG)?,
            lines: file("series.jsonl")?,
            csv: file("series.csv")?,
            start_s,
            names,
        };
        writeln!(journal.hlog, "#[Response and service times of an assay bench, in ns]")?;
        writeln!(journal.hlog, "#[Histogram log format version 1.3]")?;
        writeln!(journal.hlog, "#[StartTime: {start_s:.3} (seconds since epoch), {date}]")?;
        writeln!(journal.hlog, "#[BaseTime: {start_s:.3} (seconds since epoch)]")?;
        writeln!(
            journal.hlog,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )?;
        writeln!(
            journal.csv,
            "t_s,length_s,outside,op,ok,failed,response_p50_ms,response_p90_ms,response_p99_ms,response_p999_ms,\
             response_max_ms,service_p50_ms,service_p99_ms,service_max_ms"
        )?;
        Ok(journal)
    }

    /// When the run began, in s since 1970.
    pub fn start_s(&self) -> f64 {
        self.start_s
    }

    /// Writes an interval. What was written is in the files, should the run be killed.
    ///
    /// # Errors
    /// When the files cannot be written to.
    pub fn add(&mut self, interval: &Interval, row: &Row) -> io::Result<()> {
        let mut serializer = V2DeflateSerializer::new();
        for (name, tally) in self.names.clone().into_iter().zip(&interval.tallies) {
            for (kind, histogram) in [("response", &tally.response), ("service", &tally.service)] {
                let tag = format!("{name}-{kind}");
                write_hlog(&mut self.hlog, &mut serializer, &tag, row, histogram)?;
            }
        }
        for (name, op) in &row.ops {
            let (r, s) = (&op.response, &op.service);
            writeln!(
                self.csv,
                "{},{},{},{name},{},{},{},{},{},{},{},{},{},{}",
                row.t_s,
                row.length_s,
                row.outside,
                op.ok,
                op.failed,
                r.p50_ms,
                r.p90_ms,
                r.p99_ms,
                r.p999_ms,
                r.max_ms,
                s.p50_ms,
                s.p99_ms,
                s.max_ms
            )?;
        }
        serde_json::to_writer(&mut self.lines, row)?;
        writeln!(self.lines)?;
        self.hlog.flush()?;
        self.lines.flush()?;
        self.csv.flush()
    }
}

fn write_hlog(
    out: &mut impl Write,
    serializer: &mut V2DeflateSerializer,
    tag: &str,
    row: &Row,
    histogram: &Histogram<u64>,
) -> io::Result<()> {
    let mut octets = Vec::new();
    serializer.serialize(histogram, &mut octets).map_err(|error| io::Error::other(error.to_string()))?;
    let text = base64::engine::general_purpose::STANDARD.encode(octets);
    writeln!(out, "Tag={tag},{:.3},{:.3},{:.3},{text}", row.t_s, row.length_s, to_ms(histogram.max()))
}

/// Reads a histogram log: for each tag the intervals, with their starts in s.
///
/// # Errors
/// A text that names the file and what is wrong with it.
pub fn read_hlog(path: &Path) -> Result<Tagged, String> {
    let name = path.display();
    let octets = std::fs::read(path).map_err(|error| format!("{name}: {error}"))?;
    let mut tags = Tagged::new();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(&octets) {
        let entry = entry.map_err(|error| format!("{name} is no histogram log: {error:?}"))?;
        let LogEntry::Interval(interval) = entry else { continue };
        let wrong = |why: String| format!("{name}: the interval at {:?} {why}", interval.start_timestamp());
        let coded = base64::engine::general_purpose::STANDARD
            .decode(interval.encoded_histogram())
            .map_err(|error| wrong(format!("is not base64: {error}")))?;
        let histogram: Histogram<u64> = deserializer
            .deserialize(&mut &coded[..])
            .map_err(|error| wrong(format!("holds no histogram: {error}")))?;
        // Into one of the usual bounds, so that it can be added to others.
        let mut usual = self::histogram();
        for value in histogram.iter_recorded() {
            usual.saturating_record_n(value.value_iterated_to(), value.count_at_value());
        }
        let tag = interval.tag().map_or("", |tag| tag.as_str()).to_owned();
        tags.entry(tag).or_default().push((interval.start_timestamp().as_secs_f64(), usual));
    }
    Ok(tags)
}

/// Writes a percentile table as HdrHistogram's own tools write it, in ms.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write_hgrm(out: &mut impl Write, histogram: &Histogram<u64>) -> io::Result<()> {
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    for value in histogram.iter_quantiles(5) {
        let (ms, quantile) = (to_ms(value.value_iterated_to()), value.quantile_iterated_to());
        let total = histogram.count_between(0, value.value_iterated_to());
        if quantile < 1.0 {
            writeln!(out, "{ms:>12.6} {quantile:>2.12} {total:>10} {:>14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(out, "{ms:>12.6} {quantile:>2.12} {total:>10} {:>14}", "inf")?;
        }
    }
    let (mean, deviation) = (histogram.mean() / 1e6, histogram.stdev() / 1e6);
    writeln!(out, "#[Mean    = {mean:>12.6}, StdDeviation   = {deviation:>12.6}]")?;
    writeln!(out, "#[Max     = {:>12.6}, Total count    = {:>12}]", to_ms(histogram.max()), histogram.len())?;
    let buckets = (histogram.high() as f64 / 2048.0).log2().ceil() as u32 + 1;
    writeln!(out, "#[Buckets = {buckets:>12}, SubBuckets     = {:>12}]", 2048)
}

/// Writes what there is at the end: `results.json` and a percentile table for every operation.
///
/// # Errors
/// When the files cannot be written.
pub fn write_results(dir: &Path, results: &BenchResults, sum: &Interval, names: &[&str]) -> io::Result<()> {
    rewrite_results(dir, results)?;
    for (name, tally) in names.iter().zip(&sum.tallies) {
        for (kind, histogram) in [("response", &tally.response), ("service", &tally.service)] {
            if !histogram.is_empty() {
                let mut file = BufWriter::new(File::create(dir.join(format!("{name}-{kind}.hgrm")))?);
                write_hgrm(&mut file, histogram)?;
                file.flush()?;
            }
        }
    }
    Ok(())
}

/// Writes `results.json` again, when more has become known.
///
/// # Errors
/// When it cannot be written.
pub fn rewrite_results(dir: &Path, results: &BenchResults) -> io::Result<()> {
    std::fs::write(dir.join("results.json"), serde_json::to_vec_pretty(results)?)
}

/// Reads the `results.json` in a run's folder.
///
/// # Errors
/// A text for the user.
pub fn read_results(dir: &Path) -> Result<BenchResults, String> {
    let path = dir.join("results.json");
    let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{} is not of a bench: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(index: u64) -> Interval {
        let mut interval = Interval::new(index, 1);
        for n in 1..=1000u64 {
            interval.record(0, 0, Some(n * 100), n * 1_000_000, &Ok(Default::default()));
        }
        interval
    }

    #[test]
    fn a_histogram_log_comes_back_from_the_standard_reader() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), vec!["put"], UNIX_EPOCH, "1970").unwrap();
        for index in 0..3 {
            let interval = interval(index);
            journal.add(&interval, &Row::of(&interval, &["put"], 1.0, false)).unwrap();
        }
        let text = std::fs::read_to_string(dir.path().join(HLOG)).unwrap();
        assert!(text.contains("\n#[Histogram log format version 1.3]\n"), "{text}");
        let line = text.lines().find(|line| line.starts_with("Tag=put-response,")).unwrap();
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!((fields[1], fields[2], fields.len()), ("0.000", "1.000", 5));
        assert!((fields[3].parse::<f64>().unwrap() - 1000.0).abs() < 1.0, "{}", fields[3]);
        let tags = read_hlog(&dir.path().join(HLOG)).unwrap();
        assert_eq!(tags.keys().collect::<Vec<_>>(), ["put-response", "put-service"]);
        let response = &tags["put-response"];
        assert_eq!(response.iter().map(|(start, _)| *start).collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
        let original = &interval(0).tallies[0].response;
        for q in [0.1, 0.5, 0.9, 0.99, 1.0] {
            assert_eq!(response[0].1.value_at_quantile(q), original.value_at_quantile(q));
        }
        let csv = std::fs::read_to_string(dir.path().join("series.csv")).unwrap();
        assert_eq!(csv.lines().count(), 4);
        std::fs::write(dir.path().join("broken"), "Tag=a,0,1,2,!!\n").unwrap();
        assert!(read_hlog(&dir.path().join("broken")).unwrap_err().contains("broken"));
    }

    #[test]
    fn a_percentile_table_has_the_layout_of_the_format() {
        let mut out = Vec::new();
        write_hgrm(&mut out, &interval(0).tallies[0].response).unwrap();
        let text = String::from_utf8(out).unwrap();
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        assert_eq!(lines.next(), Some(""));
        let rows: Vec<Vec<f64>> = lines
            .clone()
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        assert!(rows.len() > 20 && rows.iter().all(|row| row.len() == 4));
        let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!((median[0] - 500.0).abs() < 1.0 && (median[2] - 500.0).abs() <= 1.0, "{median:?}");
        assert!((median[3] - 2.0).abs() < 0.01);
        assert_eq!(rows.last().unwrap()[2], 1000.0);
        assert!(rows.last().unwrap()[3].is_infinite());
        let foot: Vec<&str> = lines.filter(|line| line.starts_with("#[")).collect();
        assert!(foot[0].starts_with("#[Mean    =") && foot[0].contains("StdDeviation"));
        assert!(foot[1].starts_with("#[Max     =") && foot[1].contains("Total count    =         1000]"));
        assert!(foot[2].starts_with("#[Buckets ="));
    }
}
