//! The list of runs, and of a folder's files.

use super::scan::{RUNS_MAX, RunSummary};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Deserialize;
use std::{fs, io, path::Path, sync::Arc};

const STYLE: &str = include_str!("store.css");
/// Runs on one page.
const PAGE_RUNS: usize = 200;

/// What of the runs is shown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    /// `valid`, `unknown`, `anomaly`, `none`, or all.
    verdict: String,
    /// Words that must all stand somewhere in what the list says of a run.
    q: String,
    /// From 1.
    page: usize,
}

impl Filter {
    fn takes(&self, run: &RunSummary) -> bool {
        let verdict = run.verdict.map_or("none".to_string(), |verdict| verdict.to_string());
        if !self.verdict.is_empty() && self.verdict != verdict {
            return false;
        }
        let seed = run.seed.map(|seed| format!("seed {seed}")).unwrap_or_default();
        let said = [
            &run.path,
            &run.system,
            &run.cluster,
            &run.sentence,
            &run.started,
            &seed,
            &run.workloads.join(" "),
        ]
        .map(|text| text.to_lowercase())
        .join("\n");
        self.q.to_lowercase().split_whitespace().all(|word| said.contains(word))
    }
}

/// A page of this program.
pub(super) fn frame(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// The list of runs.
pub(super) fn index(runs: &[Arc<RunSummary>], filter: &Filter) -> String {
    let taken: Vec<&Arc<RunSummary>> = runs.iter().filter(|run| filter.takes(run)).collect();
    let first = filter.page.saturating_sub(1).saturating_mul(PAGE_RUNS).min(taken.len());
    let shown = &taken[first..taken.len().min(first + PAGE_RUNS)];
    let body = html! {
        h1 { "Runs" }
        form.filter method="get" action="/" {
            label { "verdict " select name="verdict" {
                @for (value, text) in [("", "any"), ("valid", "valid"), ("unknown", "unknown"), ("anomaly", "anomaly"), ("none", "no results")] {
                    option value=(value) selected[filter.verdict == value] { (text) }
                }
            } }
            label { "with the words " input type="search" name="q" value=(filter.q) placeholder="etcd stale-read kv"; }
            button { "show" }
            span.note { (taken.len()) " of " (runs.len()) " runs" @if runs.len() == RUNS_MAX { " (older ones are not listed)" } }
        }
        @if runs.is_empty() { p { "There are no runs in this folder yet: " code { "assay run" } " makes one." } }
        @else if taken.is_empty() { p { "No run is like that. " a href="/" { "Show all" } } }
        @else {
            form method="get" action="/compare" {
                div.wide { table {
                    thead { tr { th { "compare" } th { "verdict" } th { "started" } th { "run" } th { "system" } th { "workloads" } th.n { "operations" } th.n { "faults" } th.n { "available" } th { "files" } } }
                    tbody { @for run in shown { (row(run)) } }
                } }
                p { button { "compare A with B" } }
            }
            (pages(filter, taken.len()))
        }
    };
    frame("assay: runs", &body)
}

fn row(run: &RunSummary) -> Markup {
    let name = run.verdict.map_or("no results".to_string(), |verdict| verdict.to_string());
    html! {
        tr {
            td.pick {
                @if run.verdict.is_some() {
                    label { input type="radio" name="a" value=(run.path); "A" } " "
                    label { input type="radio" name="b" value=(run.path); "B" }
                }
            }
            td { span class={ "badge " (name.split(' ').next().unwrap_or_default()) } { (mark(&name)) " " (name) } }
            td { (run.started.get(..19).unwrap_or(&run.started).replace('T', " ")) }
            td.why {
                @if run.verdict.is_some() { a href=(href("files", &run.path, "/report.html")) { (run.path) } }
                @else { (run.path) }
                @if name != "valid" { p { (run.sentence) } }
            }
            td { (run.system) @if run.nodes > 0 { ", " (run.nodes) " nodes, " (run.cluster) } }
            td { (run.workloads.join(", ")) }
            td.n { (run.operations) }
            td.n { (run.faults) }
            td.n { @if let Some(share) = run.availability { (format!("{:.2} %", share * 100.0)) } }
            td { a href=(href("files", &run.path, "/")) { "files" } " " a href=(href("download", &run.path, "")) { ".tar.gz" } }
        }
    }
}

fn pages(filter: &Filter, count: usize) -> Markup {
    let link = |page: usize| {
        format!("/?verdict={}&q={}&page={page}", percent(&filter.verdict, false), percent(&filter.q, false))
    };
    let pages = count.div_ceil(PAGE_RUNS);
    html! {
        @if pages > 1 { p.pages { "Page " @for page in 1..=pages {
            @if page == filter.page.max(1) { strong { (page) } " " } @else { a href=(link(page)) { (page) } " " }
        } } }
    }
}

/// What is in a folder.
///
/// # Errors
/// Whatever the file system says.
pub(super) fn folder(path: &str, place: &Path) -> io::Result<String> {
    let mut entries: Vec<(bool, String, u64)> = Vec::new();
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        entries.push((!metadata.is_dir(), entry.file_name().to_string_lossy().into_owned(), metadata.len()));
    }
    entries.sort();
    let up = path.rsplit_once('/').map_or("", |(up, _)| up);
    let body = html! {
        p { a href="/" { "all runs" } }
        h1 { (path) "/" }
        table {
            @if !path.is_empty() { tr { td { a href=(href("files", up, "/")) { ".." } } td {} } }
            @for (is_file, name, bytes) in &entries {
                tr {
                    td { a href=(href("files", &format!("{path}/{name}"), if *is_file { "" } else { "/" })) {
                        (name) @if !is_file { "/" }
                    } }
                    td.n { @if *is_file { (bytes) " bytes" } }
                }
            }
        }
    };
    Ok(frame(&format!("assay: {path}"), &body))
}

/// Tells verdicts apart without colour.
pub(super) fn mark(verdict: &str) -> &'static str {
    match verdict {
        "valid" => "✓",
        "anomaly" => "✗",
        "unknown" => "?",
        _ => "…",
    }
}

/// The address of something in the store.
pub(super) fn href(what: &str, path: &str, rest: &str) -> String {
    let path = percent(path.trim_matches('/'), true);
    format!("/{what}/{path}{}", if path.is_empty() { rest.trim_start_matches('/') } else { rest })
}

/// For an address; slashes stay where `slashes` says so.
fn percent(text: &str, slashes: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (slashes && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Conclusion;

    fn run(path: &str, verdict: Option<Conclusion>, sentence: &str) -> Arc<RunSummary> {
        Arc::new(RunSummary {
            path: path.into(),
            verdict,
            sentence: sentence.into(),
            started: "2026-01-31T09:15:00.125Z".into(),
            duration_s: 1.0,
            system: "etcd 3.5.1".into(),
            cluster: "netns".into(),
            nodes: 3,
            workloads: vec!["kv".into()],
            faults: 2,
            operations: 100,
            availability: Some(0.5),
            seed: Some(7),
        })
    }

    #[test]
    fn filters_leave_what_has_all_the_words() {
        let runs = [
            run("all/1", Some(Conclusion::Valid), ""),
            run("all/2", Some(Conclusion::Anomaly), "stale-read <in> kv"),
            run("all/3", None, "no results"),
        ];
        let shown = |verdict: &str, q: &str| {
            let filter = Filter { verdict: verdict.into(), q: q.into(), page: 0 };
            runs.iter().filter(|run| filter.takes(run)).map(|run| run.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(shown("", ""), ["all/1", "all/2", "all/3"]);
        assert_eq!(shown("anomaly", ""), ["all/2"]);
        assert_eq!(shown("none", ""), ["all/3"]);
        assert_eq!(shown("", "STALE etcd"), ["all/2"]);
        assert_eq!(shown("valid", "stale"), Vec::<String>::new());
        let page = index(&runs, &Filter::default());
        assert!(
            page.contains("stale-read &lt;in&gt; kv") && page.contains("/files/all/2/report.html"),
            "{page}"
        );
    }

    #[test]
    fn addresses_are_encoded() {
        assert_eq!(href("files", "a b/ü?#", "/report.html"), "/files/a%20b/%C3%BC%3F%23/report.html");
        assert_eq!(href("files", "", "/"), "/files/");
    }
}
