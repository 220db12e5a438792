//! Reading dates (RFC 9110 §5.6.7).

use std::time::Duration;

/// How long after the beginning of 1970 a date is. `None` for what is none, or before that.
pub(crate) fn parse(text: &[u8]) -> Option<Duration> {
    if let Some(seconds) = text.try_into().ok().and_then(imf_fixdate) {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(str::from_utf8(text).ok()?.trim()).ok()?;
    date.duration_since(std::time::UNIX_EPOCH).ok()
}

/// Of the form that all who send dates use now, and of the 1st to the 28th, which each month has: each answer has one, and
/// `httpdate`, which reads the others, takes six times as long.
fn imf_fixdate(text: &[u8; 29]) -> Option<u64> {
    const WEEKDAYS: [&[u8]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    let digit = |at: usize| Some(u64::from(text[at])).filter(|_| text[at].is_ascii_digit()).map(|it| it - 48);
    let two = |at: usize| Some(digit(at)? * 10 + digit(at + 1)?);

    let is_punctuated = text[3..5] == *b", " && text[7] == b' ' && text[11] == b' ' && text[16] == b' ';
    if !is_punctuated || text[19] != b':' || text[22] != b':' || text[25..] != *b" GMT" {
        return None;
    }
    let (day, year, hour, minute, second) = (two(5)?, two(12)? * 100 + two(14)?, two(17)?, two(20)?, two(23)?);
    // A year that begins in March ends with the day that not every year has.
    let month = match text[8..].first_chunk::<3>()? {
        b"Mar" => 0,
        b"Apr" => 1,
        b"May" => 2,
        b"Jun" => 3,
        b"Jul" => 4,
        b"Aug" => 5,
        b"Sep" => 6,
        b"Oct" => 7,
        b"Nov" => 8,
        b"Dec" => 9,
        b"Jan" => 10,
        b"Feb" => 11,
        _ => return None,
    };
    if year < 1971 || !(1..=28).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let year = if month < 10 { year } else { year - 1 };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    (*WEEKDAYS[(days % 7) as usize] == text[..3]).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    /// What `httpdate` makes of it.
    fn expected(text: &str) -> Option<Duration> {
        httpdate::parse_http_date(text.trim()).ok()?.duration_since(UNIX_EPOCH).ok()
    }

    #[test]
    fn each_day_is_read_as_what_it_is() {
        for day in 0..366 * 450 {
            let at = Duration::from_secs(day * 86_400 + day * 7919 % 86_400);
            let text = httpdate::fmt_http_date(UNIX_EPOCH + at);
            assert_eq!(parse(text.as_bytes()), Some(at), "{text}");
            let is_read_here = imf_fixdate(text.as_bytes().try_into().unwrap()).is_some();
            assert_eq!(is_read_here, day >= 365 && text[5..7] <= *"28", "{text}");
        }
    }

    #[test]
    fn all_forms_of_a_date_are_read() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text.as_bytes()), Some(Duration::from_secs(784_111_777)), "{text}");
            assert_eq!(parse(format!(" {text} ").as_bytes()), Some(Duration::from_secs(784_111_777)), "{text}");
        }
        assert_eq!(parse(b"Sun, 06 Nov 1994 08:49:37 GM\xff"), None);
    }

    proptest! {
        #[test]
        fn what_is_no_date_is_none_here_either(seconds in 0..253_402_300_800_u64, at in 0..29_usize, byte in 32..127_u8) {
            let mut text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds)).into_bytes();
            text[at] = byte;
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(parse(text.as_bytes()), expected(&text), "{}", text);
        }
    }
}
