//! Reading dates (RFC 9110 §5.6.7).

#![expect(clippy::disallowed_types, reason = "HTTP dates are wall-clock time")]

use std::time::{Duration, SystemTime};

/// Reads an HTTP date, in any of its three forms. Returns `None` for text that is no date.
///
/// It is as lenient as RFC 9110 §5.6.7 and RFC 9111 §4.2 ask:
///
/// - Case doesn't matter, nor does a weekday that isn't the date's.
/// - A leap second (`23:59:60`) is the first second of the next day.
/// - A date before 1970 is the beginning of 1970: it is long past in any case.
/// - A year of two digits is at most 50 years ahead.
#[must_use]
pub fn http_date(text: &[u8]) -> Option<SystemTime> {
    let text = str::from_utf8(text).ok()?.trim_ascii();
    // The form and the spelling that nearly all dates have.
    if text.len() == FIXDATE.len()
        && let Ok(date) = httpdate::parse_http_date(text)
    {
        return Some(date);
    }
    in_any_spelling(text, SystemTime::now())
}

const FIXDATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LONGEST: &str = "Wednesday, 09-Nov-94 08:49:37 GMT";

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// A mean Gregorian year, in seconds.
const YEAR: u64 = 31_556_952;

fn in_any_spelling(text: &str, now: SystemTime) -> Option<SystemTime> {
    if text.len() > LONGEST.len() || !text.is_ascii() {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let (weekday, rest) = text.split_once(' ')?;
    let rest: Vec<_> = rest.split(' ').collect();
    let is_short = |day: &str| WEEKDAYS.iter().any(|known| known[..3] == *day);
    match (weekday.strip_suffix(','), &rest[..]) {
        (Some(weekday), [day, month, year, time, "gmt"]) if is_short(weekday) => {
            at(day, month, four_digits(year)?, time)
        }
        (Some(weekday), [date, time, "gmt"]) if WEEKDAYS.contains(&weekday) => {
            let [day, month, year] = date.split('-').collect::<Vec<_>>()[..] else { return None };
            let year: u64 = Some(year).filter(|year| year.len() == 2 && is_number(year))?.parse().ok()?;
            let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            let latest = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.saturating_add(50 * YEAR));
            let century = (1970 + seconds / YEAR) / 100 * 100;
            let all = [century + 100, century, century - 100];
            all.iter().find_map(|century| at(day, month, century + year, time).filter(|date| *date <= latest))
        }
        (None, [month, "", day, time, year]) if is_short(weekday) && day.len() == 1 => {
            at(&format!("0{day}"), month, four_digits(year)?, time)
        }
        (None, [month, day, time, year]) if is_short(weekday) => at(day, month, four_digits(year)?, time),
        _ => None,
    }
}

fn four_digits(year: &str) -> Option<u64> {
    Some(year).filter(|year| year.len() == 4 && is_number(year))?.parse().ok()
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The moment, whichever weekday it is.
fn at(day: &str, month: &str, year: u64, time: &str) -> Option<SystemTime> {
    let is_leap = time == "23:59:60";
    let time = if is_leap { "23:59:59" } else { time };
    // `httpdate` knows no year before 1970. The calendar repeats itself every 400 years.
    let is_early = year < 1970;
    let year = if is_early { year + 2000 } else { year };
    let (first, others) = month.split_at_checked(1)?;
    let month = first.to_ascii_uppercase() + others;
    let date = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"].iter().find_map(|weekday| {
        httpdate::parse_http_date(&format!("{weekday}, {day} {month} {year:04} {time} GMT")).ok()
    })?;
    Some(if is_early { SystemTime::UNIX_EPOCH } else { date + Duration::from_secs(is_leap.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In seconds since 1970.
    fn read(text: &str) -> Option<u64> {
        let seconds = |date: SystemTime| date.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        http_date(text.as_bytes()).map(seconds)
    }

    /// As of noon of 29 Nov 2026.
    fn read_in_2026(text: &str) -> Option<String> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_953_600);
        in_any_spelling(text, now).map(httpdate::fmt_http_date)
    }

    #[test]
    fn all_forms_of_a_date_are_read_in_any_case_and_on_any_weekday() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "sun, 06 nov 1994 08:49:37 gmt",
            "SUNDAY, 06-NOV-94 08:49:37 GMT",
            "sun NOV  6 08:49:37 1994",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Saturday, 06-Nov-94 08:49:37 GMT",
            "Mon Nov  6 08:49:37 1994",
        ] {
            assert_eq!(read(text), Some(784_111_777), "{text}");
            assert_eq!(read(&format!(" {text}\t")), Some(784_111_777), "{text}");
        }
        assert_eq!(read("Wed Nov 16 08:49:37 1994"), Some(784_111_777 + 10 * 86_400));
    }

    #[test]
    fn what_is_no_date_is_not_read() {
        for text in [
            "",
            "0",
            "Sun",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06 Nov +199 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sun Nov  16 08:49:37 1994",
            "Sun Nov 6 08:49:37 1994",
            "Someday, 06-Nov-94 08:49:37 GMT",
            "Xyz, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nox 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:37 GM\u{e9}",
            "S\u{fc}n, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(http_date(b"Sun, 06 Nov 1994 08:49:37 GM\xff"), None);
        assert_eq!(read(&"Sun, ".repeat(1 << 20)), None);
    }

    #[test]
    fn a_leap_second_is_the_first_of_the_next_day() {
        let next = read("Sun, 01 Jan 2017 00:00:00 GMT");
        assert!(next.is_some());
        for text in ["Sat, 31 Dec 2016 23:59:60 GMT", "Saturday, 31-Dec-16 23:59:60 GMT", "Sat Dec 31 23:59:60 2016"] {
            assert_eq!(read(text), next, "{text}");
        }
    }

    #[test]
    fn a_date_before_1970_is_long_past() {
        for text in ["Wed, 31 Dec 1969 23:59:59 GMT", "Thu, 01 Jan 1600 00:00:00 GMT", "Sat, 29 Feb 0000 00:00:00 GMT"]
        {
            assert_eq!(read(text), Some(0), "{text}");
        }
        assert_eq!(read("Wed, 29 Feb 1900 00:00:00 GMT"), None, "that year had none");
        assert_eq!(read("Wed Dec 31 23:59:59 1969"), Some(0));
    }

    #[test]
    fn a_year_of_two_digits_is_at_most_50_years_ahead() {
        for (written, expected) in [
            ("Sunday, 29-Nov-26 12:00:00 GMT", "Sun, 29 Nov 2026 12:00:00 GMT"),
            ("Friday, 01-Jan-70 00:00:00 GMT", "Wed, 01 Jan 2070 00:00:00 GMT"),
            ("Saturday, 28-Nov-76 12:00:00 GMT", "Sat, 28 Nov 2076 12:00:00 GMT"),
            ("Wednesday, 01-Dec-76 12:00:00 GMT", "Wed, 01 Dec 1976 12:00:00 GMT"),
            ("Saturday, 01-Jan-77 00:00:00 GMT", "Sat, 01 Jan 1977 00:00:00 GMT"),
            ("Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("Tuesday, 29-Feb-00 00:00:00 GMT", "Tue, 29 Feb 2000 00:00:00 GMT"),
        ] {
            assert_eq!(read_in_2026(written).as_deref(), Some(expected), "{written}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(text in "\\PC{0,40}", at in 0..40_usize, bytes: Vec<u8>) {
            let _ = http_date(&bytes);
            let _ = http_date(text.as_bytes());
            // Nearly a date.
            let mut nearly = FIXDATE.to_owned();
            if nearly.is_char_boundary(at.min(FIXDATE.len())) {
                nearly.insert_str(at.min(FIXDATE.len()), &text);
            }
            let _ = http_date(nearly.as_bytes());
        }

        #[test]
        fn every_date_is_read_as_it_is_written(seconds in 0..253_402_300_800_u64) {
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let text = httpdate::fmt_http_date(date);
            proptest::prop_assert_eq!(in_any_spelling(&text.to_ascii_uppercase(), SystemTime::now()), Some(date));
            proptest::prop_assert_eq!(http_date(text.as_bytes()), Some(date));
        }
    }
}
