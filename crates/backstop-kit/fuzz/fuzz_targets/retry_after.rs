//! `Retry-After`, in any spelling.
#![no_main]

#[path = "../../tests/fuzz/retry_after.rs"]
mod retry_after;

libfuzzer_sys::fuzz_target!(|input: &[u8]| retry_after::holds_for(input));
