//! Each check.

use std::time::Duration;

use backstop_core::{Inspect, Name, Value};

use super::{
    Check, CheckStatus,
    components::{FALLBACK, Facts, field, last_may_fail, providers, replaced, text},
    proof::ago,
};

/// Kinds that answer in place of a dependency.
const ANSWERING: &[&str] = &[FALLBACK, "aggregate", "deferred"];
/// Kinds that serve stored answers up to a known age.
const STORES: &[&str] = &["last-known-good", "last-known-values"];
const REVALIDATE: &[&str] = &["stale-while-revalidate"];

/// What the check found of this dependency.
pub(super) fn run(check: Check, of: &Name, facts: &Facts<'_>) -> CheckStatus {
    match check {
        Check::Timeout => layer(of, facts, &["timeout"], "TimeoutLayer"),
        Check::CircuitBreaker => circuit_breaker(of, facts),
        Check::Bulkhead => layer(of, facts, &["bulkhead"], "BulkheadLayer"),
        Check::Fallback => fallback(of, facts),
        Check::FallbackEnd => fallback_end(of, facts),
        Check::StalenessBound => staleness_bound(of, facts),
        Check::Metrics => metrics(),
        Check::Labels => labels(of, facts),
        Check::Proof => proof(of, facts),
    }
}

fn present(by: Vec<&dyn Inspect>) -> CheckStatus {
    CheckStatus::Present { by: by.into_iter().map(shown).collect() }
}

fn missing(why: impl Into<String>, fix: impl Into<String>) -> CheckStatus {
    CheckStatus::Missing { why: why.into(), fix: fix.into() }
}

fn not_applicable(reason: impl Into<String>) -> CheckStatus {
    CheckStatus::NotApplicable { reason: reason.into() }
}

fn shown(component: &dyn Inspect) -> String {
    format!("{} {}", component.kind(), component.name())
}

fn layer(of: &Name, facts: &Facts<'_>, kinds: &[&str], layer: &str) -> CheckStatus {
    let found = facts.of_kinds(of, kinds);
    if !found.is_empty() {
        return present(found);
    }
    let fix = format!(
        "put `{layer}::new(name!(\"{of}\"))` or `Standard::new(name!(\"{of}\"))` around the client, and `.register(…)` its handle"
    );
    missing(format!("no {} is registered", kinds[0]), fix)
}

fn circuit_breaker(of: &Name, facts: &Facts<'_>) -> CheckStatus {
    let kinds = ["circuit-breaker", "keyed-circuit-breaker"];
    let found = facts.of_kinds(of, &kinds);
    let is_observing = |circuit: &&dyn Inspect| field(circuit.state(), "mode") == Some("observing".into());
    let (observing, refusing): (Vec<_>, _) = found.into_iter().partition(is_observing);
    match (refusing.is_empty(), observing.first()) {
        (false, _) => present(refusing),
        (true, Some(circuit)) => missing(
            format!("{} observes, and refuses no call", shown(*circuit)),
            "remove `.observe_only()` from its builder, or call `enforce()` on its handle",
        ),
        (true, None) => layer(of, facts, &kinds, "CircuitBreakerLayer"),
    }
}

fn fallback(of: &Name, facts: &Facts<'_>) -> CheckStatus {
    let found = facts.of_kinds(of, ANSWERING);
    let found: Vec<_> = found.into_iter().filter(|it| it.kind() != FALLBACK || !replaced(*it).is_empty()).collect();
    if !found.is_empty() {
        return present(found);
    }
    let fix = format!(
        "`FallbackChain::builder(…).provider(…)` behind `FallbackLayer::new(name!(\"{of}\"), chain)`, or \
         `.register_for([name!(\"{of}\")], …)` the handle of what answers instead"
    );
    missing("no fallback chain, aggregate or queue answers in its place", fix)
}

fn fallback_end(of: &Name, facts: &Facts<'_>) -> CheckStatus {
    let chains = facts.of_kinds(of, &[FALLBACK]);
    match (chains.iter().copied().find(|chain| last_may_fail(*chain)), chains.is_empty()) {
        (_, true) => not_applicable("no fallback chain answers in its place"),
        (None, false) => present(chains),
        (Some(chain), false) => missing(
            format!("the last provider of {} may fail", shown(chain)),
            "end the chain with `.provider(Provider::value(…))` whose function returns no `Result`, or with `.fail_safe(…)`",
        ),
    }
}

fn staleness_bound(of: &Name, facts: &Facts<'_>) -> CheckStatus {
    let stores = facts.of_kinds(of, STORES);
    let is_bound = |store: &&dyn Inspect| matches!(field(store.settings(), "max_stale"), Some(Value::Duration(_)));
    if let Some(store) = stores.iter().copied().find(|store| !is_bound(store)) {
        return missing(
            format!("{} doesn't say how old its answers may be", shown(store)),
            "show it as the setting `max_stale`",
        );
    }
    if !stores.is_empty() {
        return present(stores);
    }
    let register = format!("`.register_for([name!(\"{of}\")], …)` the handle of the store, which has `.max_stale(…)`");
    if let Some(serving) = facts.of_kinds(of, REVALIDATE).first() {
        return missing(format!("{} serves stored answers, and no store is registered", shown(*serving)), register);
    }
    let serves_stale = |chain: &&dyn Inspect| {
        facts.labelled().into_iter().flatten().any(|(labelled, is_stale)| *is_stale && *chain.name() == **labelled)
    };
    let serves_unknown = |chain: &&dyn Inspect| {
        // The store of another dependency of the chain may be the one.
        serves_stale(chain) && facts.protected_by(*chain).all(|name| facts.of_kinds(name, STORES).is_empty())
    };
    if let Some(chain) = facts.of_kinds(of, &[FALLBACK]).into_iter().find(serves_unknown) {
        return missing(format!("{} has served stored answers, and no store is registered", shown(chain)), register);
    }
    not_applicable("nothing that is registered serves stored answers of it")
}

#[cfg(feature = "metrics")]
fn metrics() -> CheckStatus {
    // What stands in for a recorder has no fields.
    if metrics::with_recorder(|recorder| size_of_val(recorder)) > 0 {
        return CheckStatus::Present { by: vec!["the installed recorder".to_owned()] };
    }
    missing(
        "no recorder is installed",
        "install one when the service starts, such as `PrometheusBuilder::new().install()?`",
    )
}

#[cfg(not(feature = "metrics"))]
fn metrics() -> CheckStatus {
    missing(
        "Backstop's feature `metrics` is off",
        "add the feature `metrics`, and install a recorder when the service starts",
    )
}

fn labels(of: &Name, facts: &Facts<'_>) -> CheckStatus {
    let labelled_kinds = [FALLBACK, "aggregate"];
    let answering = facts.of_kinds(of, &labelled_kinds);
    if answering.is_empty() {
        return not_applicable("nothing whose answers are labelled answers in its place");
    }
    let around = "put `.layer(DegradationHeaderLayer::new())` around all routes, and `.register(…)` its handle";
    let Some(labelled) = facts.labelled() else {
        return missing("no degradation-header is registered", around);
    };
    if let Some(unread) = answering.iter().copied().find(|it| facts.is_unread(it.name())) {
        let why = format!("answers of {} left without a label, because nobody read its reports", shown(unread));
        return missing(
            why,
            "put `DegradationHeaderLayer` around everything, and `scope::handle()` into spawned tasks",
        );
    }
    let is_labelled = |it: &&dyn Inspect| labelled.iter().any(|(chain, _)| *it.name() == **chain);
    match answering.iter().copied().find(|it| !is_labelled(it)) {
        None => present(answering),
        Some(unseen) => missing(
            format!("no degraded answer of {} has been labelled yet", shown(unseen)),
            "let a request through the whole app get a degraded answer: `force` a provider, or break the dependency",
        ),
    }
}

fn proof(of: &Name, facts: &Facts<'_>) -> CheckStatus {
    if let Some(proof) = facts.recorded_proof(of) {
        return CheckStatus::Present { by: vec![proof.text()] };
    }
    let chains = facts.of_kinds(of, &[FALLBACK]);
    let record =
        format!("break it in a test and see the service work, then `inventory.record_proof(&name!(\"{of}\"), …)`");
    if chains.is_empty() {
        return missing("nothing says that the service was seen to work without it", record);
    }
    let mut by = Vec::new();
    for chain in chains {
        let proven = last_proven(chain);
        // Whatever stands behind it must have answered, and all but the first one stand behind something.
        for provider in providers(chain).iter().skip(1).filter(|provider| *of != ***provider) {
            match proven.iter().find(|(name, _)| name == provider) {
                Some((_, text)) => by.push(format!("{provider}: {text}")),
                None => {
                    return missing(
                        format!("the provider {provider} of {} has never been seen to answer", shown(chain)),
                        format!("`{}.force(\"{provider}\", 0.01)`, a `Drill`, or a fault run", chain.name()),
                    );
                }
            }
        }
    }
    if by.is_empty() {
        by.push("a default, which can't fail".to_owned());
    }
    CheckStatus::Present { by }
}

/// The providers of a chain that were seen to answer, and when and how.
fn last_proven(chain: &dyn Inspect) -> Vec<(String, String)> {
    let Some(Value::List(proven)) = field(chain.state(), "last_proven") else { return Vec::new() };
    let one = |proof| {
        let Value::Map(proof) = proof else { return None };
        let provider = text(field(proof.clone(), "provider")?)?;
        let by = field(proof.clone(), "by").and_then(text).unwrap_or_else(|| "an answer".to_owned());
        match field(proof, "at")? {
            Value::Integer(seconds) => Some((provider, format!("{by}, {} ago", ago(Duration::from_secs(seconds))))),
            _ => None,
        }
    };
    proven.into_iter().filter_map(one).collect()
}
