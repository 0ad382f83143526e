//! Time stamps.
//!
//! Owns: RFC 3339 in UTC with milliseconds. Never: a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MILLIS_A_DAY: u64 = 24 * 60 * 60 * 1000;
/// The last millisecond that four digits of a year can name.
const LAST: u64 = 253_402_300_799_999;

/// Formats `moment` as `2026-11-24T10:09:13.042Z`. Times before 1970 or after the year 9999 become the nearest end of
/// that range, so that every text has the same length.
pub fn rfc3339(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(LAST).min(LAST);
    let (days, in_day) = (millis / MILLIS_A_DAY, millis % MILLIS_A_DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60);
    // Each answer about a server has four; `format!` would take a fifth of its time.
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let fields = [(0..4, year), (5..7, month), (8..10, day), (11..13, hour), (14..16, minute), (17..19, second)];
    for (place, mut value) in fields.into_iter().chain([(20..23, in_day % 1000)]) {
        for digit in text[place].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    str::from_utf8(&text).unwrap_or_default().to_owned()
}

/// The moment that [`rfc3339`] wrote as `text`; `None` for any other form.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    if bytes.len() != 24 || separators.iter().any(|&(place, separator)| bytes[place] != separator) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        bytes[range].iter().try_fold(0, |number: u64, digit| {
            Some(number * 10 + u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?))
        })
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The inverse of `date`: years are counted from March.
    let (year_from_march, month_from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let in_year = (153 * month_from_march + 2) / 5 + day - 1;
    let days = 365 * year_from_march + year_from_march / 4 - year_from_march / 100 + year_from_march / 400 + in_year;
    let in_day = ((number(11..13)? * 60 + number(14..16)?) * 60 + number(17..19)?) * 1000 + number(20..23)?;
    let days = days.checked_sub(719_468)?;
    Some(UNIX_EPOCH + Duration::from_millis(days * MILLIS_A_DAY + in_day))
}

/// How long before `now` the moment was that [`rfc3339`] wrote as `text`, by clocks that may have been set: only to be
/// shown.
pub fn age(text: &str, now: SystemTime) -> Option<Duration> {
    parse_rfc3339(text).map(|moment| now.duration_since(moment).unwrap_or_default())
}

/// The time from the epoch to `moment`; zero for one before it.
pub fn since_epoch(moment: SystemTime) -> Duration {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Year, month and day of the Gregorian calendar, `days` days after 1970-01-01. Years are counted from March, so that
/// the leap day is a year's last one; 400 of them have 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    let since_march_0000 = days + 719_468;
    let (era, in_era) = (since_march_0000 / 146_097, since_march_0000 % 146_097);
    let year_of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        for day in 0..=LAST / MILLIS_A_DAY {
            let moment = UNIX_EPOCH + Duration::from_millis(day * MILLIS_A_DAY + day % MILLIS_A_DAY);
            assert_eq!(parse_rfc3339(&rfc3339(moment)), Some(moment));
        }
        for text in [
            "",
            "2026-11-24T10:09:13.042",
            "2026-11-24 10:09:13.042Z",
            "2026-13-24T10:09:13.042Z",
            "é026-11-24T10:09:13.04Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    fn at(millis: u64) -> String {
        rfc3339(UNIX_EPOCH + Duration::from_millis(millis))
    }

    #[test]
    fn known_moments() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (LAST, "9999-12-31T23:59:59.999Z"),
            (LAST + 1, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(at(millis), text);
        }
    }

    #[test]
    fn each_day_of_four_centuries_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(date(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (month, day) if day == length => (year, month + 1, 1),
                (month, day) => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn a_clock_before_1970_is_no_reason_to_fail() {
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), at(0));
    }
}
