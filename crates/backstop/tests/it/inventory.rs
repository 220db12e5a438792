//! An inventory takes all parts of a stack, of a guard and of features at once.

use backstop::{
    Check, CheckStatus, CircuitBreakerLayer, Inspect, Inventory, OperationRequest, Reach, Standard, name, standard,
};

fn kinds(inventory: &Inventory) -> Vec<&'static str> {
    inventory.iter().map(Inspect::kind).collect()
}

#[test]
fn a_stack_registers_all_its_parts_at_once() {
    let stack = Standard::new(name!("ml")).handle();
    let inventory = Inventory::new().register_all(stack.components());
    assert_eq!(kinds(&inventory), ["retry", "circuit-breaker", "bulkhead", "timeout", "propagate-deadline"]);
    assert!(stack.parts().map(Inspect::kind).eq(kinds(&inventory)));
    assert_eq!(inventory.by_dependency().keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["ml"]);

    let without = standard("ml").without_retry().build().unwrap().handle();
    assert_eq!(kinds(&Inventory::new().register_all(without.components())).first(), Some(&"circuit-breaker"));
}

#[test]
fn a_guard_registers_all_its_parts_at_once() {
    let guard = Standard::new(name!("db")).guard();
    let inventory = Inventory::new().register_all(guard.components());
    assert_eq!(kinds(&inventory), ["retry", "circuit-breaker", "bulkhead", "timeout"]);
    let missing: Vec<_> =
        inventory.audit().gaps().map(|gap| gap.check).filter(|check| *check != Check::Metrics).collect();
    assert_eq!(missing, [Check::Fallback, Check::Proof]);
}

#[tokio::test]
async fn an_operation_through_the_inventory_reaches_the_stack_and_the_log() {
    let stack = Standard::new(name!("ml")).handle();
    let inventory = Inventory::new().register_all(stack.components());
    let circuit = inventory.find("circuit-breaker", "ml").unwrap();
    let isolate = OperationRequest::new("isolate", "ada", "a drill");
    assert_eq!(circuit.operate(&isolate).await, Ok(Reach::Instance));
    assert_eq!(stack.circuit_breaker().unwrap().state().as_str(), "isolated");
    let events = inventory.log().after(0);
    assert_eq!(events[0].fields[1], ("who", "ada".into()));
    assert_eq!(events[1].fields[1], ("to", "isolated".into()));
}

#[test]
fn a_circuit_that_only_observes_protects_nothing() {
    let circuit = CircuitBreakerLayer::new(name!("ml")).handle();
    let inventory = Inventory::new().register(circuit.clone());
    let status = || inventory.audit().status("ml", Check::CircuitBreaker).map(CheckStatus::as_str);
    assert_eq!(status(), Some("present"));
    circuit.observe_only();
    assert_eq!(status(), Some("missing"));
    circuit.enforce();
    assert_eq!(status(), Some("present"));
}

#[test]
fn a_circuit_for_each_key_that_only_observes_protects_nothing() {
    let layer = CircuitBreakerLayer::builder("ml").build_keyed(8, |host: &u32| *host).unwrap();
    let circuits = layer.handle();
    let inventory = Inventory::new().register(circuits.clone());
    let status = || inventory.audit().status("ml", Check::CircuitBreaker).map(CheckStatus::as_str);
    assert_eq!(status(), Some("present"));
    circuits.observe_only();
    assert_eq!(status(), Some("missing"));
}
