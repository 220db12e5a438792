//! Many callers at once: no caller gets another one's data, and refusals to some don't block the others.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{Method, StatusCode, header::AUTHORIZATION, request::Parts},
    response::{IntoResponse, Response},
    routing::get as on_get,
};
use backstop::{
    Answer, CircuitBreakerLayer, CircuitState, DegradationHeaderLayer, FallbackChain, FallbackLayer, Provider,
    RetryLayer, Standard, name,
};
use backstop_tests::http::{Server, header, read};
use tokio::task::JoinSet;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

const CALLERS: usize = 64;

/// A caller's request. Its name is in the head and in the body, so that mixed-up heads and bodies are found.
fn request(method: &Method, caller: usize) -> Request {
    http::Request::builder()
        .method(method)
        .uri(format!("/users/{caller}"))
        .header(AUTHORIZATION, format!("Bearer {caller}"))
        .body(Body::from(caller.to_string()))
        .unwrap()
}

fn is_of(head: &Parts, caller: &str) -> bool {
    head.uri.path() == format!("/users/{caller}") && head.headers[AUTHORIZATION] == format!("Bearer {caller}")
}

/// Returns whose request it is, after it has let other tasks run.
async fn whose(request: Request) -> String {
    let (head, body) = request.into_parts();
    tokio::task::yield_now().await;
    let body = to_bytes(body, 100).await.unwrap();
    let caller = String::from_utf8(body.to_vec()).unwrap();
    assert!(is_of(&head, &caller), "{head:?} came with the body of {caller}");
    tokio::task::yield_now().await;
    caller
}

/// Sends the requests of all callers at once. Returns each caller's answer.
async fn all_at_once<S>(stack: &S, method: Method) -> Vec<(http::response::Parts, String)>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let answer = stack.clone().oneshot(request(&method, caller));
        callers.spawn(async move {
            let Ok(answer) = answer.await;
            (caller, read(answer).await)
        });
    }
    let mut got = callers.join_all().await;
    got.sort_by_key(|(caller, _)| *caller);
    got.into_iter().map(|(_, answer)| answer).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_repeated_request_arrives_as_its_own_callers() {
    let attempts = Arc::new(Mutex::new(HashMap::<String, u32>::new()));
    let counted = Arc::clone(&attempts);
    let fails_twice = service_fn(move |request: Request| {
        let attempts = Arc::clone(&counted);
        async move {
            let caller = whose(request).await;
            let attempt = {
                let mut attempts = attempts.lock().unwrap();
                let attempt = attempts.entry(caller.clone()).or_default();
                *attempt += 1;
                *attempt
            };
            let status = if attempt < 3 { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
            Ok::<_, Infallible>((status, caller).into_response())
        }
    });
    let retry = RetryLayer::builder("ml_service").backoff_base(Duration::from_millis(1)).build().unwrap();
    let stack = ServiceBuilder::new().layer(retry).service(fails_twice);
    for (caller, (head, body)) in all_at_once(&stack, Method::PUT).await.into_iter().enumerate() {
        assert_eq!((head.status, body), (StatusCode::OK, caller.to_string()));
    }
    assert!(attempts.lock().unwrap().values().all(|attempts| *attempts == 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stored_answer_goes_to_the_caller_whose_it_is_and_to_nobody_else() {
    // Only every second caller has been served before.
    let stored: HashMap<String, String> =
        (0..CALLERS).step_by(2).map(|caller| (format!("Bearer {caller}"), format!("stored for {caller}"))).collect();
    let stored = move |head: Parts| {
        let found = stored.get(head.headers[AUTHORIZATION].to_str().unwrap()).cloned();
        async move {
            tokio::task::yield_now().await;
            found.map(|found| Answer::stale(found.into_response(), Duration::from_secs(9))).ok_or("nothing is stored")
        }
    };
    let chain = FallbackChain::builder("recommendations")
        .provider(Provider::head(name!("cached"), stored))
        .provider(Provider::from_fn(name!("replica"), async |request: Request| {
            format!("made for {}", whose(request).await).into_response()
        }))
        .build()
        .unwrap();
    let fails = service_fn(async |request: Request| {
        Ok::<_, Infallible>((StatusCode::BAD_GATEWAY, whose(request).await).into_response())
    });
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("ml_service"), chain))
        .service(fails);
    for (caller, (head, body)) in all_at_once(&stack, Method::GET).await.into_iter().enumerate() {
        let (is, source, freshness, age) = if caller % 2 == 0 {
            ("stored", "cached", "stale", Some("9"))
        } else {
            ("made", "replica", "degraded", None)
        };
        assert_eq!(body, format!("{is} for {caller}"));
        assert_eq!(header(&head, "x-fallback-source"), Some(source));
        assert_eq!(header(&head, "x-data-freshness"), Some(freshness));
        assert_eq!(header(&head, "age"), age);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failed_answer_that_was_kept_goes_back_to_the_caller_whose_it_is() {
    let chain = FallbackChain::builder("recommendations")
        .provider(Provider::from_fn(name!("replica"), async |request: Request| {
            whose(request).await;
            Err::<Response, _>("down as well")
        }))
        .build()
        .unwrap();
    let fails = service_fn(async |request: Request| {
        Ok::<_, Infallible>((StatusCode::INTERNAL_SERVER_ERROR, whose(request).await).into_response())
    });
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("ml_service"), chain))
        .layer(Standard::new(name!("ml_service")))
        .service(fails);
    let mut own = 0;
    for (caller, (head, body)) in all_at_once(&stack, Method::GET).await.into_iter().enumerate() {
        assert_eq!(header(&head, "x-fallback-source"), None);
        match head.status {
            StatusCode::INTERNAL_SERVER_ERROR => {
                assert_eq!(body, caller.to_string());
                own += 1;
            }
            // Callers who came after the circuit opened got the refusal, which contains no caller's data.
            status => assert_eq!((status, &*body), (StatusCode::SERVICE_UNAVAILABLE, "")),
        }
    }
    assert!(own >= 5, "the circuit opens at the fifth failure: {own}");
}

#[tokio::test]
async fn an_open_circuit_closes_nothing_but_its_own_routes() {
    let breaker = CircuitBreakerLayer::new(name!("ml_service"));
    let circuit = breaker.handle();
    let chain = FallbackChain::builder("recommendations")
        .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
        .build()
        .unwrap();
    let app = Router::new()
        .route("/refused", on_get(|| async { "just for you" }).layer(breaker.clone()))
        .route("/degraded", {
            let layers = ServiceBuilder::new().layer(FallbackLayer::new(name!("ml_service"), chain)).layer(breaker);
            on_get(|| async { "just for you" }).layer(layers)
        })
        .route("/ready", on_get(|| async { "ready" }))
        .layer(DegradationHeaderLayer::new());
    let server = Server::start(app).await;
    circuit.isolate();
    assert_eq!(circuit.state(), CircuitState::Isolated);
    for _ in 0..3 {
        assert_eq!(server.get("/refused").await.0.status, StatusCode::SERVICE_UNAVAILABLE);
        let (head, body) = server.get("/degraded").await;
        assert_eq!((head.status, &*body), (StatusCode::OK, "the usual"));
        let (head, body) = server.get("/ready").await;
        assert_eq!((head.status, &*body), (StatusCode::OK, "ready"));
        assert_eq!(header(&head, "x-data-freshness"), None);
    }
}
