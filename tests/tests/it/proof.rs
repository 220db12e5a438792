//! Which stacks are believed when they say that a request was certainly not processed: each row of the table in
//! `backstop::kit::proof`, and payments that must not be made twice.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    middleware,
    response::{IntoResponse, Response},
    routing::post_service,
};
use backstop::{
    BulkheadLayer, CircuitBreakerLayer, DegradationHeaderLayer, FallbackChain, FallbackLayer, Provider, RetryLayer,
    TimeoutLayer, client, name, opaque,
};
use backstop_tests::http::{Does, Nobody, Upstream, client as http_client};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, service_fn, util::BoxCloneSyncService,
};

type Req = Request<Body>;
type Boxed = BoxCloneSyncService<Req, Response, BoxError>;

fn post() -> Req {
    Request::post("/").body(Body::from("999")).unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

/// Counts how often a card was charged.
#[derive(Clone, Default)]
struct Card(Arc<AtomicU32>);

impl Card {
    fn charge(&self) {
        self.0.fetch_add(1, SeqCst);
    }

    fn charges(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

/// A fallback that asks its provider only if the request was certainly not processed.
fn fall_back() -> FallbackLayer<Req, Response> {
    let other = Provider::from_fn(name!("other"), |_: Req| async { Response::new(Body::from("other")) });
    FallbackLayer::new(name!("primary"), FallbackChain::builder("chain").provider(other).build().unwrap())
}

async fn is_believed<S>(stack: S) -> bool
where
    S: Service<Req, Response = Response> + Clone,
    S::Error: 'static,
{
    match fall_back().layer(stack).oneshot(post()).await {
        Ok(response) => text(response).await == "other",
        Err(_) => false,
    }
}

async fn refused(_: Req) -> Result<Response, BoxError> {
    Err(io::Error::from(io::ErrorKind::ConnectionRefused).into())
}

/// A circuit that is open.
fn open() -> CircuitBreakerLayer {
    let layer = CircuitBreakerLayer::new(name!("acquirer"));
    layer.handle().isolate();
    layer
}

/// A client's stack that refuses all requests.
fn refusing() -> Boxed {
    BoxCloneSyncService::new(ServiceBuilder::new().layer(open()).service(client(service_fn(refused))))
}

/// A client's stack that nobody answers.
fn unreachable() -> Boxed {
    BoxCloneSyncService::new(client(service_fn(refused)))
}

fn both() -> [Boxed; 2] {
    [refusing(), unreachable()]
}

fn retry() -> RetryLayer {
    RetryLayer::builder("acquirer").backoff_base(Duration::from_millis(1)).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_stack_is_believed_through_every_layer_of_ours() {
    for inner in both() {
        let stack = ServiceBuilder::new()
            .layer(DegradationHeaderLayer::new())
            .layer(retry())
            .layer(CircuitBreakerLayer::new(name!("acquirer")))
            .layer(BulkheadLayer::new(name!("acquirer")))
            .layer(TimeoutLayer::new(name!("acquirer")))
            .service(inner);
        assert!(is_believed(stack).await);
    }
    assert!(is_believed(backstop::Standard::new(name!("acquirer")).layer(service_fn(refused))).await);
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_is_believed() {
    let full = BulkheadLayer::builder("acquirer").max_concurrent(1).max_waiting(0).build().unwrap();
    let stack = full.layer(service_fn(|_: Req| std::future::pending::<Result<Response, Infallible>>()));
    let mut first = tokio_test::task::spawn(stack.clone().oneshot(post()));
    tokio_test::assert_pending!(first.poll());
    assert!(is_believed(stack).await);
}

#[tokio::test]
async fn an_error_is_not_believed_without_the_mark_that_it_is_a_clients() {
    assert!(!is_believed(service_fn(refused)).await);
}

#[tokio::test]
async fn synchronous_middleware_and_boxes_are_believed() {
    for inner in both() {
        let stack = ServiceBuilder::new()
            .map_request(|request: Req| request)
            .map_response(|response: Response| response)
            .map_err(|error: BoxError| error)
            .concurrency_limit(1)
            .service(inner);
        assert!(is_believed(opaque::<_, Req>(stack)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_believed_if_none_of_its_attempts_was_processed() {
    let script = |answers: [u16; 3]| {
        let calls = Arc::new(AtomicU32::new(0));
        client(service_fn(move |_: Req| {
            let answer = answers[calls.fetch_add(1, SeqCst) as usize % 3];
            async move {
                if answer == 0 {
                    return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
                }
                Ok(Response::builder().status(answer).body(Body::empty()).unwrap())
            }
        }))
    };
    assert!(is_believed(retry().layer(script([0, 0, 0]))).await);
    assert!(!is_believed(retry().layer(script([0, 0, 503]))).await);
    assert!(!is_believed(retry().layer(script([0, 503, 0]))).await);
}

#[tokio::test]
async fn a_provider_that_is_a_service_is_believed_and_a_function_is_not() {
    for (provider, expected) in [
        (Provider::service(name!("second"), unreachable()), true),
        (Provider::service(name!("second"), refusing()), true),
        (Provider::from_fn(name!("second"), |request| refusing().oneshot(request)), false),
    ] {
        let chain = FallbackChain::builder("inner").provider(provider).build().unwrap();
        let stack = FallbackLayer::new(name!("first"), chain).layer(unreachable());
        assert_eq!(is_believed(stack).await, expected);
    }
}

#[tokio::test]
async fn a_buffer_between_is_not_believed() {
    for inner in both() {
        assert!(!is_believed(ServiceBuilder::new().layer(BufferLayer::new(1)).service(inner)).await);
    }
}

#[tokio::test]
async fn a_handler_with_a_stack_of_its_own_is_not_believed() {
    for inner in both() {
        assert!(!is_believed(service_fn(move |request: Req| inner.clone().oneshot(request))).await);
    }
}

#[tokio::test]
async fn a_service_of_two_steps_is_not_believed() {
    let charge = || {
        ServiceBuilder::new()
            .layer(TimeoutLayer::new(name!("a")))
            .service_fn(|_: Req| async { Ok::<_, BoxError>(Response::new(Body::empty())) })
    };
    for inner in both() {
        let (second, last) = (inner.clone(), inner.clone());
        let in_turn = service_fn(move |request: Req| {
            let second = second.clone();
            async move {
                charge().oneshot(post()).await?;
                second.oneshot(request).await
            }
        });
        assert!(!is_believed(in_turn).await);
        let at_once = service_fn(move |request: Req| {
            let (first, second) = (charge().call(post()), inner.clone().call(request));
            async {
                first.await?;
                second.await
            }
        });
        assert!(!is_believed(at_once).await);
        // Only the second service is called at once. The first one isn't ours, and is pending for a while.
        let in_turn = service_fn(move |request: Req| {
            let second = last.clone().call(request);
            async {
                tokio::task::yield_now().await;
                second.await
            }
        });
        assert!(!is_believed(in_turn).await);
    }
}

#[tokio::test]
async fn a_spawned_task_is_not_believed() {
    for inner in both() {
        let stack = service_fn(move |request: Req| {
            let call = inner.clone().call(request);
            async {
                let mut tasks = JoinSet::new();
                tasks.spawn(call);
                tasks.join_next().await.unwrap().unwrap()
            }
        });
        assert!(!is_believed(stack).await);
    }
}

async fn asked(app: Router) -> String {
    text(app.oneshot(post()).await.unwrap()).await
}

#[tokio::test]
async fn layers_of_one_service_builder_are_believed_and_those_of_separate_calls_and_beyond_from_fn_are_not() {
    async fn pass(request: Req, next: middleware::Next) -> Response {
        next.run(request).await
    }
    let handler = || {
        Router::new().route(
            "/",
            post_service(service_fn(|_: Req| async { Ok::<_, Infallible>(Response::new(Body::from("asked"))) })),
        )
    };
    let together = handler().layer(ServiceBuilder::new().layer(fall_back()).layer(open()));
    assert_eq!(asked(together).await, "other");
    assert_eq!(asked(handler().layer(open()).layer(fall_back())).await, "");
    let between = ServiceBuilder::new().layer(fall_back()).layer(middleware::from_fn(pass)).layer(open());
    assert_eq!(asked(handler().layer(between)).await, "");
}

/// Charges a card at `acquirer`, over a socket, then calls a second service, and returns its answer.
fn two_steps(
    acquirer: std::net::SocketAddr,
    second: Boxed,
) -> impl Service<Req, Response = Response, Error = BoxError, Future: Send> + Clone {
    let acquirer = http_client(acquirer);
    service_fn(move |request: Req| {
        let (acquirer, second) = (acquirer.clone(), second.clone());
        async move {
            acquirer.oneshot(post()).await?;
            second.oneshot(request).await
        }
    })
}

#[tokio::test]
async fn a_card_is_charged_once_though_what_comes_after_it_is_refused() {
    let nobody = || {
        let address = Nobody::new();
        let stack = client(http_client(address.address()).map_err(BoxError::from));
        (address, BoxCloneSyncService::new(stack))
    };
    for is_open in [true, false] {
        let upstream = Upstream::start(Does::Well).await;
        let (_port, second) = nobody();
        let second = if is_open { refusing() } else { second };
        let other = {
            let acquirer = http_client(upstream.address());
            Provider::from_fn(name!("other"), move |request: Req| acquirer.clone().oneshot(request))
        };
        let chain = FallbackChain::builder("payments").provider(other).build().unwrap();
        let stack = ServiceBuilder::new()
            .layer(FallbackLayer::new(name!("primary"), chain))
            .layer(retry())
            .service(two_steps(upstream.address(), second));
        _ = stack.oneshot(post()).await;
        assert_eq!(upstream.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_charges_and_passes_a_refusal_on_charges_once() {
    for inner in both() {
        let card = Card::default();
        let charging = {
            let card = card.clone();
            service_fn(move |request: Req| {
                let (card, inner) = (card.clone(), inner.clone());
                async move {
                    card.charge();
                    inner.oneshot(request).await
                }
            })
        };
        let again = {
            let card = card.clone();
            Provider::from_fn(name!("again"), move |_: Req| {
                card.charge();
                async { StatusCode::OK.into_response() }
            })
        };
        let chain = FallbackChain::builder("payments").provider(again).build().unwrap();
        let layers = ServiceBuilder::new().layer(FallbackLayer::new(name!("primary"), chain)).layer(retry());
        _ = layers.service(charging).oneshot(post()).await;
        assert_eq!(card.charges(), 1);
    }
}
