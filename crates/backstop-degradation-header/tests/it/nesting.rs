//! One layer inside another, and inside other scopes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use backstop_core::{Scope, scope::InScope};
use backstop_degradation_header::{DegradationHeaderLayer, Details, InnerHeaders};

use super::*;

type Build = fn(DegradationHeaderLayer) -> DegradationHeaderLayer;
type Between = fn(Response<String>) -> Response<String>;

async fn twice(
    outer: &DegradationHeaderLayer,
    inner: &DegradationHeaderLayer,
    reports: &[Degradation],
    response: Response<String>,
) -> HeaderMap {
    let service = service_fn(|response: Response<String>| async {
        reports.iter().cloned().for_each(scope::report);
        Ok::<_, Infallible>(response)
    });
    (outer, inner).layer(service).oneshot(response).await.unwrap().into_parts().0.headers
}

#[tokio::test]
async fn an_outer_layer_counts_and_writes_nothing_twice() {
    let layer = DegradationHeaderLayer::builder().details(Details::Parameters).build().unwrap();
    let record = from(name!("cached"), stale(912));
    let mut own = response(&[("x-fallback-source", "own;n=1"), ("cache-control", "max-age=60")]);
    own.extensions_mut().insert(record.clone());
    let once = answer(&layer, std::slice::from_ref(&record), own.clone()).await.into_parts().0.headers;
    assert_eq!(source(&once), some("cached;index=1;reason=circuit-open, own;n=1"));
    assert_eq!(twice(&layer, &layer, &[record], own).await, once);
}

#[tokio::test]
async fn the_outer_layers_settings_are_what_shows() {
    let renaming: Build = |layer| layer.public_names(|_| Some(name!("inside")));
    let inner = renaming(DegradationHeaderLayer::new());
    let outer = DegradationHeaderLayer::builder().details(Details::Parameters).build().unwrap();
    let headers = twice(&outer, &inner, &[from(name!("cached"), stale(912))], response(&[])).await;
    assert_eq!(source(&headers), some("cached;index=1;reason=circuit-open"));
    assert_eq!(freshness(&headers), some("stale;age=912"));
}

#[tokio::test]
async fn an_outer_layer_that_trusts_no_header_still_knows_what_ours_knew() {
    let outer = DegradationHeaderLayer::builder().inner_headers(InnerHeaders::Remove).build().unwrap();
    let inner = DegradationHeaderLayer::new();
    let own = response(&[("x-fallback-source", "theirs")]);
    let headers = twice(&outer, &inner, &[from(name!("cached"), stale(7))], own).await;
    assert_eq!((source(&headers), freshness(&headers)), (some("cached"), some("stale")));
}

#[tokio::test]
async fn what_is_reported_between_two_layers_is_added() {
    let layer = DegradationHeaderLayer::new();
    let inner = layer.layer(service_fn(|(): ()| async {
        scope::report(from(name!("a"), Freshness::Degraded));
        Ok::<_, Infallible>(response(&[("x-fallback-source", "own")]))
    }));
    let between = service_fn(move |(): ()| {
        let inner = inner.clone();
        async move {
            let mut response = inner.oneshot(()).await?;
            scope::report(from(name!("b"), Freshness::Degraded));
            assert_eq!(source(response.headers()), some("a, own"));
            response.headers_mut().insert("x-fallback-source", "rewritten".parse().unwrap());
            Ok::<_, Infallible>(response)
        }
    });
    let headers = layer.layer(between).oneshot(()).await.unwrap().into_parts().0.headers;
    assert_eq!(source(&headers), some("a, b, rewritten, own"));
}

/// What leaves two layers, of which the outer one renames, when this is done to the response between them.
async fn renamed(between: Between) -> HeaderMap {
    let renaming: Build = |layer| {
        layer.public_names(|source| match source.as_str() {
            "redis-1" | "cached" => Some(name!("cached")),
            _ => None,
        })
    };
    let inner = DegradationHeaderLayer::new().layer(service_fn(|(): ()| async {
        scope::report(from(name!("redis-1"), stale(7)));
        scope::report(from(name!("secret"), stale(7)));
        Ok::<_, Infallible>(response(&[]))
    }));
    let between = service_fn(move |(): ()| {
        let inner = inner.clone();
        async move { inner.oneshot(()).await.map(between) }
    });
    renaming(DegradationHeaderLayer::new()).layer(between).oneshot(()).await.unwrap().into_parts().0.headers
}

#[tokio::test]
async fn no_name_from_inside_leaves_whatever_becomes_of_the_response_between_two_layers() {
    let cases: [(&str, Between); 5] = [
        ("untouched", |response| response),
        ("a field is appended", |mut response| {
            response.headers_mut().append("x-fallback-source", "secret;host=redis-2".parse().unwrap());
            response
        }),
        ("the fields are one list", |mut response| {
            response.headers_mut().insert("x-fallback-source", "redis-1, secret, own/secret".parse().unwrap());
            response
        }),
        ("built anew, with its headers", |response| {
            let mut anew = Response::new(String::new());
            *anew.headers_mut() = response.headers().clone();
            anew
        }),
        ("built anew, with other headers", |_| response(&[("x-fallback-source", "redis-1, cached, redis-2")])),
    ];
    for (case, between) in cases {
        assert_eq!(source(&renamed(between).await), some("cached"), "{case}");
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "what a handler may do")]
async fn what_was_labelled_in_another_task_and_built_anew_is_named_for_the_outside_too() {
    let inner = DegradationHeaderLayer::new();
    let outer = DegradationHeaderLayer::new().public_names(|source| (source == "a").then_some(name!("public")));
    let service = outer.layer(service_fn(move |(): ()| {
        let inner = inner.clone();
        async move {
            let reports = [from(name!("a"), stale(7)), from(name!("b"), stale(7))];
            let task = tokio::spawn(async move { answer(&inner, &reports, response(&[])).await });
            task.await.map(|response| {
                let mut anew = Response::new(String::new());
                *anew.headers_mut() = response.headers().clone();
                anew
            })
        }
    }));
    let headers = service.oneshot(()).await.unwrap().into_parts().0.headers;
    assert_eq!((source(&headers), freshness(&headers)), (some("public"), some("stale")));
}

#[tokio::test]
async fn what_is_added_to_our_own_list_is_listed_once_and_does_not_make_it_worse() {
    let layer = DegradationHeaderLayer::new();
    let inner = layer.layer(service_fn(|(): ()| async {
        scope::report(from(name!("cached"), stale(7)));
        Ok::<_, Infallible>(response(&[]))
    }));
    let between = service_fn(move |(): ()| {
        let inner = inner.clone();
        async move {
            let mut response = inner.oneshot(()).await?;
            response.headers_mut().append("x-fallback-source", "cached".parse().unwrap());
            response.headers_mut().append("x-data-freshness", "fresh".parse().unwrap());
            Ok::<_, Infallible>(response)
        }
    });
    let headers = layer.layer(between).oneshot(()).await.unwrap().into_parts().0.headers;
    assert_eq!((source(&headers), freshness(&headers)), (some("cached"), some("stale")));
}

#[tokio::test]
async fn many_reports_under_two_layers_are_each_named_once() {
    for n in [1_000, 2_000, 4_000] {
        let named = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&named);
        let outer = DegradationHeaderLayer::new().public_names(move |_| {
            count.fetch_add(1, Relaxed);
            None
        });
        let reports: Vec<_> = (0..n).map(|n| from(Name::new(format!("s{n}")).unwrap(), stale(7))).collect();
        let headers = twice(&outer, &DegradationHeaderLayer::new(), &reports, response(&[])).await;
        assert_eq!((source(&headers), named.load(Relaxed)), (None, n));
    }
}

#[tokio::test]
async fn reports_move_up_to_the_scope_outside_also_of_a_call_that_failed() {
    for failed in [false, true] {
        let mut outside = Scope::new();
        let service = DegradationHeaderLayer::new().layer(service_fn(|(): ()| async move {
            scope::report(from(name!("cached"), Freshness::Degraded));
            if failed { Err("down") } else { Ok(response(&[])) }
        }));
        let mut future = std::pin::pin!(service.oneshot(()));
        let result = std::future::poll_fn(|cx| outside.enter(|| future.as_mut().poll(cx))).await;
        assert_eq!(result.is_err(), failed);
        assert_eq!(outside.take_reports().len(), 1);
    }
}

#[tokio::test]
async fn a_request_knows_nothing_of_what_another_one_reported() {
    let layer = DegradationHeaderLayer::new();
    let service = layer.layer(service_fn(|degraded: bool| async move {
        for _ in 0..3 {
            if degraded {
                scope::report(from(name!("cached"), Freshness::Degraded));
            }
            tokio::task::yield_now().await;
        }
        Ok::<_, Infallible>(response(&[]))
    }));
    let (one, two) = tokio::join!(service.clone().oneshot(true), service.oneshot(false));
    assert_eq!(source(one.unwrap().headers()), some("cached"));
    assert_eq!(source(two.unwrap().headers()), None);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "what a handler may do")]
async fn a_handle_carries_reports_from_a_spawned_task() {
    let service = DegradationHeaderLayer::new().layer(service_fn(|(): ()| async {
        let task = async { scope::report(from(name!("cached"), Freshness::Degraded)) };
        tokio::spawn(task.in_scope(scope::handle())).await.unwrap();
        Ok::<_, Infallible>(response(&[]))
    }));
    assert_eq!(source(service.oneshot(()).await.unwrap().headers()), some("cached"));
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "what a handler may do")]
async fn what_an_inner_layer_labelled_in_another_task_is_known_outside_whatever_its_headers_are_called() {
    let inner = DegradationHeaderLayer::builder().source_header("x-a").freshness_header("x-b").build().unwrap();
    let service = DegradationHeaderLayer::new().layer(service_fn(move |(): ()| {
        let inner = inner.clone();
        async move {
            let reports = [from(name!("cached"), stale(7))];
            tokio::spawn(async move { answer(&inner, &reports, response(&[])).await }).await
        }
    }));
    let headers = service.oneshot(()).await.unwrap().into_parts().0.headers;
    assert_eq!((source(&headers), freshness(&headers)), (some("cached"), some("stale")));
}
