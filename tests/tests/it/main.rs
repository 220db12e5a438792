//! The layers together.
//!
//! `hostile_input` is another binary, because it starts itself under valgrind, which counts its instructions.

mod axum_connections;
mod axum_surroundings;
mod browser;
mod bulkhead_composition;
mod bulkhead_sockets;
mod compiler_notes;
mod composition;
mod composition_labels;
mod composition_recovery;
mod composition_time;
mod deadline_bodies;
mod deadline_hurry;
mod deadline_travels;
mod degradation_travels;
mod fault_matrix;
mod functions_redis;
mod functions_sqlx;
mod grpc_web;
mod healing;
mod honesty;
mod hung_calls;
mod hyper_client;
mod last_known_good_chain;
mod last_known_good_isolation;
mod last_known_good_sockets;
mod last_known_values;
mod layers_alive;
mod many_callers;
mod polled_again;
mod problem_documents;
mod proof;
mod proof_stacks;
mod retry_http1;
mod retry_http2;
mod tonic_channel;
mod tonic_channel_shapes;
mod tonic_deadlines;
mod tonic_matrix;
mod tonic_server;
mod tonic_streams;
mod tower_readiness;
mod tower_surroundings;
mod unread_reports;
mod uploads;
