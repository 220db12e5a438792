//! What a part may be: a guarded call, a chain, a client's call, a function.

use std::{convert::Infallible, io, time::Duration};

use backstop_circuit_breaker::CircuitBreakerLayer;
use backstop_core::{Reason, scope::EndedBy};
use backstop_fallback::{AllProvidersFailed, FallbackChain, Provider};
use backstop_kit::CallError;
use backstop_partial::{RequiredPartFailed, name, part};
use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};

use crate::common::{dashboard, paths, reported};

#[tokio::test]
async fn a_call_through_a_circuit_whose_refusal_is_the_reason() {
    let circuit = CircuitBreakerLayer::new(name!("users")).handle();
    circuit.isolate();
    let call = || circuit.call(|| async { Ok::<_, io::Error>(7) });
    let page = dashboard().gather((part(name!("profile"), call()).optional(),)).await.unwrap();
    assert_eq!(page.status().failures()[0].reason, Reason::CIRCUIT_OPEN);
    let failed = dashboard().gather((part(name!("profile"), call()).required(),)).await.unwrap_err();
    assert_eq!(failed.rejection().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(failed.into_original::<CallError<io::Error>>().is_ok());
    circuit.close();
    assert_eq!(dashboard().gather((part(name!("profile"), call()).required(),)).await.unwrap().into_data(), (7,));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_another_part_replaces_doesnt_count_in_its_circuit() {
    let circuit = CircuitBreakerLayer::new(name!("users")).handle();
    for _ in 0..20 {
        let hangs = circuit.call(std::future::pending::<Result<u32, io::Error>>);
        let fails = async {
            tokio::time::sleep(Duration::from_secs(6)).await;
            Err::<u32, _>("down")
        };
        let aggregate = backstop_partial::Aggregate::builder("slow").total(Duration::from_secs(60)).build().unwrap();
        let parts = (part(name!("a"), hangs).or(1), part(name!("b"), fails).required());
        assert!(aggregate.gather(parts).await.is_err());
    }
    assert_eq!(circuit.call(|| async { Ok::<_, io::Error>(7) }).await.unwrap(), 7);
    assert!(!EndedBy::Replaced.is_failure());
}

fn chain(first: Result<u32, StatusCode>, second: Result<u32, StatusCode>) -> FallbackChain<u32, u32> {
    let fails = |status: StatusCode| io::Error::other(status.to_string());
    FallbackChain::builder("prices")
        .provider(Provider::from_fn(name!("live"), move |_| async move { first.map_err(fails) }))
        .provider(Provider::from_fn(name!("cached"), move |_| async move { second.map_err(fails) }))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_chain_whose_source_is_in_the_label() {
    let chain = chain(Err(StatusCode::BAD_GATEWAY), Ok(2));
    let page = dashboard().gather((part(name!("prices"), chain.execute(7)).required(),)).await;
    let page_and_labels = async { dashboard().gather((part(name!("prices"), chain.execute(7)).required(),)).await };
    let (page_again, labels) = reported(page_and_labels).await;
    for page in [page, page_again] {
        assert_eq!(page.unwrap().map(|(answer,)| answer.value).into_data(), 2);
    }
    assert_eq!(paths(&labels), ["prices/cached"]);
}

#[tokio::test]
async fn a_chain_that_is_exhausted() {
    let chain = chain(Err(StatusCode::BAD_GATEWAY), Err(StatusCode::BAD_GATEWAY));
    let page = dashboard().gather((part(name!("prices"), chain.execute(7)).optional(),)).await.unwrap();
    assert_eq!(page.status().failures()[0].reason, Reason::ALL_PROVIDERS_FAILED);
    let failed = dashboard().gather((part(name!("prices"), chain.execute(7)).required(),)).await.unwrap_err();
    assert_eq!(failed.into_original::<AllProvidersFailed>().unwrap().failures().len(), 2);
}

#[tokio::test]
async fn a_page_inside_a_page() {
    let inner = backstop_partial::Aggregate::new(name!("inner"));
    let fails = || part(name!("deep"), async { Err::<u32, _>("down") });
    let (outer, inner_parts) = (dashboard(), async { inner.gather((fails().or(1),)).await });
    let (page, labels) = reported(outer.gather((part(name!("inner"), inner_parts).required(),))).await;
    assert_eq!(
        (page.unwrap().into_data().0.into_data(), paths(&labels)),
        ((1,), vec!["inner/deep/default".to_owned()])
    );

    let inner_parts = async { inner.gather((fails().required(),)).await };
    let failed = outer.gather((part(name!("inner"), inner_parts).required(),)).await.unwrap_err();
    assert_eq!((failed.part().as_str(), failed.reason()), ("inner", Reason::ERROR));
    assert_eq!(failed.into_original::<RequiredPartFailed>().unwrap().part(), "deep");
}

#[tokio::test]
async fn a_clients_call_where_a_503_is_no_answer() {
    let client = |status: u16| {
        let service = service_fn(move |_: Request<()>| async move {
            Ok::<_, Infallible>(Response::builder().status(status).body("items").unwrap())
        });
        CircuitBreakerLayer::new(name!("items")).layer(service).oneshot(Request::new(()))
    };
    let parts = (
        part(name!("a"), client(200)).response().optional(),
        part(name!("b"), client(503)).response().optional(),
        part(name!("c"), client(404)).response().optional(),
    );
    let page = dashboard().gather(parts).await.unwrap();
    let reasons: Vec<_> = page.status().failures().iter().map(|failure| failure.reason.as_str()).collect();
    assert_eq!(reasons, ["status-503", "status-404"]);
    assert_eq!(page.into_data().0.map(Response::into_body), Some("items"));
}
