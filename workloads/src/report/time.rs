//! Points in time as text, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-01-31T09:15:00Z`.
pub fn rfc3339(time: SystemTime) -> String {
    let (year, month, day, seconds) = civil(time);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
}

/// `20260131T091500Z`: sorts by time, and is a good name for a folder.
pub fn file_stamp(time: SystemTime) -> String {
    rfc3339(time).replace(['-', ':'], "")
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
        assert_eq!(file_stamp(UNIX_EPOCH + Duration::from_secs(1_700_000_000)), "20231114T221320Z");
    }
}
