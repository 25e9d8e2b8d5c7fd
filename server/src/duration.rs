//! Durations as Go programs write them: numbers with units, such as `1h30m`, `1.5s` or `100ms`.

use std::time::Duration;

/// Units in nanoseconds, those whose name is the beginning of another's name behind it.
const UNITS: [(&str, f64); 6] =
    [("h", 3.6e12), ("ms", 1e6), ("m", 6e10), ("s", 1e9), ("us", 1e3), ("ns", 1.0)];

/// Reads a duration, which must not be negative.
///
/// # Errors
/// Says what is expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is not a duration: write a number with a unit, such as 10m or 500ms");
    let mut nanoseconds = 0.0;
    let mut rest = text;
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(expected)?;
        let number: f64 = rest[..digits].parse().map_err(|_| expected())?;
        rest = &rest[digits..];
        let (unit, factor) =
            UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(expected)?;
        rest = &rest[unit.len()..];
        nanoseconds += number * factor;
    }
    if text.is_empty() || nanoseconds >= u64::MAX as f64 {
        return Err(expected());
    }
    Ok(Duration::from_nanos(nanoseconds.round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_does() {
        for (text, ms) in
            [("0", 0), ("10m", 600_000), ("500ms", 500), ("1h30m", 5_400_000), ("1.5s", 1500), ("2000us", 2)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "5x", "-5s", "1..5s", "10 m", "99999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
