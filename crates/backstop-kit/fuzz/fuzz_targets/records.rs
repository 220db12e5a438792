//! Records of jobs, as a store returns them.
#![no_main]

#[path = "../../../backstop-deferred/tests/fuzz/records.rs"]
mod records;

libfuzzer_sys::fuzz_target!(|input: &[u8]| records::holds_for(input));
