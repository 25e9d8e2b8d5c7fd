//! Points in time as text, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-01-31T09:15:00Z`.
pub fn rfc3339(time: SystemTime) -> String {
    format!("{}Z", to_the_second(time))
}

/// `2026-01-31T09:15:00.125Z`.
pub fn rfc3339_ms(time: SystemTime) -> String {
    let ms = time.duration_since(UNIX_EPOCH).map_or(0, |duration| duration.subsec_millis());
    format!("{}.{ms:03}Z", to_the_second(time))
}

fn to_the_second(time: SystemTime) -> String {
    let (year, month, day, seconds) = civil(time);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}")
}

/// `20260131T091500Z`: sorts by time, and is a good name for a folder.
pub fn file_stamp(time: SystemTime) -> String {
    rfc3339(time).replace(['-', ':'], "")
}

/// Seconds since 1970 of a time as logs and results have it: `2026-01-31T09:15:00.125Z`, with any number of
/// decimals, or with an offset such as `+01:00` for the `Z`. `None` for anything else.
pub(super) fn parse(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u64> { text.get(from..to)?.parse().ok() };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, letter)| bytes.get(*at) != Some(letter)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let rest = text.get(19..)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let decimals = if end > 1 { format!("0{}", &rest[..end]).parse::<f64>().ok()? } else { 0.0 };
    // The inverse of `civil`. Source: Hinnant, as there, days_from_civil.
    let march_year = year - u64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = march_year % 400 * 365 + march_year % 400 / 4 - march_year % 400 / 100 + day_of_year;
    let days = march_year / 400 * 146_097 + day_of_era - 719_468;
    let seconds = days * 86_400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    #[expect(clippy::cast_precision_loss, reason = "seconds until the year 10000")]
    let seconds = seconds as f64;
    Some(seconds + decimals - offset_s(&rest[end..])?)
}

/// Seconds east of UTC: of `Z`, `+0100`, `-01:30`.
fn offset_s(text: &str) -> Option<f64> {
    let sign = match text.as_bytes().first()? {
        b'Z' => return (text.len() == 1).then_some(0.0),
        b'+' => 1.0,
        b'-' => -1.0,
        _ => return None,
    };
    let digits: String = text[1..].chars().filter(|c| *c != ':').collect();
    let (hours, minutes): (u32, u32) = (digits.get(..2)?.parse().ok()?, digits.get(2..4)?.parse().ok()?);
    (digits.len() == 4).then(|| sign * f64::from(hours * 3600 + minutes * 60))
}

/// Year, month, day, and seconds of the day. Times before 1970 count as its beginning.
fn civil(time: SystemTime) -> (u64, u64, u64, u64) {
    let since = time.duration_since(UNIX_EPOCH).map_or(0, |duration| duration.as_secs());
    let (days, seconds) = (since / 86_400, since % 86_400);
    // Counting years from March puts the leap day last. Source: Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms", civil_from_days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn seconds_become_dates() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), want);
        }
        let late = UNIX_EPOCH + Duration::from_millis(1_700_000_000_007);
        assert_eq!(rfc3339_ms(late), "2023-11-14T22:13:20.007Z");
        assert_eq!(file_stamp(UNIX_EPOCH + Duration::from_secs(1_700_000_000)), "20231114T221320Z");
    }

    #[test]
    fn times_in_logs_are_read() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0.0)),
            ("2023-11-14T22:13:20.250Z", Some(1_700_000_000.25)),
            ("2023-11-14T23:13:20.250000+01:00", Some(1_700_000_000.25)),
            ("2023-11-14T22:13:20.25+0000", Some(1_700_000_000.25)),
            ("2000-02-29T00:00:00Z", Some(951_782_400.0)),
            ("2023-11-14 22:13:20Z", None),
            ("2023-11-14T22:13:20", None),
            ("2023-13-14T22:13:20Z", None),
            ("2023-11-14T22:13:20.\u{e9}Z", None),
            ("2023-11-14T22:13:2\u{e9}Z", None),
            ("", None),
            ("\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}\u{20ac}", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }
}
