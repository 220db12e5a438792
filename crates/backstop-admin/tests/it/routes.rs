//! The routes for operators.

mod actions;
mod common;
mod documented;
mod events;
mod fuzzed;
mod guard;
mod requests;
