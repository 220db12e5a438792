use super::*;

fn base(text: &str) -> BaseUrl {
    text.parse().unwrap()
}

#[test]
fn paths_hang_below_the_base_url() {
    assert_eq!(base("http://ml:8080").at(&["v1", "popular"]), "http://ml:8080/v1/popular");
    assert_eq!(base("http://ml/prefix/").at(&["v1", "a/b?c"]), "http://ml/prefix/v1/a%2Fb%3Fc");
}

#[test]
fn a_base_url_is_shown_as_it_was_typed() {
    assert_eq!(base("http://127.0.0.1:8080").to_string(), "http://127.0.0.1:8080");
}

#[test]
fn a_base_url_that_cannot_work_is_refused_with_the_reason() {
    for (text, reason) in [
        ("nonsense", "not a URL"),
        ("", "not a URL"),
        ("localhost:8080", "only http://"),
        ("https://ml", "only http://"),
        ("http://", "not a URL"),
        ("http://user@ml", "credentials"),
        ("http://ml/?q", "end with its path"),
        ("http://ml:0", "port 0"),
    ] {
        let error = text.parse::<BaseUrl>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn only_the_whole_token_matches() {
    let token: AdminToken = "s3cret".parse().unwrap();
    assert!(token.matches(b"s3cret"));
    for wrong in [&b""[..], b"s3cre", b"s3crets", b"S3cret", b"s3crets3cret"] {
        assert!(!token.matches(wrong), "{wrong:?}");
    }
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    for text in ["", "=", "two words", "ümlaut", "line\nbreak"] {
        assert!(text.parse::<AdminToken>().is_err(), "{text:?}");
    }
}

#[test]
fn a_token_is_not_shown() {
    let token: AdminToken = "s3cret".parse().unwrap();
    assert!(!format!("{token:?}").contains("s3cret"));
}

#[test]
fn a_wait_has_a_unit_and_bounds() {
    assert_eq!(wait("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(wait("5s"), Ok(Duration::from_secs(5)));
    assert_eq!(wait("60m"), Ok(Duration::from_secs(3600)));
    for text in ["", "5", "s", "0s", "-1s", "1.5s", "61m", "5h", "99999999999999999999s"] {
        assert!(wait(text).is_err(), "{text:?}");
    }
}
