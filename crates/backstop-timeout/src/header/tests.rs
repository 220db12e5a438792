//! Every form of every header, and that what is written is never more than what was to be told.

use http::header::HeaderValue;
use proptest::prelude::*;

use super::*;

const MS: DeadlineHeader = DeadlineHeader::EnvoyExpectedRqTimeoutMs;
const GRPC: DeadlineHeader = DeadlineHeader::GrpcTimeout;

fn headers(header: &DeadlineHeader, values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (header.name().clone(), HeaderValue::from_str(value).unwrap())).collect()
}

#[test]
fn a_grpc_timeout_is_one_to_eight_digits_and_a_unit() {
    let hour = Duration::from_secs(3600);
    for (value, expected) in [
        ("0n", Duration::ZERO),
        ("1n", Duration::from_nanos(1)),
        ("250u", Duration::from_micros(250)),
        ("100m", Duration::from_millis(100)),
        ("00000100m", Duration::from_millis(100)),
        ("5S", Duration::from_secs(5)),
        ("3M", Duration::from_secs(180)),
        ("2H", 2 * hour),
        ("99999999n", Duration::from_nanos(99_999_999)),
        ("99999999H", 99_999_999 * hour),
    ] {
        assert_eq!(GRPC.read(&headers(&GRPC, &[value])), Ok(Some(expected)), "{value}");
    }
    for bad in [
        "",
        "m",
        "1",
        "1s",
        "1h",
        "1ms",
        "1 m",
        " 1m",
        "1m ",
        "-1m",
        "+1m",
        "1.5S",
        "1e3m",
        "0x1m",
        "123456789n",
        "000000001S",
        "1m,2m",
        "1m, 1m",
        "soon",
        "∞",
        "１m",
    ] {
        let headers = HeaderMap::from_iter([(GRPC.name().clone(), HeaderValue::from_bytes(bad.as_bytes()).unwrap())]);
        assert_eq!(GRPC.read(&headers), Err(Unreadable::Malformed), "{bad:?}");
    }
}

#[test]
fn milliseconds_are_digits_alone() {
    let custom = DeadlineHeader::Milliseconds(HeaderName::from_static("connect-timeout-ms"));
    for header in [&MS, &custom] {
        for (value, expected) in [("1", 1), ("0250", 250), ("15000", 15_000), ("18446744073709551615", u64::MAX)] {
            assert_eq!(header.read(&headers(header, &[value])), Ok(Some(Duration::from_millis(expected))), "{value}");
        }
        let too_long = "0".repeat(21);
        for bad in ["", "-1", "+1", "1.0", "1ms", " 1", "1 ", "1,1", "18446744073709551616", "infinity", &too_long] {
            assert_eq!(header.read(&headers(header, &[bad])), Err(Unreadable::Malformed), "{bad:?}");
        }
    }
}

#[test]
fn zero_is_no_time_but_for_envoy_no_limit() {
    let custom = DeadlineHeader::Milliseconds(HeaderName::from_static("connect-timeout-ms"));
    assert_eq!(custom.read(&headers(&custom, &["0"])), Ok(Some(Duration::ZERO)));
    assert_eq!(GRPC.read(&headers(&GRPC, &["0n"])), Ok(Some(Duration::ZERO)));
    assert_eq!(MS.read(&headers(&MS, &["0"])), Ok(None));
    assert_eq!(MS.read(&headers(&MS, &["0", "0"])), Ok(None));
    assert_eq!(MS.read(&headers(&MS, &["0", "1"])), Err(Unreadable::Contradictory));
}

#[test]
fn a_header_that_comes_twice_must_say_the_same_twice() {
    assert_eq!(MS.read(&HeaderMap::new()), Ok(None));
    assert_eq!(MS.read(&headers(&MS, &["250", "250"])), Ok(Some(Duration::from_millis(250))));
    assert_eq!(MS.read(&headers(&MS, &["250", "251"])), Err(Unreadable::Contradictory));
    assert_eq!(MS.read(&headers(&MS, &["250", "x"])), Err(Unreadable::Contradictory));
    assert_eq!(GRPC.read(&headers(&GRPC, &["1S", "1S", "2S"])), Err(Unreadable::Contradictory));
}

#[test]
fn it_is_written_in_the_finest_unit_that_has_room_and_rounded_down() {
    let hour = Duration::from_secs(3600);
    for (left, expected) in [
        (Duration::from_nanos(1), "1n"),
        (Duration::from_nanos(99_999_999), "99999999n"),
        (Duration::from_millis(100), "100000u"),
        (Duration::from_nanos(100_000_999), "100000u"),
        (Duration::from_secs(99), "99000000u"),
        (Duration::from_secs(100), "100000m"),
        (Duration::from_secs(99_999), "99999000m"),
        (Duration::from_secs(100_000), "100000S"),
        (Duration::from_secs(100_000_000), "1666666M"),
        (100_000_000 * hour, "99999999H"),
        (Duration::MAX, "99999999H"),
    ] {
        assert_eq!(GRPC.write(left).unwrap().1, expected, "{left:?}");
    }
    for (left, expected) in
        [(Duration::from_millis(1), "1"), (Duration::from_micros(1_999), "1"), (Duration::MAX, "18446744073709551615")]
    {
        assert_eq!(MS.write(left).unwrap().1, expected, "{left:?}");
    }
}

#[test]
fn no_time_at_all_is_not_written() {
    assert_eq!(GRPC.write(Duration::ZERO), None);
    assert_eq!(MS.write(Duration::from_micros(999)), None, "for Envoy 0 means no limit");
}

/// Of every magnitude, from nothing to hundreds of years.
fn any_time() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0_u32..64).prop_map(|(nanos, shift)| Duration::from_nanos(nanos >> shift))
}

proptest! {
    #[test]
    fn what_is_read_again_is_what_was_told_and_never_longer_than_what_was_left(left in any_time()) {
        for header in [GRPC, MS] {
            let Some((told, value)) = header.write(left) else {
                prop_assert!(left < Duration::from_millis(1));
                continue;
            };
            prop_assert_eq!(header.read(&HeaderMap::from_iter([(header.name().clone(), value)])), Ok(Some(told)));
            prop_assert!(told <= left);
            // Rounding takes away less than a millisecond, or less than a hundred-thousandth.
            let lost = left - told;
            prop_assert!(lost < Duration::from_millis(1) || lost < left / 99_999, "{lost:?} of {left:?}");
        }
    }

    #[test]
    fn whatever_comes_in_is_no_panic(value in prop::collection::vec(any::<u8>(), 0..30)) {
        for header in [GRPC, MS] {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                _ = header.read(&HeaderMap::from_iter([(header.name().clone(), value)]));
            }
        }
    }
}
