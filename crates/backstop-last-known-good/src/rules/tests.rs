use axum::body::Body;
use http::{HeaderMap, HeaderName, Response};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::*;
use crate::{credentials, exchange::flatten, vary::SelectingFields};

/// Up to which age an answer may be served, or why it isn't stored.
type Until = Result<u32, &'static str>;
type Fields = &'static [(&'static str, &'static str)];

const NOW: Timestamp = Timestamp(784_123_200_000);
const ARRIVAL: Arrival = Arrival { at: NOW, date: NOW };
const DAY: u32 = 24 * 60 * 60;
/// Never too old but for `max_stale`.
const ALWAYS: u32 = DAY;

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| -> (HeaderName, HeaderValue) {
        (name.parse().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    fields.iter().map(field).collect()
}

fn asked(sharing: Sharing, request: &[(&str, &str)]) -> RequestPolicy {
    let mut get = Request::new(Body::empty());
    *get.headers_mut() = headers(request);
    RequestPolicy::of(&mut get, sharing, || NOW)
}

fn verdict(sharing: Sharing, request: &[(&str, &str)], status: u16, response: &[(&str, &str)]) -> Decision {
    let status = StatusCode::from_u16(status).unwrap();
    let fields = flatten(&headers(request)).unwrap();
    let has_credentials = || credentials::any(&fields, &[HeaderName::from_static("x-shop-customer")]);
    decide(
        &asked(sharing, request),
        status,
        &IndexedHeaders::new(&headers(response)),
        Quality::Good,
        has_credentials,
        || ARRIVAL,
        DAY,
    )
}

fn until(sharing: Sharing, request: &[(&str, &str)], response: &[(&str, &str)]) -> Until {
    match verdict(sharing, request, 200, response) {
        Decision::Store(lifetime, _) => Ok(lifetime.serve_until),
        Decision::Remove(reason, _) | Decision::Ignore(reason) => Err(reason),
    }
}

#[test]
fn what_may_be_stored_and_up_to_which_age_it_may_be_served() {
    let (none, auth, cookie) = (&[][..], &[("authorization", "Bearer s")][..], &[("cookie", "s=1")][..]);
    let (key, configured) = (&[("x-api-key", "s")][..], &[("x-shop-customer", "s")][..]);
    #[rustfmt::skip]
    let table: &[(Fields, &str, Until, Until)] = &[
        // request, Cache-Control of the response, shared, personal
        (none, "", Ok(ALWAYS), Ok(ALWAYS)),
        (none, "public", Ok(ALWAYS), Ok(ALWAYS)),
        (none, "max-age=60", Ok(ALWAYS), Ok(ALWAYS)),
        (none, "max-age=0", Ok(ALWAYS), Ok(ALWAYS)),
        (none, "no-store", Err("no-store"), Err("no-store")),
        (none, "No-Store, public", Err("no-store"), Err("no-store")),
        (none, "no-cache", Err("no-cache"), Err("no-cache")),
        (none, "no-cache=\"x-a\"", Err("no-cache"), Err("no-cache")),
        (none, "private", Err("private"), Ok(ALWAYS)),
        (none, "Private=\"x-a\"", Err("private"), Ok(ALWAYS)),
        (none, "private, max-age=60", Err("private"), Ok(ALWAYS)),
        (none, "must-revalidate", Err("never-stale"), Err("never-stale")),
        (none, "must-revalidate, max-age=60", Ok(60), Ok(60)),
        (none, "must-revalidate, max-age=60, stale-if-error=60", Ok(60), Ok(60)),
        (none, "proxy-revalidate", Err("never-stale"), Ok(ALWAYS)),
        (none, "proxy-revalidate, max-age=60", Ok(60), Ok(ALWAYS)),
        (none, "s-maxage=60", Ok(60), Ok(ALWAYS)),
        (none, "s-maxage=0", Err("never-stale"), Ok(ALWAYS)),
        (none, "s-maxage=60, stale-if-error=600", Ok(60), Ok(600)),
        (none, "max-age=60, stale-if-error=600", Ok(660), Ok(660)),
        (none, "max-age=60, stale-if-error=0", Ok(60), Ok(60)),
        (none, "stale-if-error=0", Err("never-stale"), Err("never-stale")),
        (none, "max-age=60, stale-if-error=999999999", Ok(ALWAYS), Ok(ALWAYS)),
        (none, "max-age=2147483648, stale-if-error=2147483648", Ok(ALWAYS), Ok(ALWAYS)),
        (none, "must-revalidate, max-age=999999999", Ok(ALWAYS), Ok(ALWAYS)),
        (auth, "", Err("credentials"), Ok(ALWAYS)),
        (auth, "max-age=60", Err("credentials"), Ok(ALWAYS)),
        (auth, "s-maxage=60", Err("credentials"), Ok(ALWAYS)),
        (auth, "must-revalidate, max-age=60", Err("credentials"), Ok(60)),
        (auth, "public", Ok(ALWAYS), Ok(ALWAYS)),
        (auth, "public, private", Err("private"), Ok(ALWAYS)),
        (cookie, "", Err("credentials"), Ok(ALWAYS)),
        (cookie, "public", Ok(ALWAYS), Ok(ALWAYS)),
        (key, "", Err("credentials"), Ok(ALWAYS)),
        (key, "public", Ok(ALWAYS), Ok(ALWAYS)),
        (key, "max-age=60, s-maxage=60", Err("credentials"), Ok(ALWAYS)),
        (configured, "", Err("credentials"), Ok(ALWAYS)),
        (configured, "public", Ok(ALWAYS), Ok(ALWAYS)),
        (&[("x-auth-request-user", "ann")], "", Err("credentials"), Ok(ALWAYS)),
        (&[("proxy-authorization", "Basic s")], "", Err("credentials"), Ok(ALWAYS)),
        (&[("x-request-id", "7")], "", Ok(ALWAYS), Ok(ALWAYS)),
        (&[("cache-control", "No-Store")], "public", Err("request-no-store"), Err("request-no-store")),
        (&[("range", "bytes=0-1")], "public", Err("range"), Err("range")),
        (&[("content-length", "7")], "public", Err("content"), Err("content")),
        (&[("content-length", "0"), ("content-length", "7")], "public", Err("content"), Err("content")),
        (&[("transfer-encoding", "chunked")], "public", Err("content"), Err("content")),
        (&[("content-type", "application/json")], "public", Ok(ALWAYS), Ok(ALWAYS)),
        (&[("content-length", "0")], "public", Ok(ALWAYS), Ok(ALWAYS)),
        (&[("cache-control", "no-cache, max-age=0")], "", Ok(ALWAYS), Ok(ALWAYS)),
    ];
    for (request, control, shared, personal) in table {
        let response = &[("cache-control", *control)];
        assert_eq!(until(Sharing::Shared, request, response), *shared, "shared: {request:?}, {control}");
        assert_eq!(until(Sharing::Personal, request, response), *personal, "personal: {request:?}, {control}");
    }
}

#[test]
fn neither_cookies_nor_what_varies_by_anything_are_stored() {
    for sharing in [Sharing::Shared, Sharing::Personal] {
        assert_eq!(until(sharing, &[], &[("set-cookie", "a=1")]), Err("set-cookie"));
        assert_eq!(until(sharing, &[], &[("cache-control", "public"), ("set-cookie", "a=1")]), Err("set-cookie"));
        assert_eq!(until(sharing, &[], &[("vary", "*")]), Err("vary"));
        assert_eq!(until(sharing, &[], &[("vary", "accept"), ("vary", "cookie , *")]), Err("vary"));
        assert_eq!(until(sharing, &[], &[("vary", "accept")]), Ok(ALWAYS));
        assert_eq!(until(sharing, &[], &[("pragma", "no-cache")]), Err("no-cache"));
    }
}

#[test]
fn only_good_answers_are_stored_and_only_what_speaks_for_everybody_withdraws_what_is_for_all() {
    let all = |sharing, request: Fields, control: &str, status| match verdict(
        sharing,
        request,
        status,
        &[("cache-control", control)],
    ) {
        Decision::Store(..) => 's',
        Decision::Remove(_, Extent::Variant) => 'v',
        Decision::Remove(_, Extent::All) => 'a',
        Decision::Ignore(_) => 'l',
    };
    let auth = &[("authorization", "Bearer s")][..];
    for (statuses, shared, by_one_of_all, personal) in [
        (&[200, 203, 204][..], 's', 'l', 's'),
        (&[404, 410, 451], 'v', 'l', 'v'),
        (&[401, 403], 'l', 'l', 'a'),
        (&[300, 301, 302, 303, 307, 308], 'l', 'l', 'v'),
        (&[101, 201, 202, 205, 206, 304, 400, 405, 408, 412, 416, 425, 429, 500, 502, 503, 504, 599], 'l', 'l', 'l'),
    ] {
        for status in statuses {
            assert_eq!(all(Sharing::Shared, &[], "max-age=60", *status), shared, "{status}");
            assert_eq!(all(Sharing::Shared, auth, "max-age=60", *status), by_one_of_all, "{status}");
            assert_eq!(
                all(Sharing::Shared, auth, "public", *status),
                shared,
                "{status}, for everybody by its own word"
            );
            assert_eq!(all(Sharing::Personal, auth, "max-age=60", *status), personal, "{status}");
        }
    }
}

#[test]
fn what_answers_content_withdraws_nothing_and_what_is_degraded_only_what_is_gone() {
    let no_store = headers(&[("cache-control", "no-store")]);
    let (plain, search) = (asked(Sharing::Shared, &[]), asked(Sharing::Shared, &[("content-length", "2")]));
    for status in [200, 404, 410] {
        let status = StatusCode::from_u16(status).unwrap();
        let by =
            |asked, quality| decide(asked, status, &IndexedHeaders::new(&no_store), quality, || false, || ARRIVAL, DAY);
        let gone = Decision::Remove("gone", Extent::Variant);
        let expected = if status == StatusCode::OK { Decision::Ignore("degraded") } else { gone };
        assert_eq!(by(&plain, Quality::Degraded), expected);
        assert_eq!(by(&search, Quality::Good), Decision::Ignore("content"));
    }
}

#[test]
fn what_is_withdrawn_from_one_caller_is_not_withdrawn_from_all() {
    let asked = [("authorization", "Bearer s")];
    let response = [("cache-control", "private")];
    assert_eq!(verdict(Sharing::Shared, &asked, 200, &response), Decision::Ignore("credentials"));
    assert_eq!(verdict(Sharing::Shared, &[], 200, &response), Decision::Remove("private", Extent::Variant));
}

#[test]
fn what_was_too_old_when_it_came_is_not_stored() {
    assert_eq!(until(Sharing::Shared, &[], &[("age", "86399")]), Ok(DAY));
    assert_eq!(until(Sharing::Shared, &[], &[("age", "86400")]), Err("never-stale"));
    assert_eq!(until(Sharing::Shared, &[], &[("age", "60"), ("cache-control", "s-maxage=60")]), Err("never-stale"));
}

#[test]
fn it_may_be_revalidated_in_the_background_only_where_it_may_be_stale() {
    let window = |control| match verdict(Sharing::Shared, &[], 200, &[("cache-control", control)]) {
        Decision::Store(lifetime, _) => (lifetime.fresh_until, lifetime.revalidate_until),
        other => panic!("{other:?}"),
    };
    assert_eq!(window("max-age=60, stale-while-revalidate=30"), (60, 90));
    assert_eq!(window("max-age=60"), (60, 0));
    assert_eq!(window("max-age=60, stale-while-revalidate=30, must-revalidate"), (60, 0));
    assert_eq!(window("s-maxage=60, stale-while-revalidate=30"), (60, 0));
    assert_eq!(window("max-age=60, stale-while-revalidate=999999999"), (60, DAY));
}

#[test]
fn the_terms_end_with_the_age() {
    let lifetime = Lifetime { created: NOW, fresh_until: 0, serve_until: 60, revalidate_until: 0 };
    let at = |seconds: u64| lifetime.left(Timestamp(NOW.0 + seconds * 1000));
    assert_eq!(at(0), Some(Duration::from_secs(60)));
    assert_eq!(at(59), Some(Duration::from_secs(1)));
    assert_eq!(at(60), None);
    assert_eq!(at(1000), None);
}

#[expect(clippy::disallowed_types, reason = "the other implementation asks for it")]
type Wall = std::time::SystemTime;

fn request(fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    *request.headers_mut() = headers(fields);
    request
}

/// Another implementation of RFC 9111.
fn policy(sharing: Sharing, asked: &[(&str, &str)], status: u16, answer: &[(&str, &str)], now: Wall) -> CachePolicy {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = headers(answer);
    let options = CacheOptions { shared: sharing == Sharing::Shared, ..CacheOptions::default() };
    CachePolicy::new_options(&request(asked), &response, now, options)
}

/// Whether it would store this.
fn theirs(sharing: Sharing, asked: &[(&str, &str)], status: u16, answer: &[(&str, &str)]) -> bool {
    policy(sharing, asked, status, answer, Wall::now()).is_storable()
}

#[test]
fn nothing_is_stored_that_http_cache_semantics_would_not() {
    let requests = [
        &[][..],
        &[("authorization", "Bearer s")],
        &[("cookie", "s=1")],
        &[("cache-control", "no-store")],
        &[("range", "bytes=0-1")],
    ];
    let controls = [
        "",
        "public",
        "private",
        "no-store",
        "no-cache",
        "max-age=60",
        "s-maxage=60",
        "must-revalidate",
        "proxy-revalidate, max-age=60",
        "private, max-age=60",
        "public, max-age=60",
        "stale-if-error=60",
        "no-store, public",
    ];
    let mut stored = 0;
    for sharing in [Sharing::Shared, Sharing::Personal] {
        for request in requests {
            for control in controls {
                for status in [200, 203, 204, 206, 301, 302, 404, 410, 500, 503] {
                    let response = [("cache-control", control)];
                    if let Decision::Store(..) = verdict(sharing, request, status, &response) {
                        assert!(theirs(sharing, request, status, &response), "{request:?} {status} {control}");
                        stored += 1;
                    }
                }
            }
        }
    }
    assert!(stored > 100, "only {stored} were stored");
}

/// Where the rules are ours: it would store these in a shared cache.
#[test]
fn what_http_cache_semantics_would_store_and_we_do_not() {
    let (none, auth) = (&[][..], &[("authorization", "Bearer s")][..]);
    #[rustfmt::skip]
    let table: &[(Fields, u16, (&str, &str))] = &[
        // Directives have no case (RFC 9111 §5.2), and one that isn't text hides none beside it.
        (none, 200, ("cache-control", "No-Store")),
        (none, 200, ("cache-control", "PRIVATE")),
        (none, 200, ("cache-control", "no-store, x=é")),
        // Of use only to who can ask the origin.
        (none, 200, ("cache-control", "no-cache")),
        (none, 200, ("cache-control", "must-revalidate")),
        // Meant for one caller.
        (none, 200, ("set-cookie", "a=1")),
        (&[("cookie", "s=1")], 200, ("cache-control", "max-age=60")),
        (auth, 200, ("cache-control", "s-maxage=60")),
        (auth, 200, ("cache-control", "must-revalidate, max-age=60")),
        // Selected by what isn't known.
        (none, 200, ("vary", "*")),
        // Not good.
        (none, 404, ("cache-control", "max-age=60")),
        (none, 410, ("cache-control", "max-age=60")),
        (none, 301, ("cache-control", "max-age=60")),
        (none, 501, ("cache-control", "max-age=60")),
    ];
    for (request, status, response) in table {
        let response = &[*response];
        assert!(theirs(Sharing::Shared, request, *status, response), "{request:?} {status} {response:?}");
        let ours = verdict(Sharing::Shared, request, *status, response);
        assert!(!matches!(ours, Decision::Store(..)), "{request:?} {status} {response:?}");
    }
}

/// Where the rules are ours as well: it knows an answer's age by `Age` alone, and of a field that is sent twice it compares
/// the first value.
#[test]
fn ages_and_variants_that_http_cache_semantics_does_not_tell_apart() {
    let wall = Wall::UNIX_EPOCH + Duration::from_millis(NOW.0);
    let answer = [("date", "Sun, 06 Nov 1994 11:59:30 GMT"), ("cache-control", "max-age=60"), ("vary", "x-a")];
    let (one, other) = ([("x-a", "1"), ("x-a", "2")], [("x-a", "1"), ("x-a", "3")]);
    let theirs = policy(Sharing::Shared, &one, 200, &answer, wall);
    assert_eq!(theirs.age(wall), Duration::ZERO);
    assert!(theirs.before_request(&request(&other), wall).satisfies_without_revalidation());

    let Decision::Store(lifetime, _) = verdict(Sharing::Shared, &one, 200, &answer) else { panic!("it isn't stored") };
    assert_eq!(NOW.since(lifetime.created), Duration::from_secs(30));
    let selecting = SelectingFields::of(&IndexedHeaders::new(&headers(&answer))).unwrap();
    let variant = |fields| selecting.variant_in(&flatten(&headers(fields)).unwrap());
    assert_ne!(variant(&one), variant(&other));
}
