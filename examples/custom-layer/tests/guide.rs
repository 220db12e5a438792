//! The page "Writing a layer" quotes the examples as they are.

const GUIDE: &str = include_str!("../../../crates/backstop-kit/src/writing_a_layer.md");
const HEDGE: &str = include_str!("../src/hedge.rs");
const RATE_LIMIT: &str = include_str!("../src/rate_limit.rs");
const BUCKET: &str = include_str!("../src/rate_limit/bucket.rs");

/// The lines without their indentation.
fn unindented(code: &str) -> String {
    code.lines().map(|line| format!("{}\n", line.trim())).collect()
}

fn lines_of_code(example: &str) -> usize {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    example.lines().filter(is_code).count()
}

#[test]
fn the_page_quotes_the_examples_word_for_word() {
    let quotes: Vec<_> =
        GUIDE.split("```ignore\n").skip(1).filter_map(|rest| rest.split("```").next()).map(unindented).collect();
    assert!(quotes.len() > 10);
    let examples = [HEDGE, RATE_LIMIT, BUCKET].map(unindented);
    for quote in quotes {
        assert!(examples.iter().any(|example| example.contains(&quote)), "no example says:\n{quote}");
    }
}

#[test]
fn the_page_shows_the_examples_states() {
    for row in
        [HEDGE, RATE_LIMIT].iter().flat_map(|example| example.lines()).filter_map(|line| line.strip_prefix("//! |"))
    {
        assert!(GUIDE.contains(row), "the page doesn't show: {row}");
    }
}

#[test]
fn the_examples_are_short() {
    assert!(lines_of_code(HEDGE) <= 200);
    assert!(lines_of_code(RATE_LIMIT) <= 100);
}
