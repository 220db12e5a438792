//! A gRPC server and a client that keeps answering while the server is down.
//!
//! [`client`] and [`server`] are for copying. [`outage`] starts two servers, takes them away, and prints what the client
//! gets.

pub mod client;
pub mod outage;
pub mod server;

/// The code that is generated from `proto/greeter.proto`. The README says how.
#[allow(
    missing_docs,
    missing_debug_implementations,
    rust_2018_idioms,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]
pub mod pb {
    include!("../proto/greeter.rs");
}
