//! How much of everything goes into a page.

/// Operations that the timeline shows, all workloads together.
pub(super) const OPERATIONS_MAX: usize = 150_000;
/// What they say, bytes.
pub(super) const TEXTS_BYTES: usize = 3_500_000;
/// A longer text of an operation is cut, characters.
pub(super) const TEXT_CHARS: usize = 100;
/// Lines of all logs together, bytes.
pub(super) const LOGS_BYTES: usize = 1_000_000;
/// A longer line is cut, characters.
pub(super) const LOG_LINE_CHARS: usize = 300;
/// Of a node's log, what is shown without a script, bytes.
pub(super) const LOG_TAIL_BYTES: usize = 8 * 1024;
/// Drawings of witnesses together, bytes as they stand in the page; those beyond are linked.
pub(super) const DRAWINGS_BYTES: usize = 1_500_000;
/// Anomalies that are shown in full; the rest is listed.
pub(super) const ANOMALIES_MAX: usize = 30;
/// Of a witness as text, characters.
pub(super) const WITNESS_CHARS: usize = 20_000;
/// Faults in the table and in the timeline.
pub(super) const FAULTS_MAX: usize = 2000;

/// `text` cut to so many characters, with a sign of it.
pub(super) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_string(),
    }
}
