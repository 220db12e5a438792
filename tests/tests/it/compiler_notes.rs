//! What the compiler says of newcomers' mistakes: it names the cause and the cure. Where it has only words of its own, the
//! README has the cure.
//!
//! The stacks are compiled in a package of their own, whose `backstop` has only its default features.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The package. It has the versions of this workspace's lock file.
const MANIFEST: &str = r#"
[package]
name = "misfits"
edition = "2024"

[dependencies]
backstop = { path = "BACKSTOP" }
backstop-test = { path = "BACKSTOP-test" }
http = "1"
hyper = { version = "1", default-features = false }
hyper-util = { version = "0.1", default-features = false, features = ["client-legacy", "http1", "tokio"] }
tokio = { version = "1", default-features = false, features = ["rt"] }
tonic = { version = "0.14", default-features = false, features = ["channel"] }
tower = { version = "0.5", default-features = false, features = ["util"] }

[workspace]
"#;

/// The stacks, each with what the compiler must say of it.
const MISFITS: &[(&str, &str, &[&str])] = &[
    (
        "channel_without_the_feature",
        "use backstop::{Standard, name};
        pub fn stack(channel: tonic::transport::Channel) {
            let stack = tower::ServiceBuilder::new().layer(Standard::new(name!(\"greeter\"))).service(channel);
            _ = backstop::opaque::<_, http::Request<tonic::body::Body>>(stack);
        }",
        &[
            "enable Backstop's feature `axum`, `tonic`, or `tonic-transport` around a `Channel`",
            "(feature `tonic`, around a `Channel` `tonic-transport`)",
        ],
    ),
    (
        "interceptor_inside",
        "use backstop::{CircuitBreakerLayer, name};
        pub fn stack(channel: tonic::transport::Channel) {
            let passes = |request: tonic::Request<()>| Ok(request);
            let stack = tower::ServiceBuilder::new()
                .layer(CircuitBreakerLayer::new(name!(\"greeter\")))
                .layer(tonic::service::InterceptorLayer::new(passes))
                .service(channel);
            _ = backstop::opaque::<_, http::Request<tonic::body::Body>>(stack);
        }",
        &["for tonic's `InterceptorLayer`, put it outside of this layer", "response.map(tonic::body::Body::new)"],
    ),
    (
        "hyper_client_without_the_feature",
        "use backstop::{CircuitBreakerLayer, name};
        use hyper_util::client::legacy::{Client, connect::HttpConnector};
        pub fn stack(client: Client<HttpConnector, String>) {
            let stack = tower::ServiceBuilder::new().layer(CircuitBreakerLayer::new(name!(\"prices\"))).service(client);
            _ = backstop::opaque::<_, http::Request<String>>(stack);
        }",
        &["for `hyper::body::Incoming`, enable Backstop's feature `hyper-util` and put `backstop::http_client(…)` around the client"],
    ),
    (
        "a_body_that_can_not_be_replayed",
        "use backstop::{RetryLayer, name};
        pub struct Mine;
        async fn price(_: http::Request<Mine>) -> Result<http::Response<()>, std::convert::Infallible> { unimplemented!() }
        pub fn stack() {
            let stack = tower::ServiceBuilder::new().layer(RetryLayer::new(name!(\"prices\"))).service(tower::service_fn(price));
            _ = backstop::opaque::<_, http::Request<Mine>>(stack);
        }",
        &[
            "this layer can't copy `http::Request<Mine>`",
            "where `B` implements `ReplayableBody`",
            "map other bodies above the layer, for example to `ClientBody`",
        ],
    ),
    (
        "a_response_without_default",
        "use backstop::{CircuitBreakerLayer, name};
        pub struct Price;
        async fn price(_: http::Request<()>) -> Result<http::Response<Price>, std::convert::Infallible> { unimplemented!() }
        pub fn stack() {
            let stack =
                tower::ServiceBuilder::new().layer(CircuitBreakerLayer::new(name!(\"prices\"))).service(tower::service_fn(price));
            _ = backstop::opaque::<_, http::Request<()>>(stack);
        }",
        &[
            "this layer can't make a response of its own for this service",
            "by default a layer answers with an `http::Response` whose body has a `Default`",
            ".reject_with(|rejection| …)",
        ],
    ),
    (
        "a_function_without_plain",
        "use backstop::{CircuitBreakerLayer, name};
        async fn price(_: u32) -> Result<u32, tower::BoxError> { unimplemented!() }
        pub fn stack() {
            let stack =
                tower::ServiceBuilder::new().layer(CircuitBreakerLayer::new(name!(\"prices\"))).service(tower::service_fn(price));
            _ = backstop::opaque::<_, u32>(stack);
        }",
        &["for functions and other services choose `.plain()`"],
    ),
    (
        "a_plain_fallback_for_requests_without_clone",
        "use backstop::{FallbackChain, FallbackLayer, Provider, name};
        pub struct Item;
        async fn price(_: Item) -> Result<u32, tower::BoxError> { unimplemented!() }
        pub fn stack(chain: FallbackChain<Item, u32>) {
            let layer = FallbackLayer::builder(name!(\"live\"), chain).plain().build().unwrap();
            _ = backstop::opaque::<_, Item>(tower::ServiceBuilder::new().layer(layer).service(tower::service_fn(price)));
        }",
        &["this layer can't copy `Item`", "a layer with `.clone_requests()` or `.plain()` copies requests that are `Clone`"],
    ),
    (
        "a_provider_that_returns_another_type",
        "use backstop::{Provider, name};
        pub fn provider() { _ = Provider::<u32, String>::value(name!(\"list\"), || async { 9 }); }",
        &["a provider of `String` can't return", "it returns `String`, `Answer<String>`, or a `Result` of either"],
    ),
];

/// Mistakes of which the compiler has only words of its own: the code, those words, and the cure. The README has both.
const IN_THE_README: &[(&str, &str, &str, &str)] = &[
    (
        "oneshot",
        "use backstop::{CircuitBreakerLayer, name};
        use tower::ServiceExt;
        async fn price(_: u32) -> Result<u32, tower::BoxError> { unimplemented!() }
        pub async fn call() {
            let stack =
                tower::ServiceBuilder::new().layer(CircuitBreakerLayer::new(name!(\"prices\"))).service(tower::service_fn(price));
            _ = stack.oneshot(7).await;
        }",
        "its trait bounds were not satisfied",
        "backstop::opaque::<_, Request<Body>>(stack)",
    ),
    (
        "a_boxed_error_in_a_task",
        "use backstop::{CircuitBreakerLayer, name};
        use tower::{BoxError, ServiceExt};
        async fn price(_: http::Request<()>) -> Result<http::Response<()>, std::io::Error> { unimplemented!() }
        pub fn call() {
            let stack = tower::ServiceBuilder::new()
                .layer(CircuitBreakerLayer::new(name!(\"prices\")))
                .map_err(BoxError::from)
                .service(tower::service_fn(price));
            tokio::spawn(async move { _ = stack.oneshot(http::Request::default()).await });
        }",
        "higher-ranked lifetime error",
        "keep the stack as `backstop::opaque(stack)`",
    ),
    (
        "text_for_a_name",
        "pub fn layer() -> backstop::CircuitBreakerLayer { backstop::CircuitBreakerLayer::new(\"prices\") }",
        "expected `Name`, found `&str`",
        "write `name!(\"prices\")`, which is checked at compile time, or take the layer's `builder(\"prices\")`",
    ),
    (
        "a_client_without_clone",
        "use backstop::{RetryLayer, name};
        type Client = tower::util::BoxService<http::Request<()>, http::Response<()>, tower::BoxError>;
        pub fn stack(client: Client) {
            let stack = tower::ServiceBuilder::new().layer(RetryLayer::new(name!(\"prices\"))).service(client);
            _ = backstop::opaque::<_, http::Request<()>>(stack);
        }",
        "the trait `Clone` is not implemented",
        "box it as a `BoxCloneSyncService` instead",
    ),
    (
        "two_providers_of_different_types",
        "use backstop::{FallbackChain, Provider, name};
        pub fn chain() {
            _ = FallbackChain::builder(\"prices\")
                .provider(Provider::from_fn(name!(\"live\"), |item: u32| async move { item.to_string() }))
                .provider(Provider::value(name!(\"list\"), || async { \"9.50\" }))
                .build();
        }",
        "mismatched types",
        "let all providers of a chain return the same type",
    ),
    (
        "a_script_without_an_error",
        "use backstop_test::{Scripted, Step};
        pub fn upstream() -> impl tower::Service<http::Request<String>, Response = http::Response<String>> {
            Scripted::steps([Step::status(503), Step::status(200)])
        }",
        "type annotations needed",
        "`let upstream: Scripted<_, _> = Scripted::steps([…])`",
    ),
];

/// The README's cure of `a_boxed_error_in_a_task`.
const CURED: &str = "use backstop::{CircuitBreakerLayer, name};
    use tower::{BoxError, ServiceExt};
    async fn price(_: http::Request<()>) -> Result<http::Response<()>, std::io::Error> { unimplemented!() }
    pub fn call() {
        let stack = backstop::opaque(
            tower::ServiceBuilder::new()
                .layer(CircuitBreakerLayer::new(name!(\"prices\")))
                .map_err(BoxError::from)
                .service(tower::service_fn(price)),
        );
        tokio::spawn(async move { _ = stack.oneshot(http::Request::default()).await });
    }";

#[test]
fn a_newcomers_mistake_is_told_what_would_fit() {
    let package = Package::new();
    for (name, code, expected) in MISFITS {
        let said = package.check(code).expect_err(name);
        for expected in *expected {
            assert!(said.contains(expected), "{name}: no {expected:?} in:\n{said}");
        }
    }
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    for (name, code, words, cure) in IN_THE_README {
        let said = package.check(code).expect_err(name);
        assert!(said.contains(words), "{name}: no {words:?} in:\n{said}");
        let row = readme.lines().find(|line| line.starts_with("| \"") && line.contains(words));
        assert!(row.is_some_and(|row| row.contains(cure)), "{name}: the README has no {cure:?} for {words:?}");
    }
    package.check(CURED).unwrap();
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The package of the misfits. One test owns it.
struct Package(PathBuf);

impl Package {
    fn new() -> Self {
        let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("misfits");
        fs::create_dir_all(package.join("src")).unwrap();
        let backstop = workspace().join("crates/backstop").canonicalize().unwrap();
        fs::write(package.join("Cargo.toml"), MANIFEST.replace("BACKSTOP", backstop.to_str().unwrap())).unwrap();
        fs::copy(workspace().join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
        Self(package)
    }

    /// Compiles this as the package's library. The error is what the compiler says.
    fn check(&self, code: &str) -> Result<(), String> {
        fs::write(self.0.join("src/lib.rs"), code).unwrap();
        let cargo = Command::new(env!("CARGO"))
            .args(["check", "--offline", "--quiet"])
            .current_dir(&self.0)
            .env("CARGO_TARGET_DIR", self.0.join("target"))
            .env("CARGO_TERM_COLOR", "never")
            .output()
            .unwrap();
        let said = String::from_utf8(cargo.stderr).unwrap();
        if cargo.status.success() { Ok(()) } else { Err(said) }
    }
}
