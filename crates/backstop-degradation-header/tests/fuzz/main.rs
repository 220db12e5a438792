//! What must hold whatever an upstream sends: checked here on the corpus and on some random bytes, and by the harness of
//! `backstop-kit` on what it finds. CONTRIBUTING.md says how to run that.
#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a helper of a test may fail it, and say where")]

mod labels;

use std::{fs, path::Path};

use proptest::prelude::*;

#[test]
fn labels_in_the_corpus_are_read_honestly() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/labels");
    let files: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        eprintln!("{}", file.display());
        labels::holds_for(&fs::read(file).unwrap());
    }
}

proptest! {
    #[test]
    fn labels_are_read_honestly_whatever_the_bytes(input in prop::collection::vec(any::<u8>(), 0..200)) {
        labels::holds_for(&input);
    }

    #[test]
    fn labels_are_read_honestly_whatever_the_words(
        source in "([a-z*]{1,3}(/[a-z]{1,2}){0,4}(;[a-z]{1,2}(=[a-z0-9.\"?-]{1,4})?)?[ ,]{1,3}){0,20}",
        freshness in "(fresh|STALE|stale|degraded|old|,|;age=[0-9]{1,20}| ){0,4}",
        age in "[0-9, -]{0,22}",
    ) {
        labels::holds_for(format!("{source}\n{freshness}\n{age}").as_bytes());
    }
}
