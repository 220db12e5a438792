//! What must hold against a real Redis server, which is killed, paused, filled, demoted and fed with garbage.

mod answers;
mod common;
mod counts;
mod flags;
mod trouble;
mod views;
