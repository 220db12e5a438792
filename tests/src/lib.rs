//! Helpers for the tests of several layers together.

pub mod browser;
pub mod faults;
pub mod goaway;
pub mod greeter;
pub mod grpc;
pub mod http;
pub mod http1;
pub mod instructions;
pub mod strict;
pub mod upload;

/// Runs the Rust code of the repository's README as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;

/// Runs the code of the guide to databases. It needs clients that no published crate depends on.
#[cfg(doctest)]
#[doc = include_str!("../../crates/backstop/src/guides/functions_databases.md")]
#[derive(Debug)]
pub struct Databases;
