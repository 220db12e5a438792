//! What the tests of the layers together share.

pub mod faults;
pub mod grpc;
pub mod http;
pub mod http1;
pub mod instructions;
pub mod strict;
pub mod upload;

/// The Rust code of the repository's README runs as this crate's doc test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
