//! The inventory: what is registered is found, grouped, and reports to one log.

use std::sync::OnceLock;

use backstop_admin::{EventLog, Inspect, Inventory, Name, name};
use backstop_test::Logs;

struct Part {
    kind: &'static str,
    name: Name,
    dependency: Name,
    log: OnceLock<EventLog>,
}

fn part(kind: &'static str, name: Name, dependency: Name) -> Part {
    Part { kind, name, dependency, log: OnceLock::new() }
}

impl Inspect for Part {
    fn name(&self) -> &Name {
        &self.name
    }

    fn kind(&self) -> &'static str {
        self.kind
    }

    fn dependency(&self) -> &Name {
        &self.dependency
    }

    fn report_to(&self, log: &EventLog) {
        log.push(self.name.clone(), self.kind, vec![("registered", true.into())]);
        _ = self.log.set(log.clone());
    }
}

#[test]
fn components_are_found_by_kind_and_name_and_grouped_by_dependency() {
    let inventory = Inventory::new()
        .register(part("fallback", name!("prices"), name!("shop")))
        .register(part("timeout", name!("shop"), name!("shop")))
        .register(part("timeout", name!("mail"), name!("mail")));
    assert_eq!(inventory.find("timeout", "mail").map(|found| found.dependency().as_str()), Some("mail"));
    assert!(inventory.find("timeout", "prices").is_none());
    let grouped: Vec<_> =
        inventory.by_dependency().into_iter().map(|(name, parts)| (name.as_str(), parts.len())).collect();
    assert_eq!(grouped, [("mail", 1), ("shop", 2)]);
}

#[test]
fn components_report_to_one_log_from_their_registration_on() {
    let inventory = Inventory::new().register(part("timeout", name!("ml"), name!("ml")));
    let inventory = inventory.register(part("bulkhead", name!("ml"), name!("ml")));
    let kinds: Vec<_> = inventory.log().after(0).iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["timeout", "bulkhead"]);
}

#[test]
fn two_components_of_one_kind_and_name_are_a_warning() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let inventory = Inventory::new().register(part("timeout", name!("ml"), name!("ml"))).register(part(
        "bulkhead",
        name!("ml"),
        name!("ml"),
    ));
    assert!(logs.events().is_empty());
    let inventory = inventory.register(part("timeout", name!("ml"), name!("other")));
    let warning = logs.take().only();
    assert_eq!((warning.field("kind"), warning.field("name")), (Some("timeout"), Some("ml")));
    assert_eq!(inventory.find("timeout", "ml").map(|found| found.dependency().as_str()), Some("ml"));
}
