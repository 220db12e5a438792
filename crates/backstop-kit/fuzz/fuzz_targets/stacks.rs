//! A file that describes standard stacks.
#![no_main]

#[path = "../../../backstop/tests/fuzz/stacks.rs"]
mod stacks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| stacks::holds_for(input));
