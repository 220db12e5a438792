//! The target that comes out is the one that went in.

use http::uri::{Authority, PathAndQuery, Scheme};
use proptest::prelude::*;

use super::*;

fn copied(uri: Uri) -> Uri {
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    HeadSnapshot::of(&request, |_, _| ()).request(CopyAs::Same, ()).unwrap().0.into_parts().0.uri
}

/// More than `==` looks at: that one knows neither the spelling of hosts nor an empty path.
fn spelling(uri: &Uri) -> String {
    format!("{:?} {:?} {:?} {uri}", uri.scheme_str(), uri.authority(), uri.path_and_query())
}

#[test]
fn targets_of_every_form_are_the_same_again() {
    for target in [
        "/",
        "*",
        "/path?query",
        "/path?",
        "//not.a.host/path",
        "/http://not.a.scheme/",
        "/?a=http://b/c",
        "/%7Bescaped%7D?q=%20",
        "/gr\u{fc}n",
        "example.com",
        "example.com:443",
        "*:80",
        "http://example.com",
        "http://example.com?query",
        "HTTP://User:Pass@EXAMPLE.com:80/Path?Query",
        "https://[::1]:8443/path",
        "http://a/*",
        "http://a//b",
        "ws://example.com/socket",
        "custom+scheme://host/path",
    ] {
        let uri = Uri::try_from(target).expect(target);
        assert_eq!(spelling(&copied(uri.clone())), spelling(&uri), "{target}");
        assert_eq!(copied(uri.clone()), uri);
    }
    assert_eq!(copied(Uri::default()), Uri::default());
}

#[test]
fn targets_that_only_their_parts_can_make_are_the_same_again() {
    let long = format!("/{}", "p".repeat(65_500));
    for path in ["*", "?query", &long] {
        let uri = Uri::builder()
            .scheme(Scheme::HTTPS)
            .authority(Authority::try_from("h".repeat(60)).unwrap())
            .path_and_query(PathAndQuery::try_from(path).unwrap())
            .build()
            .unwrap();
        assert_eq!(spelling(&copied(uri.clone())), spelling(&uri));
    }
}

proptest! {
    #[test]
    fn any_target_is_the_same_again(
        start in prop_oneof![Just(""), Just("/"), Just("http://"), Just("https://"), Just("ftp://"), Just("http://h")],
        rest in "[a-zA-Z0-9/?:@*.%\\[\\]{}\"_~ü#&=+-]{0,30}",
    ) {
        if let Ok(uri) = Uri::try_from(format!("{start}{rest}")) {
            prop_assert_eq!(spelling(&copied(uri.clone())), spelling(&uri));
        }
    }
}
