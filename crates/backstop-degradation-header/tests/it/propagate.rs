//! What an upstream says of its own answer.

use backstop_core::{Scope, scope::InScope};
use backstop_degradation_header::{PropagateDegradationConfig, PropagateDegradationLayer, UPSTREAM_DEGRADED};
use tokio::task::JoinSet;
use tower::buffer::Buffer;

use super::*;

fn layer() -> PropagateDegradationLayer {
    PropagateDegradationLayer::new(name!("ml"))
}

/// What is reported when an upstream answers so, and the response that the caller gets.
async fn propagated(
    layer: &PropagateDegradationLayer,
    upstream: Response<String>,
) -> (Vec<Degradation>, Response<String>) {
    let mut scope = Scope::new();
    let client = layer.layer(service_fn(|response: Response<String>| async { Ok::<_, Infallible>(response) }));
    let mut call = std::pin::pin!(client.oneshot(upstream));
    let answer = std::future::poll_fn(|cx| scope.enter_as_reader(|| call.as_mut().poll(cx))).await.unwrap();
    (scope.take_reports(), answer)
}

fn paths(reports: &[Degradation]) -> Vec<String> {
    reports.iter().map(|report| format!("{} {:?}", report.path(), report.freshness())).collect()
}

#[tokio::test]
async fn an_upstreams_labels_are_reported_as_paths_below_its_name() {
    let degraded = "Degraded";
    let unknown = "Stale { age: None }";
    for (headers, expected) in [
        (&[][..], &[][..]),
        (&[("x-data-freshness", "fresh")], &[]),
        (&[("x-data-freshness", "")], &[]),
        (&[("age", "40"), ("cache-control", "max-age=60")], &[]),
        (
            &[("x-fallback-source", "cached"), ("x-data-freshness", "stale"), ("age", "40")],
            &["ml/cached Stale { age: Some(40s) }"],
        ),
        (
            &[("x-fallback-source", "cached"), ("x-data-freshness", "stale;age=912"), ("age", "40")],
            &["ml/cached Stale { age: Some(912s) }"],
        ),
        (
            &[("x-fallback-source", "cached"), ("x-data-freshness", "stale;age=9"), ("age", "40")],
            &["ml/cached Stale { age: Some(40s) }"],
        ),
        (&[("x-fallback-source", "cached"), ("x-data-freshness", "stale")], &[&format!("ml/cached {unknown}")]),
        (&[("x-fallback-source", "replica"), ("x-data-freshness", "fresh")], &["ml/replica Fresh"]),
        (
            &[("x-fallback-source", "a, b;index=1;reason=timeout, a"), ("x-data-freshness", "degraded")],
            &["ml/a Degraded", "ml/b Degraded"],
        ),
        (&[("x-fallback-source", "a"), ("x-fallback-source", "b")], &["ml/a Degraded", "ml/b Degraded"]),
        (&[("x-fallback-source", "recs/cached/deep"), ("x-data-freshness", "degraded")], &["ml/recs/cached Degraded"]),
        (&[("x-data-freshness", "degraded")], &[&format!("ml {degraded}")]),
        (&[("x-data-freshness", "stale"), ("age", "7")], &["ml Stale { age: Some(7s) }"]),
        (&[("x-data-freshness", "fresh, stale;age=3")], &["ml Stale { age: Some(3s) }"]),
        (&[("x-data-freshness", "splendid")], &[&format!("ml {degraded}")]),
    ] {
        let (reports, _) = propagated(&layer(), response(headers)).await;
        assert_eq!(paths(&reports), expected, "{headers:?}");
        for report in &reports {
            let facts = (report.chain().as_str(), report.position(), report.reason());
            assert_eq!(facts, ("ml", 1, UPSTREAM_DEGRADED));
        }
    }
}

#[tokio::test]
async fn what_a_hostile_upstream_sends_is_bounded_and_never_taken_for_fresh() {
    let many = (0..16).map(|n| format!("n{n}")).collect::<Vec<_>>().join(", ");
    let long = (0..8).map(|n| format!("{}{n}", "n".repeat(60))).collect::<Vec<_>>().join(", ");
    let over = "a, ".repeat(1_000) + "a";
    let overlong = format!("{}, b", "a".repeat(65));
    for (value, expected) in [
        (&*many, &["ml/n0", "ml/n1", "ml/n2", "ml/n3", "ml/n4", "ml/n5", "ml/n6", "ml/n7"].map(str::to_owned)[..]),
        // 4 × 61 bytes fit into 256.
        (&long, &[0, 1, 2, 3].map(|n| format!("ml/{}{n}", "n".repeat(60)))),
        (&over, &["ml".to_owned()]),
        (&overlong, &["ml/b".to_owned()]),
        ("*, a/*, a//b, /a, <script>", &["ml".to_owned()]),
        ("*, a/*, a//b, b", &["ml/b".to_owned()]),
        ("\u{e9}", &["ml".to_owned()]),
        ("cached\t\u{1}".trim_end_matches('\u{1}'), &["ml/cached".to_owned()]),
        ("\"cached\"", &["ml".to_owned()]),
    ] {
        let mut upstream = response(&[]);
        upstream.headers_mut().insert("x-fallback-source", http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        let (reports, answer) = propagated(&layer(), upstream).await;
        let expected: Vec<_> = expected.iter().map(|path| format!("{path} Degraded")).collect();
        assert_eq!(paths(&reports), expected, "{value}");
        let rewritten = source(answer.headers()).unwrap();
        assert!(rewritten.len() <= 256 + 8 * "ml/, ".len(), "{rewritten}");
        assert_eq!(freshness(answer.headers()), some("degraded"));
    }
}

#[tokio::test]
async fn what_a_proxy_passes_on_is_labelled_once_whether_it_is_rebuilt_or_not() {
    let headers = [("x-fallback-source", "cached"), ("x-data-freshness", "stale;age=912"), ("age", "40")];
    for is_rebuilt in [false, true] {
        let client = layer().layer(service_fn(|response: Response<String>| async { Ok::<_, Infallible>(response) }));
        let proxy = client.map_response(move |response: Response<String>| {
            let (mut head, body) = response.into_parts();
            if is_rebuilt {
                head.extensions.clear();
            }
            Response::from_parts(head, body)
        });
        let edge = DegradationHeaderLayer::new().layer(proxy);
        let answer = edge.oneshot(response(&headers)).await.unwrap();
        assert_eq!(source(answer.headers()), some("ml/cached"), "{is_rebuilt}");
        assert_eq!(freshness(answer.headers()), some("stale"));
        assert_eq!(field(answer.headers(), "age"), some("912"));
    }
}

#[tokio::test]
async fn labels_are_read_behind_a_buffer_and_in_a_task_that_has_the_scope() {
    let headers = [("x-fallback-source", "cached"), ("x-data-freshness", "degraded")];
    let upstream = move |_: Request<()>| async move { Ok::<_, Infallible>(response(&headers)) };
    let client = Buffer::new(layer().layer(service_fn(upstream)), 4);
    let app = service_fn(move |request: Request<()>| {
        let client = client.clone();
        async move {
            let mut tasks = JoinSet::new();
            tasks.spawn(client.oneshot(request).in_scope(scope::handle()));
            let body = tasks.join_next().await.unwrap().unwrap().unwrap().into_body();
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    let answer = DegradationHeaderLayer::new().layer(app).oneshot(Request::new(())).await.unwrap();
    assert_eq!(source(answer.headers()), some("ml/cached"));
    assert_eq!(field(answer.headers(), "cache-control"), some("no-store"));
}

#[tokio::test]
async fn what_this_process_has_labelled_is_reported_once() {
    let upstream = service_fn(|_: Request<()>| async {
        scope::report(from(name!("cached"), stale(3)));
        Ok::<_, Infallible>(response(&[]))
    });
    let stack = DegradationHeaderLayer::new().layer(layer().layer(DegradationHeaderLayer::new().layer(upstream)));
    let answer = stack.oneshot(Request::new(())).await.unwrap();
    assert_eq!(source(answer.headers()), some("cached"));
}

#[tokio::test]
async fn the_public_names_of_a_path_are_mapped_one_by_one() {
    let headers = [("x-fallback-source", "redis, cached"), ("x-data-freshness", "degraded")];
    let edge = DegradationHeaderLayer::new().public_names(|name| match name.as_str() {
        "ml" => Some(name!("recommendations")),
        "cached" => Some(name!("memory")),
        _ => None,
    });
    let client = layer().layer(service_fn(|response: Response<String>| async { Ok::<_, Infallible>(response) }));
    let answer = edge.layer(client).oneshot(response(&headers)).await.unwrap();
    assert_eq!(source(answer.headers()), some("recommendations/memory"));
}

#[tokio::test]
async fn headers_of_another_name_are_read_where_they_are_chosen() {
    let builder = || PropagateDegradationLayer::builder("ml").source_header("x-from").freshness_header("x-quality");
    let layer = builder().build().unwrap();
    let headers = [("x-from", "cached"), ("x-quality", "degraded"), ("x-fallback-source", "other")];
    let (reports, answer) = propagated(&layer, response(&headers)).await;
    assert_eq!(paths(&reports), ["ml/cached Degraded"]);
    assert_eq!(source(answer.headers()), some("other"));

    let mut config = PropagateDegradationConfig::new("m l");
    assert_eq!(PropagateDegradationLayer::from_config(config.clone()).unwrap_err().field, "name");
    config.name = "ml".into();
    config.source_header = "age".into();
    assert_eq!(PropagateDegradationLayer::from_config(config.clone()).unwrap_err().field, "source_header");
    config.source_header = "x-data-freshness".into();
    assert_eq!(PropagateDegradationLayer::from_config(config).unwrap_err().field, "freshness_header");
}

#[tokio::test]
async fn an_error_passes_as_it_is() {
    let client = layer().layer(service_fn(|(): ()| async { Err::<Response<()>, _>("refused") }));
    assert_eq!(client.oneshot(()).await.map(drop), Err("refused"));
}
