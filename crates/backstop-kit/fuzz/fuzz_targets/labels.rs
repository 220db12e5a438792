//! An upstream's labels.
#![no_main]

#[path = "../../../backstop-degradation-header/tests/fuzz/labels.rs"]
mod labels;

libfuzzer_sys::fuzz_target!(|input: &[u8]| labels::holds_for(input));
