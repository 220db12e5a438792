//! What the routes answer.

use std::io;

use axum::{
    Router,
    body::{Body, to_bytes},
};
use backstop_health::{Component, Health, HealthRoutes, Level, MemoryViewStore};
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::common::{Clock, running, secs};

async fn ask(routes: &HealthRoutes, path: &str) -> (StatusCode, HeaderMap, Value) {
    let router: Router = routes.clone().into();
    let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    assert_eq!(head.headers["cache-control"], "no-store");
    assert_eq!(head.headers["content-type"], "application/json");
    let body = to_bytes(body, 1_000_000).await.unwrap();
    (head.status, head.headers, serde_json::from_slice(&body).unwrap())
}

async fn status(health: &Health, path: &str) -> StatusCode {
    ask(&health.routes(), path).await.0
}

#[tokio::test(start_paused = true)]
async fn the_public_route_shows_the_status_alone_and_the_level_in_a_header() {
    let health = running([Component::essential("database"), Component::optional("search")]);
    health.report("search", Level::Critical, "secret", None).unwrap();
    let (status, headers, body) = ask(&health.routes(), "/health").await;
    assert_eq!((status, &headers["x-service-level"]), (StatusCode::OK, &"healthy".parse().unwrap()));
    assert_eq!(body, json!({"status": "critical"}));
}

#[tokio::test(start_paused = true)]
async fn the_details_follow_what_other_instances_share() {
    let store = MemoryViewStore::new();
    let [one, other] = ["one", "other"].map(|instance| {
        let health = running(["search", "view_store"].map(Component::optional));
        tokio::spawn(health.share("view_store", store.clone(), instance).unwrap());
        health
    });
    let clock = Clock::start();
    let routes = other.routes().with_details();
    for (second, level, status) in [(20.0, Level::Degraded, "degraded"), (40.0, Level::Healthy, "healthy")] {
        one.report("search", level, "", None).unwrap();
        clock.at(second).await;
        let (.., body) = ask(&routes, "/health").await;
        let components = json!({"search": status, "view_store": "healthy"});
        let expected = json!({"status": status, "level": "healthy", "ready": true, "components": components});
        assert_eq!(body["instances"], json!({"one": expected}));
    }
    drop(one);
    clock.at(80.0).await;
    assert_eq!(ask(&routes, "/health").await.2.get("instances"), None);
}

#[tokio::test(start_paused = true)]
async fn the_details_have_a_fixed_shape() {
    let health = running([Component::essential("database"), Component::optional("search")]);
    let clock = Clock::start();
    health.report("database", Level::Healthy, "", secs(86_400)).unwrap();
    health.report("search", Level::Degraded, "index is \"2 h\" old", secs(86_400)).unwrap();
    clock.at(10.0).await;
    let routes = health.routes().with_details();
    let (_, _, mut body) = ask(&routes, "/health").await;
    let time = |value: &mut Value| humantime::parse_rfc3339(value.take().as_str().unwrap()).unwrap();
    let now = time(&mut body["timestamp"]);
    assert!(now.elapsed().unwrap() < secs(60));
    for component in ["database", "search"] {
        let since = time(&mut body["components"][component]["since"]);
        assert_eq!(now.duration_since(since).unwrap().as_secs(), 10);
    }
    let expected = json!({
        "status": "degraded",
        "level": "healthy",
        "components": {
            "database": {"status": "healthy", "since": null, "essential": true, "message": null},
            "search": {"status": "degraded", "since": null, "essential": false, "message": "index is \"2 h\" old"},
        },
        "timestamp": null,
    });
    assert_eq!(body, expected);

    health.pin(Level::Degraded, secs(60), "ada", "load test").unwrap();
    let (_, _, mut body) = ask(&routes, "/health").await;
    let left = time(&mut body["pinned"]["until"]).duration_since(time(&mut body["timestamp"])).unwrap();
    assert_eq!(left, secs(60));
    assert_eq!(body["pinned"], json!({"level": "degraded", "until": null, "who": "ada", "reason": "load test"}));
    assert_eq!(body["level"], "degraded");
}

#[tokio::test(start_paused = true)]
async fn health_follows_the_level_and_readiness_and_liveness_do_not() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    for (second, level, expected) in
        [(0.0, Level::Healthy, 200), (20.0, Level::Degraded, 200), (40.0, Level::Critical, 503)]
    {
        clock.at(second).await;
        health.report("database", level, "", secs(86_400)).unwrap();
        clock.at(second + 15.0).await;
        assert_eq!((health.level(), status(&health, "/health").await.as_u16()), (level, expected));
        assert_eq!(status(&health, "/readyz").await, StatusCode::OK);
        assert_eq!(status(&health, "/livez").await, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn with_every_dependency_dead_it_is_ready_and_critical_only_where_one_has_no_fallback() {
    for (database, expected) in [
        (Component::essential("database").without_fallback(), StatusCode::SERVICE_UNAVAILABLE),
        (Component::essential("database"), StatusCode::OK),
        (Component::optional("database"), StatusCode::OK),
    ] {
        let health = running([database, Component::essential("ml"), Component::optional("search")]);
        let clock = Clock::start();
        for name in ["database", "ml", "search"] {
            let dead = || async { Err(io::Error::other("connection refused")) };
            tokio::spawn(health.probe(name, dead).unwrap());
        }
        // From the first results on, and for ever.
        for second in [0.1, 1.0, 10.0, 60.0, 3_600.0] {
            clock.at(second).await;
            assert_eq!(status(&health, "/readyz").await, StatusCode::OK, "{second}");
            assert_eq!(status(&health, "/livez").await, StatusCode::OK);
        }
        assert_eq!(status(&health, "/health").await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_not_ready_while_starting_for_ten_seconds_at_most() {
    let health = running([Component::essential("database")]);
    let clock = Clock::start();
    let (code, _, body) = ask(&health.routes(), "/readyz").await;
    assert_eq!((code, body), (StatusCode::SERVICE_UNAVAILABLE, json!({"status": "starting"})));
    clock.at(9.9).await;
    assert_eq!(status(&health, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    clock.at(10.0).await;
    assert_eq!(status(&health, "/readyz").await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn without_a_driver_a_service_gets_ready_too() {
    let health = Health::builder().component(Component::essential("database")).build().unwrap();
    assert_eq!(status(&health, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    tokio::time::advance(secs(10)).await;
    assert_eq!(status(&health, "/readyz").await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn what_must_be_loaded_first_holds_the_start() {
    let health = running([]);
    let clock = Clock::start();
    let flags = health.hold_start();
    drop(health.hold_start());
    clock.at(5.0).await;
    assert_eq!(status(&health, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    drop(flags);
    assert_eq!(status(&health, "/readyz").await, StatusCode::OK);
    // After ten seconds the service has started, whatever is still to be loaded.
    let second = health.hold_start();
    assert_eq!(status(&health, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    clock.at(10.0).await;
    assert_eq!(status(&health, "/readyz").await, StatusCode::OK);
    drop(second);
    let _late = health.hold_start();
    assert_eq!(status(&health, "/readyz").await, StatusCode::OK);
    // A service that runs doesn't start again, however long a start may take from now on.
    let mut config = health.config();
    config.start_within = secs(60);
    health.reload(config).unwrap();
    clock.at(11.0).await;
    assert_eq!(status(&health, "/readyz").await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_how_long_a_hold_may_last() {
    let health = running([]);
    let clock = Clock::start();
    let _flags = health.hold_start();
    let within = |time| {
        let mut config = health.config();
        config.start_within = time;
        health.reload(config).unwrap();
    };
    within(secs(20));
    clock.at(19.0).await;
    assert_eq!(status(&health, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    within(secs(5));
    assert_eq!(status(&health, "/readyz").await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn only_a_local_component_that_is_critical_takes_the_instance_away() {
    let health = running([Component::optional("disk").local(), Component::essential("database")]);
    let clock = Clock::start();
    let routes = health.routes().envoy_degraded();
    health.report("database", Level::Critical, "", secs(86_400)).unwrap();
    health.report("disk", Level::Degraded, "80 % full", secs(86_400)).unwrap();
    clock.at(20.0).await;
    let (code, headers, _) = ask(&routes, "/readyz").await;
    assert_eq!((code, &headers["x-envoy-degraded"]), (StatusCode::OK, &"true".parse().unwrap()));
    assert!(!ask(&health.routes(), "/readyz").await.1.contains_key("x-envoy-degraded"));
    health.report("disk", Level::Critical, "full", secs(86_400)).unwrap();
    clock.at(31.0).await;
    let (code, headers, body) = ask(&routes, "/readyz").await;
    assert_eq!((code, body), (StatusCode::SERVICE_UNAVAILABLE, json!({"status": "local-critical"})));
    assert!(!headers.contains_key("x-envoy-degraded"));
    health.report("disk", Level::Healthy, "", secs(86_400)).unwrap();
    clock.at(62.0).await;
    assert_eq!(status(&health, "/readyz").await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_failing_probe_of_its_own_disk_takes_the_instance_away_and_moves_no_level() {
    for (disk, expected) in [
        (Component::optional("disk").local().without_fallback(), (503, Level::Healthy)),
        (Component::optional("disk").local(), (200, Level::Healthy)),
        (Component::essential("disk").local(), (200, Level::Degraded)),
        (Component::essential("disk").without_fallback(), (200, Level::Critical)),
    ] {
        let description = format!("{disk:?}");
        let health = running([disk]);
        tokio::spawn(health.probe("disk", || async { Err(io::Error::other("read-only file system")) }).unwrap());
        Clock::start().at(60.0).await;
        assert_eq!((status(&health, "/readyz").await.as_u16(), health.level()), expected, "{description}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_details_are_those_of_now() {
    let health = running([Component::optional("search"), Component::optional("mail")]);
    let clock = Clock::start();
    let routes = health.routes().with_details();
    health.report("search", Level::Degraded, "slow", secs(10)).unwrap();
    let time = |value: &Value| humantime::parse_rfc3339(value.as_str().unwrap()).unwrap();
    for (second, expected, age) in
        [(1.0, "degraded", 1), (2.0, "degraded", 2), (10.5, "unknown", 0), (19.0, "healthy", 4)]
    {
        clock.at(second).await;
        let body = ask(&routes, "/health").await.2;
        let search = &body["components"]["search"];
        assert_eq!(search["status"], expected, "{second}");
        assert_eq!(time(&body["timestamp"]).duration_since(time(&search["since"])).unwrap().as_secs(), age, "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn head_is_answered_and_other_methods_are_not_allowed() {
    let health = running([]);
    let router: Router = health.routes().into();
    for (method, expected) in [(Method::HEAD, 200), (Method::POST, 405)] {
        let request = Request::builder().method(method).uri("/health").body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), expected);
        assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "");
    }
}

#[tokio::test(start_paused = true)]
async fn they_merge_into_a_router_with_a_state() {
    #[derive(Clone)]
    struct App;
    let health = running([]);
    let app: Router = Router::new().merge(health.routes()).with_state(App);
    let response = app.oneshot(Request::get("/livez").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
