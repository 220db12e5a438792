//! What caches and clients are shown of a page: X-Fallback-Source, X-Data-Freshness, Age, and no-store.

use std::{convert::Infallible, time::Duration};

use backstop_core::{Degradation, Freshness, Reason, scope};
use backstop_degradation_header::DegradationHeaderLayer;
use backstop_fallback::{FallbackChain, Provider};
use backstop_partial::{Answer, Name, name, part};
use http::{Request, Response, header::ETAG};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::common::{MS, after, dashboard, paths, reported};

async fn stale(age: u64) -> Result<Answer<u32>, &'static str> {
    Ok(Answer::stale(7, Duration::from_secs(age)))
}

/// The answer of `handler` behind the layer for headers.
async fn labelled<F: Future<Output = ()>>(handler: impl Fn() -> F) -> Response<()> {
    let service = service_fn(|_: Request<()>| async {
        handler().await;
        Ok::<_, Infallible>(Response::builder().header(ETAG, "\"v1\"").body(()).unwrap())
    });
    ServiceBuilder::new().layer(DegradationHeaderLayer::new()).service(service).oneshot(Request::new(())).await.unwrap()
}

fn header<'a>(response: &'a Response<()>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_part_that_was_replaced_is_labelled_and_keeps_the_page_out_of_caches_a_silent_one_too() {
    let response = labelled(|| async {
        let orders = part(name!("orders"), async { Err::<Vec<u32>, _>("down") }).or_default();
        dashboard().gather((orders,)).await.unwrap();
    })
    .await;
    assert_eq!(header(&response, "x-fallback-source"), Some("orders/default"));
    assert_eq!(header(&response, "x-data-freshness"), Some("degraded"));
    assert_eq!((header(&response, "cache-control"), header(&response, "etag")), (Some("no-store"), None));
}

#[tokio::test]
async fn a_page_of_copies_has_the_age_of_the_oldest() {
    let response = labelled(|| async {
        let parts = (
            part(name!("a"), stale(10)).answer().required(),
            part(name!("b"), stale(90)).answer().required(),
            part(name!("c"), async { Ok::<_, &str>(Answer::new(1, Freshness::Fresh)) }).answer().required(),
        );
        assert_eq!(dashboard().gather(parts).await.unwrap().into_data(), (7, 7, 1));
    })
    .await;
    assert_eq!(header(&response, "x-fallback-source"), Some("a, b"));
    assert_eq!((header(&response, "x-data-freshness"), header(&response, "age")), (Some("stale"), Some("90")));
    assert_eq!(header(&response, "etag"), Some("\"v1\""), "a copy of known age may be cached");
}

#[tokio::test(start_paused = true)]
async fn a_copy_gets_older_while_the_rest_of_the_page_is_made() {
    let (page, labels) = reported(async {
        let chain: FallbackChain<(), u32> = FallbackChain::builder("prices")
            .provider(Provider::value(name!("live"), || async { Err::<u32, _>("down") }))
            .provider(Provider::value(name!("cached"), || async { Answer::stale(1, Duration::from_secs(60)) }))
            .build()
            .unwrap();
        let prices = part(name!("prices"), async { chain.execute(()).await.map(|answer| answer.value) }).required();
        let slow = part(name!("slow"), after(2_000 * MS, Ok::<_, &str>(()))).required();
        dashboard().gather((prices, slow)).await
    })
    .await;
    assert_eq!(paths(&labels), ["prices/cached"]);
    let status = page.unwrap().into_parts().1;
    assert_eq!(status.freshness(), Freshness::stale(Duration::from_secs(62)));
    assert!(status.is_degraded() && !status.is_partial());
}

#[tokio::test]
async fn a_parts_own_reports_have_its_name_in_front_and_paths_have_three_names_at_most() {
    let report = |depth: usize| {
        let report = Degradation::new(name!("chain"), name!("cached"), 1, Reason::TIMEOUT, Freshness::Degraded);
        scope::report((0..depth).fold(report, |report, _| report.inside(name!("inner"))));
    };
    let page = async {
        let deep = |name, depth| {
            part(name, async move {
                report(depth);
                Ok::<_, &str>(())
            })
            .required()
        };
        let parts = (deep(name!("a"), 0), deep(name!("b"), 1), deep(name!("c"), 2), deep(name!("d"), 9));
        dashboard().gather(parts).await.unwrap()
    };
    let (page, labels) = reported(page).await;
    assert_eq!(paths(&labels), ["a/cached", "b/inner/cached", "c/inner/inner", "d/inner/inner"]);
    assert_eq!(paths(page.status().degradations()), paths(&labels));
}

#[tokio::test]
async fn what_a_part_that_failed_reported_is_not_about_the_page() {
    let reports_and_fails = async {
        scope::report(Degradation::new(name!("chain"), name!("cached"), 1, Reason::TIMEOUT, Freshness::Degraded));
        Err::<u32, _>("it can't be read")
    };
    let (_, labels) = reported(dashboard().gather((part(name!("a"), reports_and_fails).or(1),))).await;
    assert_eq!(paths(&labels), ["a/default"]);
}

#[tokio::test]
async fn a_page_names_sixteen_sources_at_most_and_stays_as_bad_as_the_worst() {
    for (n, expected) in [(16, "p15/default"), (17, "others"), (40, "others")] {
        let (_, labels) = reported(dashboard().gather_all((0..n).map(|i| {
            let name: Name = format!("p{i}").parse().unwrap();
            part(name, async { Err::<u32, _>("down") }).or_default()
        })))
        .await;
        assert_eq!((labels.len(), paths(&labels)[15].as_str()), (16, expected), "{n}");
        assert!(labels.iter().all(|label| label.freshness() == Freshness::Degraded));
    }
}

#[tokio::test]
async fn a_page_that_failed_has_no_labels() {
    let parts = (
        part(name!("a"), async { Err::<u32, _>("down") }).or(1),
        part(name!("b"), async { Err::<u32, _>("down") }).required(),
    );
    let (page, labels) = reported(dashboard().gather(parts)).await;
    assert!(page.is_err() && labels.is_empty());
}
