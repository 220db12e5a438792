//! Guides to Backstop, one page per task. All of their code runs as tests.
//!
//! | guide | for |
//! |---|---|
//! | [gRPC](grpc) | tonic servers and clients: statuses, streams, deadlines, metadata, gRPC-Web |

#[doc = include_str!("guides/grpc.md")]
pub mod grpc {}
