//! Dates to Unix time. Knows the Gregorian calendar and offsets from UTC, no time zones.

use toml::value::{Date, Datetime, Offset, Time};

/// The last moment that can be written down: the last millisecond of the year 9999.
const LAST_MS: i64 = 253_402_300_799_999;

/// What a moment is counted in since 1970.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Milliseconds,
    Seconds,
}

/// Why what is written is no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoMoment {
    /// It is neither a day nor a moment with its offset.
    Shape,
    /// It is not in the years from 1970 to 9999.
    Range,
}

impl Unit {
    /// `number` of this unit, which is a moment in the years from 1970 to 9999.
    pub(super) fn number(self, number: i64) -> Result<u64, NoMoment> {
        let last = match self {
            Self::Milliseconds => LAST_MS,
            Self::Seconds => LAST_MS / 1_000,
        };
        let within = (0..=last).contains(&number).then_some(number);
        within.and_then(|number| u64::try_from(number).ok()).ok_or(NoMoment::Range)
    }

    /// A moment with its offset, or the last one of a whole day in UTC, cut to this unit.
    pub(super) fn date_time(self, written: &Datetime) -> Result<u64, NoMoment> {
        let milliseconds = match *written {
            Datetime { date: Some(date), time: None, offset: None } => last_of_day(date),
            Datetime { date: Some(date), time: Some(time), offset: Some(offset) } => {
                at(date, time, offset)
            }
            _ => return Err(NoMoment::Shape),
        };
        let milliseconds = Self::Milliseconds.number(milliseconds)?;
        Ok(match self {
            Self::Milliseconds => milliseconds,
            Self::Seconds => milliseconds / 1_000,
        })
    }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

#[expect(clippy::arithmetic_side_effects, reason = "a year has at most five digits")]
fn last_of_day(date: Date) -> i64 {
    (days_from_civil(date) + 1) * DAY_MS - 1
}

#[expect(clippy::arithmetic_side_effects, reason = "a year has at most five digits")]
fn at(date: Date, time: Time, offset: Offset) -> i64 {
    let east = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let minutes = i64::from(time.hour) * 60 + i64::from(time.minute) - east;
    // a leap second counts as the first second of the next day
    let seconds = minutes * 60 + i64::from(time.second.unwrap_or_default());
    let fraction = i64::from(time.nanosecond.unwrap_or_default() / 1_000_000);
    days_from_civil(date) * DAY_MS + seconds * 1_000 + fraction
}

/// Days from 1970-01-01 to `date`, which exists in the proleptic Gregorian calendar.
// `days_from_civil` of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"
#[expect(clippy::arithmetic_side_effects, reason = "a year has at most five digits")]
fn days_from_civil(date: Date) -> i64 {
    let (month, day) = (i64::from(date.month), i64::from(date.day));
    // a year begins in March, so that the leap day is its last
    let year = i64::from(date.year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    const fn is_leap(year: u16) -> bool {
        year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
    }

    const fn days_in(year: u16, month: u8) -> u8 {
        match month {
            2 if is_leap(year) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn of(unit: Unit, text: &str) -> Result<u64, NoMoment> {
        unit.date_time(&text.parse().unwrap())
    }

    #[test]
    fn days_follow_one_another_from_the_year_0_to_9999() {
        let mut expected = -719_528;
        for year in 0..=9999 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    assert_eq!(days_from_civil(Date { year, month, day }), expected);
                    expected += 1;
                }
            }
        }
        assert_eq!(days_from_civil(Date { year: 1970, month: 1, day: 1 }), 0);
        assert_eq!(expected, LAST_MS / DAY_MS + 1);
    }

    // the numbers of `date --utc --date=… +%s`
    #[test]
    fn known_moments_have_their_numbers() {
        for (text, milliseconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01", 86_399_999),
            ("2000-02-29T12:30:15Z", 951_827_415_000),
            ("2027-03-31T23:59:59Z", 1_806_537_599_000),
            ("2027-03-31 23:59:59.9999Z", 1_806_537_599_999),
            ("2027-03-31", 1_806_537_599_999),
            ("2027-04-01T01:29:59+01:30", 1_806_537_599_000),
            ("2027-03-31T15:59:59-08:00", 1_806_537_599_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("1969-12-31T23:00:00-01:00", 0),
            ("9999-12-31", 253_402_300_799_999),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ] {
            assert_eq!(of(Unit::Milliseconds, text), Ok(milliseconds), "{text}");
            assert_eq!(of(Unit::Seconds, text), Ok(milliseconds / 1_000), "{text}");
        }
    }

    #[test]
    fn moments_outside_1970_to_9999_are_refused() {
        for text in [
            "1969-12-31",
            "1969-12-31T23:59:59.999Z",
            "1970-01-01T00:59:59+01:00",
            "0000-01-01",
            "9999-12-31T23:59:60Z",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(of(Unit::Milliseconds, text), Err(NoMoment::Range), "{text}");
            assert_eq!(of(Unit::Seconds, text), Err(NoMoment::Range), "{text}");
        }
        for (unit, last) in [(Unit::Milliseconds, LAST_MS), (Unit::Seconds, LAST_MS / 1_000)] {
            assert_eq!(unit.number(0), Ok(0));
            assert_eq!(unit.number(last).ok(), u64::try_from(last).ok());
            for number in [-1, i64::MIN, last + 1, i64::MAX] {
                assert_eq!(unit.number(number), Err(NoMoment::Range), "{number}");
            }
        }
    }

    #[test]
    fn a_time_without_a_place_on_the_line_is_no_moment() {
        for text in ["2027-03-31T23:59:59", "23:59:59"] {
            assert_eq!(of(Unit::Milliseconds, text), Err(NoMoment::Shape), "{text}");
        }
    }

    #[test]
    fn the_parser_takes_dates_that_exist_alone() {
        for year in [1970, 2000, 2027, 2028, 2100] {
            for month in 0..=13 {
                for day in 0..=32 {
                    let text = format!("{year}-{month:02}-{day:02}");
                    let exists =
                        (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
                    assert_eq!(text.parse::<Datetime>().is_ok(), exists, "{text}");
                }
            }
        }
    }
}
