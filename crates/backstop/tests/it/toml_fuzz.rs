//! Files that are nearly right: none panics, each error says where, and a refused reload changes nothing.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a helper of a test may fail it, and say where")]

#[path = "../fuzz/stacks.rs"]
mod stacks;

use std::{fs, path::Path};

use backstop::Stacks;
use proptest::{collection::vec, prelude::*, sample::select, test_runner::Config};

/// `PROPTEST_CASES`, or 5,000.
fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(5_000);
    Config { cases, failure_persistence: None, ..Config::default() }
}

const TABLES: &[&str] = &["default", "ml", "users", "a b", "payments.eu"];

/// A value that may be wrong.
fn any_value() -> impl Strategy<Value = String> {
    let units = select(vec!["ns", "us", "ms", "s", "m", "h", "days", "years", "", "parsecs"]);
    prop_oneof![
        (0_u64..100, units).prop_map(|(number, unit)| format!("'{number}{unit}'")),
        any::<i64>().prop_map(|number| number.to_string()),
        (0..9_i64).prop_map(|number| number.to_string()),
        (-1.0..2.0_f64).prop_map(|number| format!("{number:?}")),
        any::<bool>().prop_map(|choice| choice.to_string()),
        select(vec!["[]", "{}", "inf", "nan", "''", "[[]]", "1979-05-27", "{ x = 1 }", "'18446744073709551615s'"])
            .prop_map(str::to_owned),
        "[ -~]{0,9}".prop_map(|text| format!("{text:?}")),
    ]
}

/// A document with some settings, most of them right.
fn document() -> impl Strategy<Value = String> {
    let value = (0..4_u8, any_value());
    let setting = (select(stacks::SETTINGS), value).prop_map(|((setting, right), (dice, wrong))| {
        format!("{setting} = {}\n", if dice > 0 { right.to_owned() } else { wrong })
    });
    let table =
        (select(TABLES), vec(setting, 0..5)).prop_map(|(name, settings)| format!("[{name:?}]\n{}", settings.concat()));
    vec(table, 0..4).prop_map(|tables| tables.concat())
}

/// A document in which some characters are replaced, removed or added.
fn mangled() -> impl Strategy<Value = String> {
    let change = (
        any::<prop::sample::Index>(),
        select(vec!["", "", "=", ".", "[", "]", "\"", "'", "\n", "{", "\u{0}", "é", "9"]),
    );
    (document(), vec((change, any::<bool>()), 0..4)).prop_map(|(text, changes)| {
        let mut text: Vec<char> = text.chars().collect();
        for ((at, new), replaces) in changes {
            let at = if text.is_empty() { 0 } else { at.index(text.len()) };
            let end = if replaces { (at + 1).min(text.len()) } else { at };
            drop(text.splice(at..end, new.chars()));
        }
        text.into_iter().collect()
    })
}

#[test]
fn every_file_of_the_corpus_is_right_or_says_where_it_is_wrong() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/stacks");
    let files: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        eprintln!("{}", file.display());
        stacks::holds_for(&fs::read(file).unwrap());
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_file_panics_and_every_error_says_where(text in prop_oneof![4 => document(), 2 => mangled(), 1 => any::<String>()]) {
        stacks::holds_for(text.as_bytes());
    }

    #[test]
    fn a_refused_reload_changes_nothing(text in document()) {
        let stacks = Stacks::from_toml("[ml]\n deadline = '9s'\n [users]").unwrap();
        let state = || ["ml", "users"].map(|name| format!("{:?}", stacks.handle(name).unwrap().config()));
        let (before, limit) = (state(), stacks.deadline_handle("ml").unwrap());
        match stacks.reload(&format!("{text}\n")) {
            Ok(()) => prop_assert_eq!(stacks.reload(&text), Ok(())),
            Err(error) => {
                prop_assert!(!error.path().is_empty() || toml::from_str::<toml::Table>(&text).is_err());
                prop_assert_eq!(state(), before);
                prop_assert_eq!(limit.limit().as_secs(), 9);
            }
        }
    }
}
