//! What a bench has measured so far, as a page in Prometheus' text format.

use crate::load::Row;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How long a scraper may take to ask, and to take the answer.
const SCRAPE_LIMIT: Duration = Duration::from_secs(2);

/// Serves the page until it is dropped.
#[derive(Debug)]
pub struct BenchMetrics {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    end: AtomicBool,
    sums: Mutex<Sums>,
}

/// What is counted from the start on, and the newest interval.
#[derive(Debug, Default)]
struct Sums {
    ok: BTreeMap<String, u64>,
    failed: BTreeMap<(String, String), u64>,
    disconnects: u64,
    newest: Option<Row>,
}

impl BenchMetrics {
    /// Begins to listen at `address`, `HOST:PORT`; port 0 is any that is free.
    ///
    /// # Errors
    /// The operating system's.
    pub fn serve(address: &str) -> io::Result<BenchMetrics> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared: Arc<Shared> = Arc::default();
        let seen = Arc::clone(&shared);
        let thread = thread::Builder::new().name("metrics".into()).spawn(move || {
            for stream in listener.incoming() {
                if seen.end.load(Ordering::Relaxed) {
                    return;
                }
                // A scraper that goes away harms nobody but itself.
                let _ = stream.and_then(|stream| answer(stream, &seen));
            }
        })?;
        Ok(BenchMetrics { address, shared, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes an interval in.
    pub fn add(&self, row: &Row) {
        let mut sums = self.shared.sums.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, op) in &row.ops {
            *sums.ok.entry(name.clone()).or_default() += op.ok;
            for (kind, count) in &op.errors {
                *sums.failed.entry((name.clone(), kind.clone())).or_default() += count;
            }
        }
        sums.disconnects += row.disconnects;
        sums.newest = Some(row.clone());
    }
}

impl Drop for BenchMetrics {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a scraper.
        let _ = TcpStream::connect_timeout(&self.address, SCRAPE_LIMIT);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Every path has the same page: there is but one.
fn answer(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(SCRAPE_LIMIT))?;
    stream.set_write_timeout(Some(SCRAPE_LIMIT))?;
    // The request's head ends with an empty line; what it says does not matter.
    let (mut head, mut octets) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") && head.len() < 16 << 10 {
        match stream.read(&mut octets)? {
            0 => return Ok(()),
            length => head.extend_from_slice(&octets[..length]),
        }
    }
    let page = page(&shared.sums.lock().unwrap_or_else(PoisonError::into_inner));
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    )
}

fn page(sums: &Sums) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut out, sums);
    out
}

fn write_page(out: &mut String, sums: &Sums) -> std::fmt::Result {
    writeln!(out, "# HELP assay_bench_operations_total Operations that succeeded.")?;
    writeln!(out, "# TYPE assay_bench_operations_total counter")?;
    for (op, count) in &sums.ok {
        writeln!(out, "assay_bench_operations_total{{op=\"{op}\"}} {count}")?;
    }
    writeln!(out, "# HELP assay_bench_failures_total Operations that did not, by what went wrong.")?;
    writeln!(out, "# TYPE assay_bench_failures_total counter")?;
    for ((op, kind), count) in &sums.failed {
        writeln!(out, "assay_bench_failures_total{{op=\"{op}\",kind=\"{kind}\"}} {count}")?;
    }
    writeln!(out, "# HELP assay_bench_disconnects_total Connections that were lost or could not be made.")?;
    writeln!(out, "# TYPE assay_bench_disconnects_total counter")?;
    writeln!(out, "assay_bench_disconnects_total {}", sums.disconnects)?;
    let Some(row) = &sums.newest else { return Ok(()) };
    for (name, what) in [
        ("response", "From due to outcome, in the newest interval."),
        ("service", "From sent to outcome, in the newest interval."),
    ] {
        writeln!(out, "# HELP assay_bench_{name}_seconds {what}")?;
        writeln!(out, "# TYPE assay_bench_{name}_seconds gauge")?;
        for (op, summary) in &row.ops {
            let q = if name == "response" { &summary.response } else { &summary.service };
            for (at, ms) in [("0.5", q.p50_ms), ("0.99", q.p99_ms), ("0.999", q.p999_ms), ("1", q.max_ms)] {
                writeln!(out, "assay_bench_{name}_seconds{{op=\"{op}\",quantile=\"{at}\"}} {}", ms / 1000.0)?;
            }
        }
    }
    for (name, what, value) in [
        ("backlog", "Operations that were due and not sent, at most.", row.backlog_max as f64),
        ("in_flight", "Calls under way, at most.", row.in_flight_max as f64),
        (
            "generator_lag_seconds",
            "How late the generator was, at the 99th percentile.",
            row.lag_p99_ms / 1000.0,
        ),
        ("interval_start_seconds", "When the newest interval began.", row.t_s),
    ] {
        writeln!(out, "# HELP assay_bench_{name} {what}\n# TYPE assay_bench_{name} gauge")?;
        writeln!(out, "assay_bench_{name} {value}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::OpSummary;

    fn scrape(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_scraper_is_told_what_has_been_measured_so_far() {
        let metrics = BenchMetrics::serve("127.0.0.1:0").unwrap();
        assert!(scrape(metrics.address()).starts_with("HTTP/1.1 200 OK\r\n"));
        let mut row = Row { backlog_max: 7, ..Row::default() };
        let op = OpSummary { ok: 5, errors: [("lost".to_owned(), 2)].into(), ..OpSummary::default() };
        row.ops.insert("put".into(), op);
        metrics.add(&row);
        metrics.add(&row);
        let text = scrape(metrics.address());
        for line in [
            "assay_bench_operations_total{op=\"put\"} 10",
            "assay_bench_failures_total{op=\"put\",kind=\"lost\"} 4",
            "assay_bench_backlog 7",
            "assay_bench_response_seconds{op=\"put\",quantile=\"0.99\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in {text}");
        }
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(text.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
