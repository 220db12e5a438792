//! The answers have exactly the fields that the crate's documentation lists.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::common::{Local, Part};

/// The fields in the row of the documentation that begins with this cell.
fn documented(row: &str) -> BTreeSet<String> {
    // The table of answers.
    let docs = include_str!("../../../src/routes.md");
    let start = format!("| {row} | ");
    let (_, docs) = docs.split_once("## Answers").unwrap();
    let rest = docs.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no row {row}"));
    let cell = rest.split(" | ").next().unwrap().trim_end_matches(" |");
    // Every second part is between backticks.
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn fields(of: &Json) -> BTreeSet<String> {
    of.as_object().unwrap_or_else(|| panic!("{of}")).keys().cloned().collect()
}

#[tokio::test]
async fn the_documented_fields_are_what_is_sent() {
    let part = Part::new("circuit-breaker", "ml");
    let admin = Local::new(&[&part]);
    let acted = admin.post("/circuits/ml", json!({ "operation": "isolate", "reason": "a test" })).await.ok();
    assert_eq!(fields(&acted), documented("`POST /{collection}/{name}`"));
    let component = admin.get("/circuits/ml").await.ok();
    assert_eq!(fields(&component), documented("a component"));
    assert_eq!(fields(&acted["component"]), documented("a component"));
    assert_eq!(fields(&component["operations"][0]), documented("an operation"));
    let actions = admin.get("/actions").await.ok();
    assert_eq!(fields(&actions), documented("`GET /actions`"));
    assert_eq!(fields(&actions["actions"][0]), documented("an action"));
    assert_eq!(fields(&acted["action"]), documented("an action"));
    let dependencies = admin.get("/dependencies").await.ok();
    assert_eq!(fields(&dependencies), documented("`GET /dependencies`"));
    assert_eq!(fields(&dependencies["dependencies"][0]), documented("a dependency"));
    assert_eq!(fields(&dependencies["dependencies"][0]["components"][0]), documented("a component"));
    let audit = admin.get("/audit").await.ok();
    assert_eq!(fields(&audit), documented("`GET /audit`"));
    assert_eq!(fields(&audit["dependencies"][0]), documented("an audited dependency"));
    let checks = &audit["dependencies"][0]["checks"];
    assert_eq!(fields(&checks["timeout"]), documented("a check"));
    assert_eq!([&checks["circuit-breaker"]["by"][0], &checks["timeout"]["status"]], ["circuit-breaker ml", "missing"]);
    assert_eq!(audit["complete"], false);
    assert_eq!(fields(&admin.get("/circuits").await.ok()), ["circuits".to_owned()].into());
    let problem = admin.post("/circuits/ml", json!({ "operation": 1 })).await.problem(422);
    assert_eq!(fields(&problem), documented("a problem"));
}

#[tokio::test]
async fn times_are_in_seconds_and_what_there_is_not_is_null() {
    let part = Part::new("circuit-breaker", "ml");
    let component = Local::new(&[&part]).get("/circuits/ml").await.ok();
    assert_eq!(component["settings"], json!({ "wait": 1.5, "limit": null }));
    assert_eq!(component["state"], json!({ "ran": 0 }));
    let operations = component["operations"].as_array().unwrap();
    let expected = [
        json!({ "name": "clear", "lasts": "once", "ended_by": null, "arguments": {} }),
        json!({ "name": "pin", "lasts": "limited", "ended_by": null, "arguments": { "level": "healthy or degraded" } }),
        json!({ "name": "isolate", "lasts": "until", "ended_by": "end", "arguments": {} }),
    ];
    assert_eq!(operations[..3], expected);
}
