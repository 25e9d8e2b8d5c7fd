//! Durations as people write them: `90s`, `1m30s`, `500ms`, `2h`.

use std::time::Duration;

/// Units, longest name first, so that `ms` is not read as `m`.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];

/// Reads a duration; a plain number is in seconds.
///
/// # Errors
/// A text for the user, when it is not one, or is longer than a year.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write 60s, 1m30s, 500ms or 2h");
    if let Ok(seconds) = text.parse::<u64>() {
        return bounded(u128::from(seconds) * 1000).ok_or_else(wrong);
    }
    let (mut rest, mut total_ms) = (text, 0u128);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let (unit, ms) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(wrong)?;
        rest = &rest[unit.len()..];
        total_ms += u128::from(number) * u128::from(*ms);
    }
    if text.is_empty() { Err(wrong()) } else { bounded(total_ms).ok_or_else(wrong) }
}

fn bounded(ms: u128) -> Option<Duration> {
    const YEAR_MS: u128 = 365 * 24 * 3_600_000;
    (ms <= YEAR_MS).then(|| Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)))
}

/// The shortest text that is read back as the same duration, to the ms.
pub(super) fn format(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [
            ("60s", 60_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("2h", 7_200_000),
            ("25", 25_000),
            ("1h1m1s1ms", 3_661_001),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
            let duration = Duration::from_millis(ms);
            assert_eq!(parse(&format(duration)), Ok(duration));
        }
        for text in ["", "s", "10x", "1.5s", "-3s", "10s ", "99999999999999999999s", "9999999h", "1s2"] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("is not a duration"), "{error}");
        }
    }
}
