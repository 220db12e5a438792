//! The audit: stacks that are complete, or lack one thing, and the gaps that it must find.

use backstop_admin::{Check, CheckStatus, Inspect, Inventory, Name, Value, assert_protected, name};
use backstop_core::{Degradation, Freshness, Reason, scope};

/// A component as layers show themselves.
#[derive(Clone)]
struct Part {
    kind: &'static str,
    name: Name,
    dependency: Name,
    settings: Vec<(&'static str, Value)>,
    state: Vec<(&'static str, Value)>,
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

    fn settings(&self) -> Vec<(&'static str, Value)> {
        self.settings.clone()
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        self.state.clone()
    }
}

fn part(kind: &'static str, name: Name) -> Part {
    Part { kind, dependency: name.clone(), name, settings: Vec::new(), state: Vec::new() }
}

impl Part {
    fn with(mut self, setting: &'static str, value: impl Into<Value>) -> Self {
        self.settings.push((setting, value.into()));
        self
    }

    fn showing(mut self, field: &'static str, value: Value) -> Self {
        self.state.push((field, value));
        self
    }
}

fn texts(texts: &[&'static str]) -> Value {
    texts.iter().copied().collect()
}

/// A chain in front of `ml`, whose providers were proven.
fn chain(providers: &[&'static str], proven: &[&'static str]) -> Part {
    let proof = |provider: &&'static str| {
        Value::Map(vec![("provider", (*provider).into()), ("at", 1_700_000_000_u64.into()), ("by", "drill".into())])
    };
    let mut chain = part("fallback", name!("recommendations"))
        .with("providers", texts(providers))
        .with("last_may_fail", false)
        .showing("last_proven", Value::List(proven.iter().map(proof).collect()));
    chain.dependency = name!("ml");
    chain
}

fn headers(chains: &[(&'static str, bool)]) -> Part {
    let chain = |(chain, stale): &(&'static str, bool)| {
        Value::Map(vec![("chain", (*chain).into()), ("stale", (*stale).into())])
    };
    part("degradation-header", name!("degradation-header"))
        .showing("labelled", Value::List(chains.iter().map(chain).collect()))
}

/// Everything that protects `ml`.
fn complete() -> Vec<(Part, Option<Name>)> {
    let store = part("last-known-values", name!("cached")).with("max_stale", std::time::Duration::from_secs(3_600));
    vec![
        (part("timeout", name!("ml")), None),
        (part("circuit-breaker", name!("ml")), None),
        (part("bulkhead", name!("ml")), None),
        (chain(&["ml", "cached", "static"], &["cached", "static"]), None),
        (store, Some(name!("ml"))),
        (headers(&[("recommendations", true)]), None),
    ]
}

fn inventory(parts: Vec<(Part, Option<Name>)>) -> Inventory {
    // Whether a recorder is installed has a test of its own.
    let inventory = Inventory::new().exempt_all(Check::Metrics, "not here");
    parts.into_iter().fold(inventory, |inventory, (part, of)| match of {
        Some(of) => inventory.register_for([of], part),
        None => inventory.register(part),
    })
}

/// The stack with one part replaced, or left out.
fn with(kind: &str, instead: Option<Part>) -> Vec<(Part, Option<Name>)> {
    let mut parts = complete();
    let at = parts.iter().position(|(part, _)| part.kind == kind).unwrap_or(usize::MAX);
    match instead {
        Some(part) => parts[at].0 = part,
        None => drop(parts.remove(at)),
    }
    parts
}

/// Each gap as its check, and its reason.
fn gaps(inventory: &Inventory) -> Vec<(String, String)> {
    let audit = inventory.audit();
    audit.gaps().map(|gap| (format!("{} {}", gap.dependency, gap.check), gap.why.to_owned())).collect()
}

fn gap(check: &str, why: &str) -> (String, String) {
    (format!("ml {check}"), why.to_owned())
}

#[test]
fn a_complete_stack_has_no_gaps() {
    let inventory = inventory(complete());
    assert_eq!(gaps(&inventory), []);
    assert_protected!(inventory);
    let audit = inventory.audit();
    let by = |check| match audit.status("ml", check) {
        Some(CheckStatus::Present { by, .. }) => by.join(", "),
        other => panic!("{check}: {other:?}"),
    };
    assert_eq!(by(Check::Timeout), "timeout ml");
    assert_eq!(by(Check::Fallback), "fallback recommendations");
    assert_eq!(by(Check::StalenessBound), "last-known-values cached");
    let proof = by(Check::Proof);
    assert!(proof.starts_with("cached: drill, ") && proof.contains(" d ago, static: drill, "), "{proof}");
    assert_eq!(audit.warnings, [""; 0]);
}

#[test]
fn a_stack_that_lacks_one_thing_has_exactly_that_gap() {
    let may_fail = {
        let mut chain = chain(&["ml", "cached", "static"], &["cached", "static"]);
        chain.settings[1].1 = true.into();
        chain
    };
    let observing = part("circuit-breaker", name!("ml")).showing("mode", "observing".into());
    let unbound = part("last-known-values", name!("cached"));
    for (stack, gap) in [
        (with("timeout", None), gap("timeout", "no timeout is registered")),
        (with("circuit-breaker", None), gap("circuit-breaker", "no circuit-breaker is registered")),
        (
            with("circuit-breaker", Some(observing)),
            gap("circuit-breaker", "circuit-breaker ml observes, and refuses no call"),
        ),
        (with("bulkhead", None), gap("bulkhead", "no bulkhead is registered")),
        (
            with("fallback", Some(may_fail)),
            gap("fallback-end", "the last provider of fallback recommendations may fail"),
        ),
        (
            with("last-known-values", None),
            gap("staleness-bound", "fallback recommendations has served stored answers, and no store is registered"),
        ),
        (
            with("last-known-values", Some(unbound)),
            gap("staleness-bound", "last-known-values cached doesn't say how old its answers may be"),
        ),
        (with("degradation-header", None), gap("labels", "no degradation-header is registered")),
        (
            with("degradation-header", Some(headers(&[("others", false)]))),
            gap("labels", "no degraded answer of fallback recommendations has been labelled yet"),
        ),
        (
            with("fallback", Some(chain(&["ml", "cached", "static"], &["static"]))),
            gap("proof", "the provider cached of fallback recommendations has never been seen to answer"),
        ),
    ] {
        assert_eq!(gaps(&inventory(stack)), [gap]);
    }
}

#[test]
fn without_a_fallback_nothing_proves_that_the_service_works() {
    let inventory = inventory(with("fallback", None));
    let found: Vec<_> = gaps(&inventory).into_iter().map(|(gap, _)| gap).collect();
    assert_eq!(found, ["ml fallback", "ml proof"]);
    let reason = |check| match inventory.audit().status("ml", check) {
        Some(CheckStatus::NotApplicable { reason, .. }) => reason.clone(),
        other => panic!("{check}: {other:?}"),
    };
    assert_eq!(reason(Check::FallbackEnd), "no fallback chain answers in its place");
    assert_eq!(reason(Check::Labels), "nothing whose answers are labelled answers in its place");
}

#[test]
fn a_chain_of_one_provider_that_may_fail_is_no_fallback_and_a_default_makes_it_one() {
    let alone = |last_may_fail: bool| {
        let mut chain = chain(&["ml"], &[]);
        chain.settings[1].1 = last_may_fail.into();
        let inventory = inventory(with("fallback", Some(chain)));
        gaps(&inventory).into_iter().map(|(gap, _)| gap).collect::<Vec<_>>()
    };
    assert_eq!(alone(true), ["ml fallback", "ml fallback-end"]);
    assert_eq!(alone(false), [""; 0]);
}

#[test]
fn a_dependency_that_nothing_protects_lacks_everything() {
    let inventory = Inventory::new().depends_on(name!("mail"));
    let found: Vec<_> = inventory.audit().gaps().map(|gap| gap.check).collect();
    let expected =
        [Check::Timeout, Check::CircuitBreaker, Check::Bulkhead, Check::Fallback, Check::Metrics, Check::Proof];
    assert_eq!(found, expected);
}

#[test]
fn a_chain_protects_its_other_providers_too_if_they_are_dependencies() {
    let mut parts = with("fallback", Some(chain(&["ml", "catalog", "static"], &["catalog", "static"])));
    parts.extend(["timeout", "circuit-breaker", "bulkhead"].map(|kind| (part(kind, name!("catalog")), None)));
    let inventory = inventory(parts);
    assert_eq!(gaps(&inventory), []);
    assert_eq!(inventory.audit().dependencies.len(), 2, "`static` isn't a dependency");

    // Nothing replaces the last one, if it may fail.
    let mut last = chain(&["ml", "catalog"], &["catalog"]);
    last.settings[1].1 = true.into();
    let mut parts = with("fallback", Some(last));
    parts.push((part("timeout", name!("catalog")), None));
    let audit = self::inventory(parts).audit();
    assert!(matches!(audit.status("catalog", Check::Fallback), Some(CheckStatus::Missing { .. })));
}

#[test]
fn a_component_may_count_for_other_dependencies_than_its_own() {
    let mut parts = complete();
    let chain = parts.remove(3).0;
    let inventory = inventory(parts).register_for([name!("ml"), name!("search")], chain);
    let found: Vec<_> = gaps(&inventory).into_iter().map(|(gap, _)| gap).collect();
    assert_eq!(found, ["search timeout", "search circuit-breaker", "search bulkhead"]);
    assert_eq!(inventory.by_dependency()[&name!("search")].len(), 1);
}

#[test]
fn an_exemption_closes_a_gap_with_its_reason_and_a_stale_one_is_a_warning() {
    let reason = "its calls take no time";
    let inventory = inventory(with("timeout", None))
        .exempt(name!("ml"), Check::Timeout, reason)
        .exempt(name!("ml"), Check::Bulkhead, "there is one all the same")
        .exempt(name!("mll"), Check::Timeout, reason);
    let audit = inventory.audit();
    assert!(audit.is_complete(), "{audit}");
    let status = |check: Check| audit.status("ml", check).map(CheckStatus::as_str);
    assert_eq!((status(Check::Timeout), status(Check::Bulkhead)), (Some("not-applicable"), Some("present")));
    let Some(CheckStatus::NotApplicable { reason: shown, .. }) = audit.status("ml", Check::Timeout) else {
        panic!("{audit}")
    };
    assert_eq!(shown, reason);
    assert_eq!(audit.warnings, ["mll is exempt from the check timeout, and isn't a dependency"]);
}

#[test]
fn two_components_of_one_kind_and_name_are_a_warning_of_the_audit() {
    let inventory = inventory(complete()).register(part("bulkhead", name!("ml")));
    let expected = "two components are a bulkhead of the name ml: operators can't tell them apart";
    assert_eq!(inventory.audit().warnings, [expected]);
}

#[test]
fn a_report_that_nobody_read_is_a_gap() {
    let mut chain = chain(&["ml", "cached", "static"], &["cached", "static"]);
    chain.name = name!("unread-chain");
    let mut parts = with("fallback", Some(chain));
    parts.pop();
    parts.push((headers(&[("unread-chain", true)]), None));
    let inventory = inventory(parts);
    assert_eq!(gaps(&inventory), []);
    let why = Reason::TIMEOUT;
    scope::report(Degradation::new(name!("unread-chain"), name!("cached"), 1, why, Freshness::Degraded));
    let expected = "answers of fallback unread-chain left without a label, because nobody read its reports";
    assert_eq!(gaps(&inventory), [gap("labels", expected)]);
}

#[test]
fn a_proof_may_be_recorded_by_hand() {
    let chain = chain(&["ml", "static"], &[]);
    let inventory = inventory(with("fallback", Some(chain)));
    assert_eq!(gaps(&inventory).len(), 1);
    inventory.record_proof(&name!("ml"), "the game day of November");
    assert_eq!(gaps(&inventory), []);
    let audit = inventory.audit();
    let Some(CheckStatus::Present { by, .. }) = audit.status("ml", Check::Proof) else { panic!("{audit}") };
    assert_eq!(*by, ["the game day of November, 0 s ago"]);
}

#[test]
fn a_failed_assertion_lists_each_gap_with_what_would_close_it() {
    let panic = std::panic::catch_unwind(|| {
        let inventory = inventory(with("bulkhead", None)).depends_on(name!("mail"));
        let inventory = inventory.exempt(name!("mail"), Check::CircuitBreaker, "an example");
        assert_protected!(inventory);
    });
    let message = panic.unwrap_err().downcast_ref::<String>().cloned().unwrap_or_default();
    let expected = "not every dependency is protected: 2 dependencies, 5 gaps

mail
  timeout: no timeout is registered
    put `TimeoutLayer::new(name!(\"mail\"))` or `Standard::new(name!(\"mail\"))` around the client, and `.register(…)` its handle
  bulkhead: no bulkhead is registered
    put `BulkheadLayer::new(name!(\"mail\"))` or `Standard::new(name!(\"mail\"))` around the client, and `.register(…)` its handle
  fallback: no fallback chain, aggregate or queue answers in its place
    `FallbackChain::builder(…).provider(…)` behind `FallbackLayer::new(name!(\"mail\"), chain)`, or `.register_for([name!(\"mail\")], …)` the handle of what answers instead
  proof: nothing says that the service was seen to work without it
    break it in a test and see the service work, then `inventory.record_proof(&name!(\"mail\"), …)`

ml
  bulkhead: no bulkhead is registered
    put `BulkheadLayer::new(name!(\"ml\"))` or `Standard::new(name!(\"ml\"))` around the client, and `.register(…)` its handle";
    assert_eq!(message, expected);
}

#[cfg(feature = "metrics")]
#[test]
fn metrics_need_a_recorder() {
    let metrics = |inventory: &Inventory| inventory.audit().status("ml", Check::Metrics).map(CheckStatus::as_str);
    let inventory = Inventory::new().depends_on(name!("ml"));
    assert_eq!(metrics(&inventory), Some("missing"));
    let recorder = backstop_test::Metrics::new();
    let listening = recorder.listen();
    assert_eq!(metrics(&inventory), Some("present"));
    drop(listening);
    assert_eq!(metrics(&inventory), Some("missing"));
}
