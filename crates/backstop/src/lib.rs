//! Graceful degradation for HTTP and gRPC services, as tower layers
