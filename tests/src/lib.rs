//! What the tests of the layers together share.

pub mod grpc;
