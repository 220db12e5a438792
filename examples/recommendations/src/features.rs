//! The features of the app: what users see, and what can be turned off.
//!
//! A feature isn't a dependency. The app calls `ml_service`; users see `ml_recommendations`.

use backstop::{ConfigError, Feature, Features, Health, RedisStore, feature};

use crate::stores;

/// Recommendations of what this user likes. Without it, the answer comes from the chain's next source.
pub(crate) static ML_RECOMMENDATIONS: Feature = feature!("ml_recommendations");

/// The app's features, each declared once. With Redis, a flag reaches all instances, and outlives them.
///
/// # Errors
/// [`ConfigError`] if a declaration is invalid, which the current one isn't.
pub(crate) fn features(health: &Health, redis: Option<&RedisStore>) -> Result<Features, ConfigError> {
    let ml_recommendations = ML_RECOMMENDATIONS
        // The page is poor without it: it shows old answers, or the same to everybody. So it stays on while the app is degraded.
        // It goes off while the app is critical, because other sources answer.
        .standard()
        // The circuit of the ML service is protection enough: it refuses at once while the service is down, and closes within
        // seconds when it is back. By its own errors the feature would stay off for 5 minutes, and that at 5 % failed calls,
        // where retries still succeed for most users. `.needs("ml_service")` would keep it off for 30 s after the circuit has
        // closed, since health is damped.
        .ignore_errors();
    let features = Features::builder().declare(ml_recommendations).health(health);
    match redis {
        Some(redis) => features.flags(redis.clone()).store_component(stores::REDIS).build(),
        // A flag is set on this instance alone, and lost when it ends.
        None => features.build(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use backstop::{FeatureState, Level};

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "they end with the test")]
    #[tokio::test(start_paused = true)]
    async fn it_makes_room_only_when_the_app_is_critical() {
        let health = Health::builder().build().unwrap();
        let features = features(&health, None).unwrap();
        tokio::spawn(health.run());
        tokio::spawn(features.run());
        for (level, state) in [
            (Level::Healthy, FeatureState::Enabled),
            (Level::Degraded, FeatureState::Enabled),
            (Level::Critical, FeatureState::Disabled),
        ] {
            health.pin(level, Duration::from_secs(60), "ada", "a test").unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let found = features.handle().get(&ML_RECOMMENDATIONS).unwrap().state;
            assert_eq!(found, state, "{level:?}");
        }
    }
}
