//! What must hold whatever bytes a store returns: checked here on the corpus and on some random bytes, and by the harness of
//! `backstop-kit` on what it finds. CONTRIBUTING.md says how to run that.
#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a helper of a test may fail it, and say where"
)]

mod records;

use std::{fs, path::Path};

use proptest::prelude::*;

#[test]
fn records_in_the_corpus_hold_up_no_worker() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/records");
    let files: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        eprintln!("{}", file.display());
        records::holds_for(&fs::read(file).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_of_any_bytes_hold_up_no_worker(input in prop::collection::vec(any::<u8>(), 0..300)) {
        records::holds_for(&input);
    }

    #[test]
    fn changed_records_hold_up_no_worker(list in 4..8_u8, changes in prop::collection::vec((0..160_u8, any::<u8>()), 0..6), cut: bool) {
        let mut input = vec![list];
        input.extend(changes.into_iter().flat_map(|(at, by)| [at, by]));
        if cut {
            input.pop();
        }
        records::holds_for(&input);
    }
}
