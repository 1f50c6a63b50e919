//! Moments as people write them, in UTC. Knows no files.

use std::time::SystemTime;

use time::format_description::FormatItem;
use time::macros::format_description;
use time::{Date, OffsetDateTime, UtcDateTime};

use crate::fault::Fault;

const DAY: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]");
/// Fit for a file name, and in the order of time.
const STAMP: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]-[minute]-[second].[subsecond digits:3]Z");
const SECOND: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const SECONDS_OF_A_DAY: u64 = 86_400;

/// Now, in Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Now, in Unix seconds.
pub(crate) fn now() -> u64 {
    now_ms() / 1_000
}

/// The day of a moment in Unix seconds.
pub(crate) fn day(second: u64) -> String {
    let second = i64::try_from(second).ok();
    let moment = second.and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok());
    moment.and_then(|moment| moment.format(DAY).ok()).unwrap_or_else(|| "?".into())
}

/// A moment in Unix milliseconds, to the second.
pub(crate) fn second(milliseconds: u64) -> String {
    let second = i64::try_from(milliseconds / 1_000).ok();
    let moment = second.and_then(|second| UtcDateTime::from_unix_timestamp(second).ok());
    moment.and_then(|moment| moment.format(SECOND).ok()).unwrap_or_else(|| "?".into())
}

/// Seconds as people write them: `90s`, `10m`, `24h` or `7d`.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "write a time as 90s, 10m, 24h or 7d".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let number = text.strip_suffix(unit).and_then(|number| number.parse::<u32>().ok());
    let length = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => SECONDS_OF_A_DAY,
        _ => return Err(wrong()),
    };
    number.map(|number| u64::from(number).saturating_mul(length)).ok_or_else(wrong)
}

/// A moment in Unix milliseconds, as part of a file name.
pub(crate) fn stamp(milliseconds: u64) -> Result<String, Fault> {
    let unknown = || Fault::new("the clock cannot be read", "set it");
    let nanoseconds = i128::from(milliseconds).saturating_mul(1_000_000);
    let moment = UtcDateTime::from_unix_timestamp_nanos(nanoseconds).ok();
    moment.and_then(|moment| moment.format(STAMP).ok()).ok_or_else(unknown)
}

/// Whole days from a moment in Unix seconds until now.
pub(crate) fn age_in_days(second: u64) -> u64 {
    now().saturating_sub(second) / SECONDS_OF_A_DAY
}

/// The last second of a day that is written as `2027-03-31`.
pub(crate) fn end_of_day(text: &str) -> Result<u64, String> {
    let wrong = || "write a day as 2027-03-31".to_owned();
    let next = Date::parse(text, DAY).ok().and_then(Date::next_day).ok_or_else(wrong)?;
    let start = u64::try_from(next.midnight().assume_utc().unix_timestamp()).ok();
    start.and_then(|start| start.checked_sub(1)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_with_its_last_second() {
        assert_eq!(end_of_day("2027-03-31"), Ok(1_806_537_599));
        assert_eq!(day(1_806_537_599), "2027-03-31");
        assert_eq!(day(1_806_537_600), "2027-04-01");
    }

    #[test]
    fn times_have_a_unit() {
        let times = ["90s", "10m", "24h", "7d"].map(seconds);
        assert_eq!(times, [Ok(90), Ok(600), Ok(86_400), Ok(604_800)]);
        for text in ["", "s", "10", "-1s", "1.5h", "1w", "5000000000s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moment_is_written_to_the_second() {
        assert_eq!(second(1_806_537_599_999), "2027-03-31T23:59:59Z");
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in ["2027-02-29", "31.3.2027", "", "1969-12-30"] {
            assert!(end_of_day(text).is_err(), "{text}");
        }
    }
}
