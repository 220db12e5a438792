//! What caches are told.

use backstop_degradation_header::{CacheSafety, DegradationHeaderLayer, Details, Report};
use http::StatusCode;

use super::*;

/// What a healthy handler, or a stored answer, may say for caches.
const OWN: &[(&str, &str)] = &[
    ("age", "5"),
    ("akamai-cache-control", "max-age=600"),
    ("cache-control", "public, max-age=600"),
    ("cdn-cache-control", "max-age=600"),
    ("content-type", "text/plain"),
    ("date", "Fri, 20 Nov 2026 20:00:00 GMT"),
    ("edge-control", "cache-maxage=10m"),
    ("etag", "\"1\""),
    ("expires", "Fri, 20 Nov 2026 21:00:00 GMT"),
    ("last-modified", "Fri, 20 Nov 2026 19:00:00 GMT"),
    ("surrogate-control", "max-age=600"),
    ("vary", "accept"),
    ("x-accel-expires", "600"),
];

/// The headers for caches with which this leaves, without our labels.
async fn leaves(layer: &DegradationHeaderLayer, freshness: Freshness) -> Vec<(String, String)> {
    let answer = answer(layer, &[from(name!("cached"), freshness)], response(OWN)).await;
    let mut headers: Vec<_> = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
        .filter(|(name, _)| name != "x-fallback-source" && name != "x-data-freshness")
        .collect();
    headers.sort();
    headers
}

fn own(age: &str) -> Vec<(String, String)> {
    let value = |name: &str, value: &str| if name == "age" { age.to_owned() } else { value.to_owned() };
    OWN.iter().map(|(n, v)| ((*n).to_owned(), value(n, v))).collect()
}

#[tokio::test]
async fn a_degraded_answer_is_kept_out_of_every_cache() {
    for freshness in [Freshness::Degraded, UNKNOWN] {
        let headers = leaves(&DegradationHeaderLayer::new(), freshness).await;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            headers,
            [
                ("cache-control", "no-store"),
                ("content-type", "text/plain"),
                ("date", "Fri, 20 Nov 2026 20:00:00 GMT"),
                ("vary", "accept"),
            ]
        );
    }
}

#[tokio::test]
async fn a_degraded_answer_that_said_nothing_to_caches_is_not_left_to_their_heuristics() {
    assert_eq!(field(&labelled(&[from(name!("a"), Freshness::Degraded)]).await, "cache-control"), some("no-store"));
}

#[tokio::test]
async fn several_cache_control_fields_become_one() {
    let own = response(&[("cache-control", "public"), ("cache-control", "max-age=600")]);
    let answer = answer(&DegradationHeaderLayer::new(), &[from(name!("a"), Freshness::Degraded)], own).await;
    assert_eq!(field(answer.headers(), "cache-control"), some("no-store"));
}

#[tokio::test]
async fn a_stale_answer_leaves_with_its_true_age_so_that_its_old_max_age_is_counted_from_then() {
    assert_eq!(leaves(&DegradationHeaderLayer::new(), stale(912)).await, own("912"));
}

#[tokio::test]
async fn an_age_is_never_made_smaller() {
    let layer = DegradationHeaderLayer::builder().details(Details::Parameters).build().unwrap();
    for (own, reported, leaves) in [
        (&[("age", "500")][..], 10, 500),
        (&[("age", "500")], 912, 912),
        (&[("age", "5"), ("age", "500")], 10, 500),
        (&[("age", "5, 500")], 10, 500),
        (&[("age", "500"), ("x-data-freshness", "stale;age=700")], 10, 700),
        (&[("age", "500"), ("x-data-freshness", "stale;age=10")], 20, 500),
        (&[("age", "old")], 10, 10),
    ] {
        let headers =
            answer(&layer, &[from(name!("part"), stale(reported))], response(own)).await.into_parts().0.headers;
        assert_eq!(field(&headers, "age"), Some(leaves.to_string()), "{own:?}");
        assert_eq!(freshness(&headers), Some(format!("stale;age={leaves}")), "{own:?}");
    }
}

#[tokio::test]
async fn a_304_carries_no_label_and_a_degraded_one_stays_out_of_caches() {
    let not_modified = |headers: &[(&'static str, &'static str)]| {
        let mut response = response(headers);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    };
    let always = DegradationHeaderLayer::builder().report(Report::Always).build().unwrap();
    let theirs = &[("x-fallback-source", "theirs"), ("x-data-freshness", "stale;age=7"), ("etag", "\"1\"")];
    for (layer, reports, age) in [
        (&DegradationHeaderLayer::new(), &[from(name!("cached"), stale(912))][..], some("912")),
        (&DegradationHeaderLayer::new(), &[], some("7")),
        (&DegradationHeaderLayer::new(), &[from(name!("cached"), Freshness::Degraded)], None),
        (&always, &[from(name!("cached"), stale(912))], some("912")),
    ] {
        let headers = answer(layer, reports, not_modified(theirs)).await.into_parts().0.headers;
        assert_eq!((source(&headers), freshness(&headers)), (None, None), "{reports:?}");
        let stored = field(&headers, "cache-control").is_none();
        assert_eq!((field(&headers, "age"), stored), (age.clone(), age.is_some()), "{reports:?}");
    }
    let headers = answer(&always, &[], not_modified(&[])).await.into_parts().0.headers;
    assert_eq!(freshness(&headers), None);
}

#[tokio::test]
async fn an_answer_from_a_source_as_good_is_as_cacheable_as_it_was() {
    assert_eq!(leaves(&DegradationHeaderLayer::new(), Freshness::Fresh).await, own("5"));
}

#[tokio::test]
async fn caches_can_be_left_to_what_the_response_says() {
    let layer = DegradationHeaderLayer::builder().cache_safety(CacheSafety::LeaveAlone).build().unwrap();
    for freshness in [Freshness::Degraded, UNKNOWN] {
        assert_eq!(leaves(&layer, freshness).await, own("5"));
    }
    assert_eq!(leaves(&layer, stale(912)).await, own("912"));
}

#[tokio::test]
async fn nothing_writes_a_warning() {
    for freshness in [Freshness::Fresh, stale(912), UNKNOWN, Freshness::Degraded] {
        assert_eq!(field(&labelled(&[from(name!("a"), freshness)]).await, "warning"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_gets_older_while_the_rest_of_the_answer_is_made() {
    let service = service_fn(|(): ()| async {
        scope::report(from(name!("cached"), stale(40)));
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok::<_, Infallible>(response(&[]))
    });
    let answer = DegradationHeaderLayer::new().layer(service).oneshot(()).await.unwrap();
    assert_eq!(field(answer.headers(), "age"), some("43"));
}
