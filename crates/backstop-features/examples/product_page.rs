//! A product page that loses its parts as the service gets worse, and what an operator can do about it.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::time::Duration;

use backstop_core::Outcome;
use backstop_features::{Feature, Features, FlagChange, Level, feature};
use backstop_health::{Component, Health};

static CHECKOUT: Feature = feature!("checkout");
static REVIEWS: Feature = feature!("reviews");
static RECOMMENDATIONS: Feature = feature!("ml_recommendations");

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "an app spawns what runs in the background")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let health = Health::builder()
        .component(Component::essential("orders").without_fallback())
        .component(Component::essential("prices"))
        // Soon, so that you needn't wait.
        .degrade_after(Duration::from_millis(100))
        .critical_after(Duration::from_millis(100))
        .build()?;
    let features = Features::builder()
        .declare(CHECKOUT.core())
        .declare(REVIEWS.standard())
        .declare(RECOMMENDATIONS.nice_to_have())
        .health(&health)
        .build()?;
    tokio::spawn(health.run());
    tokio::spawn(features.run());

    show("healthy", &features);
    health.report("prices", Level::Degraded, "slow", None)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    show("prices are slow", &features);
    health.report("orders", Level::Critical, "connection refused", None)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    show("orders are down", &features);

    let on = FlagChange::enable("ada", "reviews don't need orders").until(Duration::from_secs(600));
    features.handle().set(&REVIEWS, on).await?;
    show("an operator insists", &features);
    features.handle().remove(&REVIEWS, "ada", "orders are up again").await?;
    (0..5).for_each(|_| features.record(&REVIEWS, &Outcome::failure()));
    for status in features.handle().list() {
        println!("{:20} {:9} because of {}", status.name, status.state, status.cause);
    }
    Ok(())
}

fn show(when: &str, features: &Features) {
    let parts = [("buy", &CHECKOUT), ("reviews", &REVIEWS), ("recommendations", &RECOMMENDATIONS)];
    let shown: Vec<_> =
        parts.iter().filter(|(_, feature)| features.is_enabled(feature)).map(|(part, _)| *part).collect();
    println!("{when:20} {}", shown.join(", "));
}
