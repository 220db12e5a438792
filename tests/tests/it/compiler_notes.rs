//! What the compiler says of stacks that don't fit: it names the cause and the cure.
//!
//! The stacks are compiled in a package of their own, whose `backstop` has only its default features.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

use std::{fs, path::Path, process::Command};

/// The package. It has the versions of this workspace's lock file.
const MANIFEST: &str = r#"
[package]
name = "misfits"
edition = "2024"

[dependencies]
backstop = { path = "BACKSTOP" }
http = "1"
tonic = { version = "0.14", default-features = false, features = ["channel"] }
tower = { version = "0.5", default-features = false, features = ["util"] }

[workspace]
"#;

/// The stacks, each with what the compiler must say of it.
const MISFITS: &[(&str, &str, &[&str])] = &[
    (
        "channel_without_the_feature",
        "use backstop::{name, standard};
        pub fn stack(channel: tonic::transport::Channel) {
            let stack = tower::ServiceBuilder::new().layer(standard(name!(\"greeter\"))).service(channel);
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
];

#[test]
fn a_stack_that_does_not_fit_is_told_what_would() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("misfits");
    fs::create_dir_all(package.join("src")).unwrap();
    let backstop = workspace.join("crates/backstop").canonicalize().unwrap();
    fs::write(package.join("Cargo.toml"), MANIFEST.replace("BACKSTOP", backstop.to_str().unwrap())).unwrap();
    fs::copy(workspace.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    for (name, code, expected) in MISFITS {
        fs::write(package.join("src/lib.rs"), code).unwrap();
        let cargo = Command::new(env!("CARGO"))
            .args(["check", "--offline", "--quiet"])
            .current_dir(&package)
            .env("CARGO_TARGET_DIR", package.join("target"))
            .env("CARGO_TERM_COLOR", "never")
            .output()
            .unwrap();
        let said = String::from_utf8(cargo.stderr).unwrap();
        assert!(!cargo.status.success(), "{name} compiles");
        for expected in *expected {
            assert!(said.contains(expected), "{name}: no {expected:?} in:\n{said}");
        }
    }
}
