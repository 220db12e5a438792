//! Features: asking for one, and calls through the layer.

use std::hint::black_box;

use backstop::features::InFeatureScope;
use backstop::{Feature, FeatureLayer, FeatureScopeLayer, FeatureState, Features, FlagChange, feature};
use tower::layer::util::Identity;

use crate::{
    call::poll_once,
    http::calls_through,
    measure::{Contender, Section, Table},
};

static REVIEWS: Feature = feature!("reviews");

pub(crate) const SECTION: Section = Section {
    name: "features",
    tables: &[Table::new("Asking for a feature", questions), Table::new("A call of a feature", calls)],
    others: &[],
};

/// One of a thousand features.
fn features() -> Features {
    let many = (0..999).map(|i| Feature::new(format!("feature-{i}").parse().expect("a name")).standard());
    let builder = many.fold(Features::builder(), |builder, declaration| builder.declare(declaration));
    builder.declare(REVIEWS.standard()).build().expect("a configuration")
}

fn turned_off() -> Features {
    let features = features();
    let off = FlagChange::to(FeatureState::Disabled, "bench", "to measure");
    poll_once(features.handle().set(&REVIEWS, off)).expect("a flag");
    features
}

fn questions() -> Vec<Contender> {
    let ask = |features: Features| move |_| _ = black_box(features.is_enabled(black_box(&REVIEWS)));
    vec![
        Contender::new("nothing", || |n| _ = black_box(n)),
        Contender::new("on", move || ask(features())).target("2 ns, 0 allocations"),
        Contender::new("off", move || ask(turned_off())),
        Contender::new("on, twice within a scope", || {
            let features = features();
            move |_| {
                let twice = async { features.is_enabled(&REVIEWS) && features.is_enabled(&REVIEWS) };
                _ = black_box(poll_once(twice.in_feature_scope()));
            }
        }),
    ]
}

fn calls() -> Vec<Contender> {
    let layer = |features: &Features| FeatureLayer::new(features.gate(&REVIEWS).expect("a feature"));
    vec![
        Contender::new("bare", || calls_through(Identity::new())),
        Contender::new("on", move || calls_through(layer(&features()))).target("15 ns, 0 allocations"),
        Contender::new("off", move || calls_through(layer(&turned_off()))),
        Contender::new("FeatureScopeLayer", || calls_through(FeatureScopeLayer::new())),
    ]
}
