//! The page "Writing a layer" quotes the example as it is.

const GUIDE: &str = include_str!("../../../crates/backstop-kit/src/writing_a_layer.md");
const EXAMPLE: &str = include_str!("../src/lib.rs");

/// The lines without their indentation.
fn unindented(code: &str) -> String {
    code.lines().map(|line| format!("{}\n", line.trim())).collect()
}

#[test]
fn the_page_quotes_the_example_word_for_word() {
    let example = unindented(EXAMPLE);
    let quotes: Vec<_> = GUIDE.split("```ignore\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(quotes.len() > 5);
    for quote in quotes {
        assert!(example.contains(&unindented(quote)), "the example doesn't say:\n{quote}");
    }
}

#[test]
fn the_page_shows_the_examples_states() {
    for row in EXAMPLE.lines().filter_map(|line| line.strip_prefix("//! |")) {
        assert!(GUIDE.contains(row), "the page doesn't show: {row}");
    }
}

#[test]
fn the_example_is_short() {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    assert!(EXAMPLE.lines().filter(is_code).count() <= 200);
}
