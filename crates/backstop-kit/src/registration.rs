//! Which layers are alive. Logs a warning if two have the same name, or if one is built again and again.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backstop_core::Name;
use tokio::time::Instant;

/// A layer that is built this often within [`MINUTE`] is built per request.
const BUILT_PER_REQUEST: u32 = 100;
const MINUTE: Duration = Duration::from_secs(60);
/// More kinds and names than a service has. At this number, those that aren't alive are forgotten.
const MANY: usize = 1_024;

/// Notes that a layer lives, from when it is built until its state is dropped.
///
/// Keep it in the state that the layer's clones and services share. It logs, under the target `backstop::layers`:
///
/// | level | when | fields |
/// |---|---|---|
/// | `WARN` | a second layer of the kind and name is alive: once for each kind and name | `kind`, `name` |
/// | `WARN` | 100 of them were built within a minute: once for each kind and name | the same |
///
/// In the first case, one layer was probably meant to be cloned: two circuits for one dependency each see half of its calls,
/// and their metrics and logs can't be told apart. In the second case, a layer is built for each request: it starts without
/// state each time, and protects nothing.
///
/// ```
/// use backstop_core::name;
/// use backstop_kit::Registration;
///
/// struct State {
///     _registration: Registration,
/// }
///
/// let state = State { _registration: Registration::new("rate-limit", name!("ml_service")) };
/// # let _ = state;
/// ```
#[derive(Debug)]
#[must_use = "it counts as long as it lives"]
pub struct Registration {
    kind: &'static str,
    name: Name,
}

impl Registration {
    /// A layer of this kind and name was built.
    pub fn new(kind: &'static str, name: Name) -> Self {
        let now = Instant::now();
        let mut layers = layers();
        if layers.len() >= MANY {
            layers.retain(|_, layer| layer.alive > 0);
        }
        let layer = layers.entry((kind, name.clone())).or_insert_with(|| Layer::new(now));
        let warning = layer.built(now);
        drop(layers);
        match warning {
            Some(Warning::SharedName) => tracing::warn!(
                target: "backstop::layers",
                kind, %name,
                "two layers of one kind have the same name, so their metrics and logs look like one: build it once and \
                 clone it, or give each a name of its own"
            ),
            Some(Warning::BuiltPerRequest) => tracing::warn!(
                target: "backstop::layers",
                kind, %name,
                "a layer is built again and again, and forgets each time what it knew: build it once, and clone it"
            ),
            None => {}
        }
        Self { kind, name }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(layer) = layers().get_mut(&(self.kind, self.name.clone())) {
            layer.alive = layer.alive.saturating_sub(1);
        }
    }
}

type Layers = HashMap<(&'static str, Name), Layer>;

fn layers() -> MutexGuard<'static, Layers> {
    static LAYERS: LazyLock<Mutex<Layers>> = LazyLock::new(Mutex::default);
    LAYERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The layers of one kind and name.
struct Layer {
    alive: u32,
    /// How many were built since then.
    built: u32,
    since: Instant,
    warned_of_name: bool,
    warned_of_building: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Warning {
    SharedName,
    BuiltPerRequest,
}

impl Layer {
    const fn new(now: Instant) -> Self {
        Self { alive: 0, built: 0, since: now, warned_of_name: false, warned_of_building: false }
    }

    fn built(&mut self, now: Instant) -> Option<Warning> {
        self.alive += 1;
        if now.saturating_duration_since(self.since) > MINUTE {
            (self.built, self.since) = (0, now);
        }
        self.built += 1;
        if self.built >= BUILT_PER_REQUEST && !self.warned_of_building {
            self.warned_of_building = true;
            return Some(Warning::BuiltPerRequest);
        }
        if self.alive > 1 && !self.warned_of_name {
            self.warned_of_name = true;
            return Some(Warning::SharedName);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        *START + Duration::from_secs(seconds)
    }

    #[test]
    fn the_second_that_is_alive_is_warned_of_once() {
        let mut layer = Layer::new(at(0));
        assert_eq!(layer.built(at(0)), None);
        assert_eq!(layer.built(at(1)), Some(Warning::SharedName));
        assert_eq!(layer.built(at(2)), None);
    }

    #[test]
    fn one_after_the_other_is_fine_unless_they_are_many_within_a_minute() {
        let mut layer = Layer::new(at(0));
        let mut build = |seconds| {
            let warning = layer.built(at(seconds));
            layer.alive -= 1;
            warning
        };
        assert!((0..1_000).all(|minute| build(minute * 61).is_none()), "a reload each minute");
        let warned: Vec<_> = (0..300).filter_map(|_| build(100_000)).collect();
        assert_eq!(warned, [Warning::BuiltPerRequest]);
    }
}
