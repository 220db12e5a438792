//! What must hold whatever the bytes: checked here on the corpus and on some random bytes, and by the harness in `fuzz/` on
//! what it finds. CONTRIBUTING.md tells how to run that.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a helper of a test may fail it, and say where"
)]

mod replay;
mod retry_after;

use std::{fs, path::Path};

use proptest::prelude::*;

fn on_the_corpus(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let files: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        eprintln!("{}", file.display());
        target(&fs::read(file).unwrap());
    }
}

#[test]
fn retry_after_is_read_as_it_is_meant_or_not_at_all() {
    on_the_corpus("retry_after", retry_after::holds_for);
}

#[test]
fn a_body_is_replayed_whole_or_not_at_all() {
    on_the_corpus("replay", replay::holds_for);
}

proptest! {
    #[test]
    fn retry_after_is_read_whatever_the_bytes(input in prop::collection::vec(any::<u8>(), 0..80)) {
        retry_after::holds_for(&input);
    }

    #[test]
    fn numbers_are_read_whatever_their_length(input in "[ \t]{0,2}[0-9]{0,30}[ \t]{0,2}") {
        retry_after::holds_for(input.as_bytes());
    }

    #[test]
    fn a_body_is_replayed_whatever_it_does(
        cap in prop_oneof![0..200_u16, Just(u16::MAX)],
        acts in prop::collection::vec(any::<u8>(), 0..12),
        declares: bool,
        steps in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let length = acts.len() as u8 | if declares { 0 } else { 0x80 };
        replay::holds_for(&[&cap.to_le_bytes()[..], &[length], &acts, &steps].concat());
    }
}
