//! What protects each dependency: the app's layers, for operators, and for the test `tests/audit.rs`.
//!
//! Whoever adds an upstream must name its dependency here. Until that is protected, registered, and seen to be missed by nobody, the
//! test fails.

use backstop::{Check, Features, Health, Inventory, Name, name};

use crate::edge::Edge;
use crate::orders::Orders;
use crate::rates::Rates;
use crate::recommender::Recommender;
use crate::sources::Sources;
use crate::upstream::Upstream;

/// The layers of the whole app.
pub(crate) fn inventory(
    edge: &Edge,
    sources: &Sources,
    recommender: &Recommender,
    orders: &Orders,
    rates: &Rates,
    features: &Features,
    health: &Health,
) -> Inventory {
    let inventory = Upstream::ALL.into_iter().map(dependency).fold(Inventory::new(), Inventory::depends_on);
    let inventory = rates.register(orders.register(recommender.register(sources.register(edge.register(inventory)))));
    let table = "the built-in table has a rate for each currency that is accepted";
    inventory
        .register_all(features.handle().components())
        .register(health.clone())
        .exempt(
            name!("payment_service"),
            Check::FallbackEnd,
            "an order that the queues don't accept either is refused: the answer says that it is safe to repeat",
        )
        .exempt(
            name!("mail_service"),
            Check::FallbackEnd,
            "an e-mail that the queue doesn't accept either isn't sent: the answer to the order says so",
        )
        .exempt(name!("primary_rates"), Check::FallbackEnd, table)
        .exempt(name!("secondary_rates"), Check::FallbackEnd, table)
}

/// The name that the layers have around calls of this upstream.
fn dependency(upstream: Upstream) -> Name {
    match upstream {
        Upstream::Ml => name!("ml_service"),
        Upstream::Catalog => name!("popular_items"),
        Upstream::Payment => name!("payment_service"),
        Upstream::Mail => name!("mail_service"),
        Upstream::Rates => name!("primary_rates"),
        Upstream::MoreRates => name!("secondary_rates"),
    }
}
