//! What `cargo run -p greeter` prints.

use std::time::Duration;

use greeter::outage;

/// Where a reply comes from, and its two labels.
type Expected = (&'static str, &'static str, &'static str);

#[tokio::test]
async fn each_stage_of_the_outage_has_its_reply_its_labels_and_its_circuit() {
    let mut output = Vec::new();
    outage::run(Duration::from_millis(20), &mut output).await.unwrap();
    let output = String::from_utf8(output).unwrap();
    let stages: Vec<Vec<&str>> =
        output.trim().split("\n\n").map(|stage| stage.lines().skip(1).map(str::trim).collect()).collect();
    let [up, replica, canned, back] = &stages[..] else { panic!("{output}") };

    let from_primary: Expected = ("(from the primary)", "-", "-");
    for (stage, expected) in [
        (up, from_primary),
        (replica, ("(from the replica)", "replica", "fresh")),
        (canned, ("(from memory)", "static_greeting", "degraded")),
    ] {
        assert_eq!(stage.len(), 2, "{output}");
        stage.iter().for_each(|line| assert_shows(line, expected));
    }
    assert!(up.iter().all(|line| line.ends_with("circuit: closed")), "{output}");
    assert!(canned.iter().all(|line| line.ends_with("circuit: open")), "{output}");
    let [.., first_after_closing, last] = &back[..] else { panic!("{output}") };
    for line in [first_after_closing, last] {
        assert_shows(line, from_primary);
        assert!(line.ends_with("circuit: closed"), "{output}");
    }
}

fn assert_shows(line: &str, (from, source, freshness): Expected) {
    let shown: Vec<&str> = line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
    assert!(shown[0].ends_with(from), "{line}");
    assert_eq!(shown[1], format!("x-fallback-source: {source}"), "{line}");
    assert_eq!(shown[2], format!("x-data-freshness: {freshness}"), "{line}");
}
