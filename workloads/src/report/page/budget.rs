//! How much of everything goes into a page.

/// Operations that the timeline shows, all workloads together.
pub(super) const OPERATIONS_MAX: usize = 120_000;
/// What they say, bytes of JSON.
pub(super) const TEXTS_BYTES: usize = 2_400_000;
/// A longer text of an operation is cut, characters.
pub(super) const TEXT_CHARS: usize = 100;
/// Lines of all logs together, bytes of JSON.
pub(super) const LOGS_BYTES: usize = 900_000;
/// A longer line is cut, characters.
pub(super) const LOG_LINE_CHARS: usize = 300;
/// Of a node's log, what is shown without a script, bytes.
pub(super) const LOG_TAIL_BYTES: usize = 8 * 1024;
/// Drawings of witnesses together, bytes as they stand in the page; those beyond are linked.
pub(super) const DRAWINGS_BYTES: usize = 1_000_000;
/// Anomalies that are shown in full; the rest is listed.
pub(super) const ANOMALIES_MAX: usize = 20;
/// Of a witness as text, characters.
pub(super) const WITNESS_CHARS: usize = 8_000;
/// Faults in the table and in the timeline.
pub(super) const FAULTS_MAX: usize = 1000;

/// Changes of a node's role in the timeline.
pub(super) const ROLES_MAX: usize = 500;

/// Bytes that a text takes in the page's JSON.
pub(super) fn json_bytes(text: &str) -> usize {
    let more = |byte: u8| match byte {
        b'"' | b'\\' => 1,
        b'<' | 0..=0x1f => 5,
        _ => 0,
    };
    text.len() + 3 + text.bytes().map(more).sum::<usize>()
}

/// `text` cut to so many characters, with a sign of it.
pub(super) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_string(),
    }
}

/// Divides `max` among several that want as much as they say: who wants little gets it, and the others share what is
/// left.
pub(super) fn shares(wanted: &[usize], max: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|index| wanted[*index]);
    let (mut shares, mut left) = (vec![0; wanted.len()], max);
    for (n, index) in order.into_iter().enumerate() {
        shares[index] = wanted[index].min(left / (wanted.len() - n));
        left -= shares[index];
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_little_gets_it_and_the_others_share() {
        assert_eq!(shares(&[10, 100, 20], 200), [10, 100, 20]);
        assert_eq!(shares(&[10, 100, 200], 90), [10, 40, 40]);
        assert_eq!(shares(&[], 90), Vec::<usize>::new());
    }

    #[test]
    fn bytes_are_those_of_the_json() {
        for text in ["plain", "a\"b\\", "ü€", "x<y"] {
            let json = serde_json::to_string(text).unwrap().replace('<', "\\u003c");
            assert_eq!(json_bytes(text), json.len() + 1, "{text}");
        }
    }

    #[test]
    fn a_cut_text_shows_that_it_is_cut() {
        assert_eq!([cut("üüü", 3), cut("üüü", 2)], ["üüü".to_string(), "üü…".to_string()]);
    }
}
