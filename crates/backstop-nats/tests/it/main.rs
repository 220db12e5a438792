//! What must hold against a real NATS server.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the tests are the users, who spawn, and the helpers of a test may fail it"
)]

mod cluster;
mod common;
mod config;
mod contract;
mod crash;
mod deployment;
mod domain;
mod ended;
mod give_back;
mod interrupted;
mod outages;
