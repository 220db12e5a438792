//! Guides to Backstop, one page per task. All of their code runs as tests.
//!
//! | guide | for |
//! |---|---|
//! | [Ordering a stack](ordering) | which layer goes where, and why |
//! | [gRPC](grpc) | tonic servers and clients: statuses, streams, deadlines, metadata, gRPC-Web |
//! | [Side effects](side_effects) | `POST`, payments, gRPC: what is sent twice, and what never is |

#[doc = include_str!("guides/grpc.md")]
pub mod grpc {}

#[doc = include_str!("guides/ordering.md")]
pub mod ordering {}

#[doc = include_str!("guides/side_effects.md")]
pub mod side_effects {}
