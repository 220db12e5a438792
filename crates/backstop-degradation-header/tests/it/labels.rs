//! What is written.

use backstop_core::{Reason, Rejection, grpc::GRPC_STATUS};
use backstop_degradation_header::{
    DegradationHeaderConfig, DegradationHeaderLayer, Details, Report, X_DATA_FRESHNESS, X_FALLBACK_SOURCE,
};
use http::{HeaderValue, StatusCode};

use super::*;

#[tokio::test]
async fn an_answer_that_nothing_degraded_passes_untouched() {
    let own = response(&[("etag", "\"1\""), ("cache-control", "max-age=60"), ("age", "5")]);
    let headers = own.headers().clone();
    let answer = answer(&DegradationHeaderLayer::new(), &[], own).await;
    assert_eq!(answer.headers(), &headers);
    assert!(answer.extensions().is_empty());
}

#[tokio::test]
async fn a_degraded_answer_tells_its_source_and_its_freshness() {
    for (freshness_of, word, age) in [
        (Freshness::Fresh, "fresh", None),
        (stale(912), "stale", some("912")),
        (UNKNOWN, "stale", None),
        (Freshness::Degraded, "degraded", None),
    ] {
        let headers = labelled(&[from(name!("cached"), freshness_of)]).await;
        assert_eq!(source(&headers), some("cached"));
        assert_eq!(freshness(&headers), some(word));
        assert_eq!(field(&headers, "age"), age, "{freshness_of:?}");
    }
}

#[tokio::test]
async fn operators_see_which_chains_were_labelled_and_whether_as_stale() {
    use backstop_core::{Inspect, Value};

    let layer = DegradationHeaderLayer::new();
    let shown = || layer.handle().state().remove(0);
    assert_eq!(shown(), ("labelled", Value::List(Vec::new())));
    let of = |chain: &Name, freshness| Degradation::new(chain.clone(), name!("cached"), 1, Reason::TIMEOUT, freshness);
    let (prices, items) = (name!("prices"), name!("items"));
    answer(&layer, &[of(&prices, Freshness::Degraded), of(&items, Freshness::Degraded)], response(&[])).await;
    answer(&layer, &[of(&prices, stale(3))], response(&[])).await;
    let chain = |name: &Name, stale: bool| Value::Map(vec![("chain", name.into()), ("stale", stale.into())]);
    assert_eq!(shown(), ("labelled", Value::List(vec![chain(&items, false), chain(&prices, true)])));
}

#[tokio::test]
async fn an_age_is_in_whole_seconds_rounded_down() {
    for (millis, age) in [(0, "0"), (999, "0"), (1999, "1"), (u64::MAX, "2147483648")] {
        let freshness = Freshness::stale(Duration::from_millis(millis));
        assert_eq!(field(&labelled(&[from(name!("cached"), freshness)]).await, "age"), some(age));
    }
}

#[tokio::test]
async fn several_sources_are_listed_once_each_in_the_order_reported_with_the_worst_freshness() {
    let a = || from(name!("a"), stale(3));
    let headers = labelled(&[a(), from(name!("b"), stale(7)), a(), from(name!("c"), Freshness::Fresh)]).await;
    assert_eq!(source(&headers), some("a, b, c"));
    assert_eq!(freshness(&headers), some("stale"));
    assert_eq!(field(&headers, "age"), some("7"));
    let headers = labelled(&[a(), from(name!("b"), Freshness::Degraded), from(name!("c"), UNKNOWN)]).await;
    assert_eq!(freshness(&headers), some("degraded"));
    assert_eq!(field(&headers, "age"), None);
}

#[tokio::test]
async fn an_extension_counts_where_it_was_not_reported_and_not_twice_where_it_was() {
    let layer = DegradationHeaderLayer::builder().details(Details::Parameters).build().unwrap();
    let record = from(name!("cached"), Freshness::Degraded);
    let mut same = response(&[]);
    same.extensions_mut().insert(record.clone());
    for reports in [vec![], vec![record.clone()]] {
        let answer = answer(&layer, &reports, same.clone()).await;
        assert_eq!(source(answer.headers()), some("cached;index=1;reason=circuit-open"));
        assert!(answer.extensions().get::<Degradation>().unwrap().is(&record), "it stays for others to read");
    }
    let answer = answer(&layer, &[from(name!("other"), Freshness::Fresh)], same).await;
    assert_eq!(source(answer.headers()), some("other;index=1;reason=circuit-open, cached;index=1;reason=circuit-open"));
    assert_eq!(freshness(answer.headers()), some("degraded"));
}

#[tokio::test]
async fn parameters_tell_position_reason_and_age() {
    let layer = DegradationHeaderLayer::builder().details(Details::Parameters).build().unwrap();
    let reason = Reason::status(StatusCode::SERVICE_UNAVAILABLE);
    let cached = Degradation::new(name!("items"), name!("cached"), 2, reason, stale(912));
    let headers = answer(&layer, &[cached], response(&[])).await.into_parts().0.headers;
    assert_eq!(source(&headers), some("cached;index=2;reason=status-503"));
    assert_eq!(freshness(&headers), some("stale;age=912"));
}

#[tokio::test]
async fn errors_are_labelled_as_well() {
    let mut error = response(&[]);
    *error.status_mut() = StatusCode::BAD_GATEWAY;
    let layer = DegradationHeaderLayer::new();
    let answer = answer(&layer, &[from(name!("cached"), Freshness::Degraded)], error).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(source(answer.headers()), some("cached"));
}

#[tokio::test]
async fn the_primarys_answers_are_called_fresh_where_that_is_asked_for_and_its_failures_are_not() {
    let layer = DegradationHeaderLayer::builder().report(Report::Always).build().unwrap();
    let fresh = async |response| freshness(answer(&layer, &[], response).await.headers());
    let status = |status| {
        let mut response = response(&[]);
        *response.status_mut() = status;
        response
    };
    assert_eq!(fresh(status(StatusCode::OK)).await, some("fresh"));
    assert_eq!(fresh(status(StatusCode::NOT_FOUND)).await, some("fresh"));
    assert_eq!(fresh(status(StatusCode::INTERNAL_SERVER_ERROR)).await, None);
    let mut grpc = response(&[("content-type", "application/grpc")]);
    grpc.headers_mut().insert(GRPC_STATUS, HeaderValue::from_static("14"));
    assert_eq!(fresh(grpc).await, None);
    let mut rejected = response(&[]);
    rejected.extensions_mut().insert(Rejection::refused(name!("bulkhead"), Reason::BULKHEAD_FULL));
    assert_eq!(fresh(rejected).await, None);
    let degraded = answer(&layer, &[from(name!("a"), Freshness::Degraded)], response(&[])).await;
    assert_eq!(freshness(degraded.headers()), some("degraded"));
}

#[tokio::test]
async fn header_names_can_be_chosen_and_the_defaults_are_constants() {
    let headers = labelled(&[from(name!("cached"), Freshness::Degraded)]).await;
    assert_eq!(headers[X_FALLBACK_SOURCE], "cached");
    assert_eq!(headers[X_DATA_FRESHNESS], "degraded");

    let layer = DegradationHeaderLayer::builder().source_header("X-From").freshness_header("X-How").build().unwrap();
    let answer = answer(&layer, &[from(name!("cached"), Freshness::Degraded)], response(&[])).await;
    assert_eq!(field(answer.headers(), "x-from"), some("cached"));
    assert_eq!(field(answer.headers(), "x-how"), some("degraded"));
    assert_eq!(source(answer.headers()), None);
}

#[tokio::test]
async fn names_for_the_outside_replace_ours_and_a_source_without_one_is_not_listed() {
    let layer = DegradationHeaderLayer::new().public_names(|source| match source.as_str() {
        "redis-1" | "redis-2" => Some(name!("cached")),
        _ => None,
    });
    let degraded = |source| from(source, Freshness::Degraded);
    let reports = [degraded(name!("redis-1")), degraded(name!("secret")), degraded(name!("redis-2"))];
    assert_eq!(source(answer(&layer, &reports, response(&[])).await.headers()), some("cached"));

    let hidden = answer(&layer, &[degraded(name!("secret"))], response(&[])).await;
    assert_eq!(source(hidden.headers()), None);
    assert_eq!(freshness(hidden.headers()), some("degraded"));
    assert_eq!(field(hidden.headers(), "cache-control"), some("no-store"));
}

#[test]
fn headers_that_cannot_carry_a_label_are_refused() {
    let build = |source: &'static str, freshness: &'static str| {
        DegradationHeaderLayer::builder().source_header(source).freshness_header(freshness).build()
    };
    assert!(build("x-a", "x-b").is_ok());
    for bad in [
        "",
        "x a",
        "x:a",
        "Age",
        "cache-control",
        "CDN-Cache-Control",
        "My-Cache-Control",
        "content-length",
        "Retry-After",
        "keep-alive",
        "set-cookie",
        "etag",
        "Allow",
        "www-authenticate",
        "cache-status",
        "host",
        "x-frame-options",
        "x-request-id",
        "x-accel-expires",
        "grpc-status",
        "x-bin",
    ] {
        assert_eq!(build(bad, "x-b").unwrap_err().field, "source_header", "{bad}");
        assert_eq!(build("x-a", bad).unwrap_err().field, "freshness_header", "{bad}");
    }
    assert_eq!(build("x-a", "X-A").unwrap_err().field, "freshness_header");
    assert_eq!(
        build("Retry-After", "x-b").unwrap_err().to_string(),
        "source_header is Retry-After, allowed is: a header name that has no meaning in HTTP or gRPC yet"
    );

    let mut config = DegradationHeaderConfig::default();
    assert!(DegradationHeaderLayer::from_config(config.clone()).is_ok());
    config.source_header = "é".into();
    assert_eq!(DegradationHeaderLayer::from_config(config).unwrap_err().value, "é");
}
