//! What must hold against a real Redis server, which is killed, paused, filled, demoted and fed with garbage.

#![cfg(all(feature = "features", feature = "health", feature = "last-known-good"))]

mod answers;
mod answers_outages;
mod answers_restart;
mod common;
mod config;
mod connection;
mod counts;
mod flags;
mod load;
mod outages;
mod processes;
mod random_counts;
mod rights;
mod views;
