//! Accepting jobs over HTTP, and their status.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    response::{IntoResponse, Response},
};
use backstop_core::{Level, scope};
use backstop_deferred::{
    DeferError, Deferred, HttpQueue, HttpQueueBuilder, JobId, JobState, MemoryJobStore, NotAccepted,
    store::{JobStore, List},
};
use backstop_fallback::{Drill, FallbackChain, FallbackLayer, Freshness, Provider, Rejection, name};
use backstop_kit::{client, proof::Entered};
use http::{Request, StatusCode, request::Parts};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::{BoxError, Layer, ServiceExt, service_fn};

use crate::common::{Breakable, Email, Fault, email, emails, secs, work};

async fn to_email(request: Request<Body>) -> Result<Email, BoxError> {
    Ok(email(std::str::from_utf8(&to_bytes(request.into_body(), 1_000).await?)?))
}

fn user(head: &Parts) -> Option<String> {
    Some(head.headers.get("x-user")?.to_str().ok()?.to_owned())
}

fn post(headers: &[(&str, &str)], to: &str) -> Request<Body> {
    let request = headers.iter().fold(Request::post("/emails"), |request, (name, value)| request.header(*name, *value));
    request.body(to.to_owned().into()).unwrap()
}

async fn accept(http: &HttpQueue<Email>, request: Request<Body>) -> Response {
    http.accept::<_, Body>(to_email).oneshot(request).await.into_response()
}

async fn json(response: Response) -> Value {
    serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap()
}

/// The status, and the reason of a problem document.
async fn problem(response: Response) -> (u16, String) {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let status = response.status().as_u16();
    let document = json(response).await;
    assert_eq!(document["status"], status);
    (status, document["reason"].as_str().unwrap().to_owned())
}

async fn pending(store: &impl JobStore) -> u64 {
    store.totals(List::Queued).await.unwrap().records
}

#[tokio::test(start_paused = true)]
async fn an_accepted_request_gets_202_and_where_to_ask() {
    let emails = emails(MemoryJobStore::new());
    let http = emails.http().without_keys().path("/api/jobs").message("It will be sent").build().unwrap();
    let response = accept(&http, post(&[("prefer", "wait=5, respond-async")], "ada")).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(response.headers()["preference-applied"], "respond-async");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["content-type"], "application/json");
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let body = json(response).await;
    let id = body["job_id"].as_str().unwrap();
    assert_eq!(body, json!({ "status": "queued", "job_id": id, "message": "It will be sent" }));
    assert_eq!(location, format!("/api/jobs/{id}"));
    assert_eq!(emails.state(id.parse().unwrap()).await.unwrap(), Some(JobState::Queued));
    assert!(!accept(&http, post(&[], "ada")).await.headers().contains_key("preference-applied"));
}

#[tokio::test(start_paused = true)]
async fn a_key_belongs_to_one_principal_and_one_request() {
    let store = MemoryJobStore::new();
    let emails = emails(store.clone());
    let required = emails.http().require_key(user).build().unwrap();
    let ada = [("x-user", "ada"), ("idempotency-key", "\"17\"")];
    let first = json(accept(&required, post(&ada, "ada")).await).await;
    let again = accept(&required, post(&ada, "ada")).await;
    assert_eq!((again.status(), json(again).await), (StatusCode::ACCEPTED, first.clone()));
    assert_eq!(problem(accept(&required, post(&ada, "bob")).await).await, (422, "key-reused".to_owned()));
    let bob = [("x-user", "bob"), ("idempotency-key", "\"17\"")];
    assert_ne!(json(accept(&required, post(&bob, "ada")).await).await, first, "another principal, another job");
    assert_eq!(pending(&store).await, 2);

    let bad: [(&[(&str, &str)], &str); 4] = [
        (&[("x-user", "ada")], "key-required"),
        (&[("x-user", "ada"), ("idempotency-key", "17")], "key-malformed"),
        (&[("x-user", "ada"), ("idempotency-key", "\"1\""), ("idempotency-key", "\"2\"")], "key-malformed"),
        (&[("idempotency-key", "\"17\"")], "key-without-principal"),
    ];
    for (headers, reason) in bad {
        assert_eq!(problem(accept(&required, post(headers, "ada")).await).await, (400, reason.to_owned()));
    }
    let optional = emails.http().accept_key(user).build().unwrap();
    assert_eq!(accept(&optional, post(&[("x-user", "ada")], "ada")).await.status(), StatusCode::ACCEPTED);
    assert_eq!(problem(accept(&optional, post(bad[1].0, "ada")).await).await.0, 400);
    assert_eq!(json(accept(&optional, post(&ada, "ada")).await).await, first);
    assert_eq!(pending(&store).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_gets_the_state_of_its_job() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_attempts(1).build().unwrap();
    let http = emails.http().require_key(user).build().unwrap();
    let post_of = |to: &str| post(&[("x-user", "ada"), ("idempotency-key", &format!("\"{to}\""))], to);
    for to in ["works", "fails"] {
        assert_eq!(json(accept(&http, post_of(to)).await).await["status"], "queued");
    }
    let _worker = work(&emails, async |job| if job.payload().to == "fails" { Err("down".into()) } else { Ok(()) });
    sleep(secs(5)).await;
    for (to, state) in [("works", "done"), ("fails", "failed")] {
        let response = accept(&http, post_of(to)).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let body = json(response).await;
        assert_eq!((&body["status"], &body["message"]), (&json!(state), &Value::Null));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_long_is_a_413() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_payload(20).build().unwrap();
    let http = emails.http().without_keys().build().unwrap();
    let too_long = accept(&http, post(&[], "somebody@example.com")).await;
    assert_eq!(problem(too_long).await, (413, "job-too-long".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn while_nobody_knows_a_repeat_with_the_same_key_is_safe() {
    let store = Breakable::default();
    let http = emails(store.clone()).http().accept_key(user).build().unwrap();
    let ada = [("x-user", "ada"), ("idempotency-key", "\"17\"")];
    for fault in [Fault::Refuses, Fault::Hangs, Fault::LosesAnswers] {
        store.set(fault);
        let response = accept(&http, post(&ada, "ada")).await;
        assert_eq!(response.headers()["retry-after"], "5");
        assert_eq!(problem(response).await, (503, "job-unknown".to_owned()));
        let unkeyed = accept(&http, post(&[], "carol")).await;
        assert!(!unkeyed.headers().contains_key("retry-after"), "a repeat might be another job");
    }
    store.set(Fault::None);
    // The first of each pair that lost its answer exists.
    assert_eq!(pending(&store).await, 2);
    assert_eq!(accept(&http, post(&ada, "ada")).await.status(), StatusCode::ACCEPTED);
    assert_eq!(pending(&store).await, 2);
}

/// A chain of the queue, and of a provider that must not be asked once the job may exist.
fn chain(http: &HttpQueue<Email>) -> FallbackChain<Request<Body>, Response> {
    FallbackChain::builder("emails")
        .total(secs(1))
        .provider(http.provider(name!("queue"), to_email))
        .provider(Provider::from_fn(name!("paper"), |_| async { Response::new(Body::from("printed")) }))
        .build()
        .unwrap()
}

/// A mail service that certainly does nothing.
fn refusing() -> impl tower::Service<Request<Body>, Response = Response, Error = BoxError, Future: Send> + Clone + Send
{
    client(service_fn(async |_| {
        Err::<Response, BoxError>(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into())
    }))
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_proves_that_no_job_exists_so_the_next_provider_is_asked_even_after_a_post() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_pending(1).build().unwrap();
    let http = emails.http().without_keys().build().unwrap();
    let layer = FallbackLayer::new(name!("mail_service"), chain(&http));
    let first = layer.layer(refusing()).oneshot(post(&[], "ada")).await.unwrap();
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    let degradation = first.extensions().get::<backstop_fallback::Degradation>().unwrap();
    assert_eq!((degradation.source().as_str(), degradation.freshness()), ("queue", Freshness::Degraded));
    let second = layer.layer(refusing()).oneshot(post(&[], "ada")).await.unwrap();
    assert_eq!(to_bytes(second.into_body(), 100).await.unwrap(), "printed");
    // On its own, it says when to come again.
    let full = accept(&http, post(&[], "ada")).await;
    assert_eq!(full.headers()["retry-after"], "5");
    assert_eq!(problem(full).await, (503, "queue-full".to_owned()));
    // A function that makes no job is no proof: it may have done anything.
    let failing = http.provider(name!("queue"), async |_: Request<Body>| Err::<Email, _>("no JSON"));
    let instead = FallbackChain::builder("emails")
        .provider(failing)
        .provider(Provider::from_fn(name!("paper"), async |_| Response::new(Body::from("printed"))));
    let layer = FallbackLayer::new(name!("mail_service"), instead.build().unwrap());
    assert!(layer.layer(refusing()).oneshot(post(&[], "ada")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_may_be_queued_is_done_by_nobody_else_not_even_at_the_chains_deadline() {
    let store = Breakable::default();
    let http = emails(store.clone()).http().without_keys().build().unwrap();
    // A `GET`, which any provider could answer again.
    let layer = FallbackLayer::new(name!("mail_service"), chain(&http));
    for fault in [Fault::Refuses, Fault::Hangs, Fault::LosesAnswers] {
        store.set(fault);
        let since = Instant::now();
        let request = Request::get("/emails").body(Body::from("ada")).unwrap();
        let response = layer.layer(refusing()).oneshot(request).await.unwrap();
        assert!(since.elapsed() < secs(1), "the store has 2 s");
        assert!(Rejection::in_response(&response).unwrap().outcome().ends_chain);
        assert_eq!(response.extensions().get::<backstop_fallback::Degradation>().unwrap().source().as_str(), "queue");
        assert_eq!(problem(response).await, (503, "job-unknown".to_owned()), "{fault:?}");
    }
    // Neither is it known in a handler that awaits the queue itself.
    let emails = emails(store.clone());
    let handlers = FallbackChain::<(), &str>::builder("emails")
        .provider(Provider::value(name!("queue"), move || {
            let deferred = emails.defer(&email("ada"));
            async { deferred.await.map(|_| "queued") }
        }))
        .provider(Provider::value(name!("paper"), async || "printed"));
    assert!(handlers.build().unwrap().execute(()).await.unwrap_err().rejection().outcome().ends_chain);
}

#[tokio::test(start_paused = true)]
async fn a_drill_accepts_no_job_and_makes_none() {
    let store = MemoryJobStore::new();
    let made = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&made);
    let http = emails(store.clone()).http().accept_key(user).build().unwrap();
    let queue = http.provider(name!("queue"), move |request| {
        counted.fetch_add(1, Relaxed);
        to_email(request)
    });
    let chain = FallbackChain::builder("emails").provider(queue).build().unwrap();
    let drill = Drill::new(|run| drop(tokio::spawn(run)), || Level::Healthy);
    let layer = FallbackLayer::new(name!("mail_service"), chain).with_drill(drill).unwrap();
    let asked = |key| Request::get("/emails").header("idempotency-key", key).body(Body::from("ada")).unwrap();
    // The second key is malformed, which is no proof that the queue works.
    for key in ["\"17\"", "17"] {
        let slow = service_fn(async |_| {
            sleep(secs(1)).await;
            Ok::<_, BoxError>(Response::new(Body::from("sent")))
        });
        layer.layer(slow).oneshot(asked(key)).await.unwrap();
        sleep(secs(60)).await;
    }
    assert_eq!((pending(&store).await, made.load(Relaxed)), (0, 0));
    assert_eq!(layer.handle().status().last_proven[0].1, None);
    // Nor does a drill of anything else that awaits the queue.
    let emails = emails(store.clone());
    let mut defer = emails.defer(&email("ada")).into_future();
    let refused = poll_fn(|cx| scope::shadow(|| defer.as_mut().poll(cx))).await.unwrap_err();
    assert!(matches!(refused, DeferError::NotAccepted(NotAccepted::Shadow)), "{refused}");
    assert_eq!(pending(&store).await, 0);
}

#[tokio::test(start_paused = true)]
async fn after_what_may_have_been_processed_only_jobs_that_find_out_are_queued() {
    let (send, check) = (MemoryJobStore::new(), MemoryJobStore::new());
    let sending = Deferred::<Email>::builder("emails", send.clone())
        .max_pending(1)
        .build()
        .unwrap()
        .http()
        .without_keys()
        .build()
        .unwrap()
        .provider(name!("send_later"), to_email);
    let checking = emails(check.clone()).http().without_keys().for_reconciliation().build().unwrap();
    let instead = FallbackChain::builder("emails")
        .provider(sending)
        .provider(checking.provider(name!("check_later"), to_email))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("mail_service"), instead);
    assert_eq!(layer.layer(refusing()).oneshot(post(&[], "ada")).await.unwrap().status(), StatusCode::ACCEPTED);
    assert_eq!((pending(&send).await, pending(&check).await), (1, 0));
    // The first queue is full, and there is nothing to find out.
    assert!(layer.layer(refusing()).oneshot(post(&[], "ada")).await.is_err());
    assert_eq!((pending(&send).await, pending(&check).await), (1, 0));
    let lost = service_fn(async |_| Ok::<_, BoxError>(StatusCode::INTERNAL_SERVER_ERROR.into_response()));
    assert_eq!(layer.layer(lost).oneshot(post(&[], "ada")).await.unwrap().status(), StatusCode::ACCEPTED);
    assert_eq!((pending(&send).await, pending(&check).await), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_function_that_calls_something_of_ours_takes_the_proof_away() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_pending(1).build().unwrap();
    emails.defer(&email("ada")).await.unwrap();
    let make = |_: Request<Body>| {
        _ = Entered::now();
        async { email("ada") }
    };
    let instead = FallbackChain::<Request<Body>, Response>::builder("emails")
        .provider(emails.http().without_keys().build().unwrap().provider(name!("queue"), make))
        .provider(Provider::from_fn(name!("paper"), |_| async { Response::new(Body::from("printed")) }))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("mail_service"), instead);
    assert!(layer.layer(refusing()).oneshot(post(&[], "ada")).await.is_err());
}

async fn get(routes: &Router, path: &str) -> Response {
    routes.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_job_is_shown_until_it_expires() {
    let store = Breakable::default();
    let emails =
        Deferred::<Email>::builder("emails", store.clone()).keep_done(secs(60)).max_attempts(1).build().unwrap();
    let routes: Router = emails.http().without_keys().build().unwrap().routes();
    let receipt = emails.defer(&email("ada")).await.unwrap();
    // The first one is due first.
    sleep(secs(1)).await;
    let failing = emails.defer(&email("fails")).await.unwrap();
    let path = format!("/jobs/{}", receipt.id);
    let expect = async |path: &str, status: &str| {
        let response = get(&routes, path).await;
        assert_eq!(
            (response.status(), &response.headers()["cache-control"]),
            (StatusCode::OK, &"no-store".parse().unwrap())
        );
        assert_eq!(json(response).await, json!({ "status": status, "job_id": &path["/jobs/".len()..] }));
    };
    expect(&path, "queued").await;
    let (_, worker) = work(&emails, async |job| {
        sleep(secs(2)).await;
        if job.payload().to == "fails" { Err("down".into()) } else { Ok(()) }
    });
    sleep(secs(1)).await;
    expect(&path, "running").await;
    sleep(secs(5)).await;
    expect(&path, "done").await;
    expect(&format!("/jobs/{}", failing.id), "failed").await;
    let head = Request::head(&path).body(Body::empty()).unwrap();
    let head = routes.clone().oneshot(head).await.unwrap();
    assert_eq!((head.status(), &head.headers()["cache-control"]), (StatusCode::OK, &"no-store".parse().unwrap()));
    assert!(to_bytes(head.into_body(), 100).await.unwrap().is_empty());
    let posted = routes.clone().oneshot(Request::post(&path).body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(
        (posted.status(), &posted.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET,HEAD".parse().unwrap())
    );

    for fault in [Fault::Refuses, Fault::Hangs] {
        store.set(fault);
        let away = get(&routes, &path).await;
        assert_eq!(away.headers()["retry-after"], "5");
        assert_eq!(problem(away).await, (503, "store-failed".to_owned()));
        store.set(Fault::None);
    }
    // Nobody removes it, but its time is over.
    worker.abort();
    sleep(secs(60)).await;
    assert_eq!(problem(get(&routes, &path).await).await.0, 404);
}

fn limited(queue: HttpQueueBuilder<Email>) -> HttpQueue<Email> {
    queue.visible_to(user).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_job_that_belongs_to_another_looks_like_one_that_does_not_exist() {
    let emails = emails(MemoryJobStore::new());
    let http = limited(emails.http().without_keys());
    let routes: Router = http.routes();
    let mine =
        accept(&http, post(&[("x-user", "ada")], "ada")).await.headers()["location"].to_str().unwrap().to_owned();
    let nobodys = format!("/jobs/{}", emails.defer(&email("ada")).await.unwrap().id);
    let owned = format!("/jobs/{}", emails.defer(&email("ada")).owner("ada").await.unwrap().id);
    let ask = async |path: &str, as_user: Option<&str>| {
        let request = Request::get(path);
        let request = as_user.iter().fold(request, |request, name| request.header("x-user", *name));
        let response = routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        (head.status, head.headers, to_bytes(body, 1_000).await.unwrap())
    };
    for path in [&mine, &owned] {
        assert_eq!(ask(path, Some("ada")).await.0, StatusCode::OK);
    }
    let unknown = ask(&format!("/jobs/{}", JobId::from_bytes([0; 16])), Some("ada")).await;
    assert_eq!(unknown.0, StatusCode::NOT_FOUND);
    for (path, user) in
        [(&mine, Some("bob")), (&mine, None), (&nobodys, Some("ada")), (&nobodys, None), (&owned, Some("bob"))]
    {
        assert_eq!(ask(path, user).await, unknown, "{path} {user:?}");
    }
    assert_eq!(ask("/jobs/17", Some("ada")).await, unknown);
}

#[test]
fn what_becomes_of_keys_must_be_said() {
    let error = emails(MemoryJobStore::new()).http().build().unwrap_err();
    assert_eq!((&*error.field, &*error.value), ("keys", "not set"));
    assert!(emails(MemoryJobStore::new()).http().accept_key(user).build().is_ok());
}

#[test]
fn a_path_that_no_router_takes_is_refused() {
    for path in ["", "jobs", "/", "/jobs/", "//jobs", "/{id}", "/*jobs", "/jöbs", "/jobs?x"] {
        let error = emails(MemoryJobStore::new()).http().without_keys().path(path).build().unwrap_err();
        assert_eq!((&*error.field, &*error.value), ("path", path));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_in_place_of_an_id_is_a_404(id in prop_oneof!["[!-~]{1,40}", "[0-9a-fA-F]{31,33}", "(%[0-9a-f]{2}){1,40}"]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let encoded: String = id.replace(['/', '?', '#', '"', '<', '>', '\\', '^', '`', '{', '}', '|'], "_");
        let response = runtime.block_on(async {
            let routes: Router = emails(MemoryJobStore::new()).http().without_keys().build().unwrap().routes();
            get(&routes, &format!("/jobs/{encoded}")).await
        });
        prop_assert_eq!(response.status(), StatusCode::NOT_FOUND);
        prop_assert_eq!(&response.headers()["content-type"], "application/problem+json");
    }
}
