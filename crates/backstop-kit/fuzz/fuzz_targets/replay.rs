//! A body, its copies and their readers, in any order.
#![no_main]

#[path = "../../tests/fuzz/replay.rs"]
mod replay;

libfuzzer_sys::fuzz_target!(|input: &[u8]| replay::holds_for(input));
