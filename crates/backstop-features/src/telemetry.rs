//! Events. They contain nothing of a request.

use backstop_core::{Name, Value};

use crate::{Cause, FeatureState, Flag, Reach, slot::Slot, store_errors::StoreKind};

pub(crate) const KIND: &str = "feature";

/// A change of a feature's state, or of its cause.
pub(crate) struct Changed<'a> {
    pub(crate) slot: &'a Slot,
    pub(crate) from: FeatureState,
    pub(crate) to: FeatureState,
    pub(crate) cause: Cause,
    /// The flag that decides.
    pub(crate) flag: Option<Flag>,
}

impl Changed<'_> {
    pub(crate) fn fields(&self) -> Vec<(&'static str, Value)> {
        vec![("from", self.from.into()), ("to", self.to.into()), ("cause", self.cause.as_str().into())]
    }

    /// A feature that gets worse by itself is a warning.
    fn log(&self) {
        let Self { slot, from, to, cause, flag } = self;
        let (name, flag) = (slot.name(), flag.as_ref());
        let (who, reason) = (flag.map(Flag::who), flag.map(Flag::reason));
        if to > from && *cause != Cause::Operator {
            tracing::warn!(target: "backstop::features", feature = %name, %from, %to, %cause, "a feature got worse");
        } else {
            tracing::info!(
                target: "backstop::features",
                feature = %name, %from, %to, %cause, who, reason,
                "a feature changed"
            );
        }
    }
}

/// Logs changes, and shows them in the gauges. The caller holds no lock that an operator needs: a subscriber may be slow.
#[expect(single_use_lifetimes, reason = "it can't be elided here")]
pub(crate) fn changed<'a>(changes: impl IntoIterator<Item = Changed<'a>>) {
    for changed in changes {
        changed.log();
        changed.slot.show_state();
    }
}

/// An operator has set a flag through this instance.
pub(crate) fn flag_set(slot: &Slot, flag: &Flag) {
    slot.record(set_fields("set-flag", flag));
    tracing::info!(
        target: "backstop::features",
        feature = %slot.name(), state = %flag.state(), who = flag.who(), reason = flag.reason(),
        until_ms = until_ms(flag), scope = flag.reach().as_str(),
        "an operator set a flag"
    );
}

fn set_fields(operation: &'static str, flag: &Flag) -> Vec<(&'static str, Value)> {
    vec![
        ("operation", operation.into()),
        ("state", flag.state().into()),
        ("who", flag.who().to_owned().into()),
        ("reason", flag.reason().to_owned().into()),
        ("until", flag.remaining().into()),
        ("scope", flag.reach().as_str().into()),
    ]
}

/// An operator has set a flag through another instance.
pub(crate) fn flag_followed(slot: &Slot, flag: &Flag, is_overridden: bool) {
    slot.record(set_fields("follow-flag", flag));
    let feature = slot.name();
    let (who, reason, until_ms) = (flag.who(), flag.reason(), until_ms(flag));
    if is_overridden {
        tracing::info!(
            target: "backstop::features",
            %feature, state = %flag.state(), who, reason, until_ms,
            "a flag of the store has no effect while this instance has one of its own"
        );
    } else {
        tracing::info!(
            target: "backstop::features",
            %feature, state = %flag.state(), who, reason, until_ms,
            "a flag of the store is followed"
        );
    }
}

/// An operator has removed a flag through this instance.
pub(crate) fn flag_removed(slot: &Slot, who: &str, reason: &str, reach: Reach) {
    slot.record(vec![
        ("operation", "remove-flag".into()),
        ("who", who.to_owned().into()),
        ("reason", reason.to_owned().into()),
        ("scope", reach.as_str().into()),
    ]);
    let feature = slot.name();
    tracing::info!(
        target: "backstop::features",
        %feature, who, reason, scope = reach.as_str(),
        "an operator removed a flag"
    );
}

/// For how long the flag still decides.
fn until_ms(flag: &Flag) -> Option<f64> {
    flag.remaining().map(backstop_kit::telemetry::millis)
}

pub(crate) fn store_failed(kind: StoreKind, error: &str) {
    tracing::warn!(
        target: "backstop::features",
        store = word(kind), error,
        "the store doesn't work; what was last known holds"
    );
}

pub(crate) fn store_works(kind: StoreKind) {
    tracing::info!(target: "backstop::features", store = word(kind), "the store works again");
}

const fn word(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Flags => "flags",
        StoreKind::Counts => "counts",
    }
}

pub(crate) fn flags_disappeared(features: &[Name]) {
    tracing::warn!(
        target: "backstop::features",
        features = joined(features),
        "flags disappeared from the store before their time, and without being removed; they still hold here"
    );
}

pub(crate) fn flags_malformed(features: &[Name]) {
    tracing::warn!(
        target: "backstop::features",
        features = joined(features),
        "what the store has isn't a flag; what was last known holds"
    );
}

pub(crate) fn counts_malformed(feature: &Name) {
    tracing::warn!(
        target: "backstop::features",
        %feature,
        "what the store has isn't a count, and is left alone; this instance judges its own errors"
    );
}

/// The first ten.
fn joined(features: &[Name]) -> String {
    let shown: Vec<_> = features.iter().take(10).map(Name::as_str).collect();
    let more = if features.len() > shown.len() { ", …" } else { "" };
    shown.join(", ") + more
}

pub(crate) fn not_declared(feature: &Name) {
    tracing::error!(
        target: "backstop::features",
        %feature,
        "a feature is used that isn't declared: it is off; declare it with the builder"
    );
}

pub(crate) fn not_driven() {
    tracing::error!(
        target: "backstop::features",
        "nothing follows the level and the store: spawn `features.run()`"
    );
}

/// A panic is an error. Otherwise it was dropped.
pub(crate) fn driver_ended(by_panic: bool) {
    let message = "nothing follows the level and the store any more; what is in force stays in force";
    if by_panic {
        tracing::error!(target: "backstop::features", "a panic has ended `features.run()`: {message}");
    } else {
        tracing::info!(target: "backstop::features", "`features.run()` was dropped: {message}");
    }
}

pub(crate) fn refused(feature: &Name, state: FeatureState) {
    tracing::debug!(target: "backstop::features", %feature, %state, "a call was refused");
}
