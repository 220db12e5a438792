//! What takes the place of a part that fails.

use backstop_core::{Name, name};

use super::PartFailure;

/// What a page has of a part.
pub trait Recover<V> {
    /// What it has of it: mostly `V`, the part's own value.
    type Value;
    /// Whether the page fails with the part.
    const IS_REQUIRED: bool = false;
    /// The source of [`recover`](Self::recover)'s value in the page's labels.
    const SOURCE: Name = name!("default");

    /// If the part succeeded with `value`.
    fn keep(&mut self, value: V) -> Self::Value;

    /// If the part failed. `None` if the page fails, too.
    fn recover(&mut self, failure: &PartFailure) -> Option<Self::Value>;
}

/// Nobody has said yet what happens if the part fails, so it can't be gathered.
#[derive(Clone, Copy, Debug)]
pub struct Undecided;

/// See [`Part::required`](super::Part::required).
#[derive(Clone, Copy, Debug)]
pub struct Required;

/// See [`Part::or`](super::Part::or).
#[derive(Clone, Debug)]
pub struct Or<V>(pub(super) Option<V>);

/// See [`Part::or_else`](super::Part::or_else).
#[derive(Clone, Debug)]
pub struct OrElse<G>(pub(super) Option<G>);

/// See [`Part::or_default`](super::Part::or_default).
#[derive(Clone, Copy, Debug)]
pub struct OrDefault;

/// See [`Part::optional`](super::Part::optional).
#[derive(Clone, Copy, Debug)]
pub struct Optional;

impl<V> Recover<V> for Required {
    type Value = V;
    const IS_REQUIRED: bool = true;

    fn keep(&mut self, value: V) -> V {
        value
    }

    fn recover(&mut self, _: &PartFailure) -> Option<V> {
        None
    }
}

impl<V> Recover<V> for Or<V> {
    type Value = V;

    fn keep(&mut self, value: V) -> V {
        value
    }

    fn recover(&mut self, _: &PartFailure) -> Option<V> {
        self.0.take()
    }
}

impl<V, G: FnOnce(&PartFailure) -> V> Recover<V> for OrElse<G> {
    type Value = V;

    fn keep(&mut self, value: V) -> V {
        value
    }

    fn recover(&mut self, failure: &PartFailure) -> Option<V> {
        self.0.take().map(|value| value(failure))
    }
}

impl<V: Default> Recover<V> for OrDefault {
    type Value = V;

    fn keep(&mut self, value: V) -> V {
        value
    }

    fn recover(&mut self, _: &PartFailure) -> Option<V> {
        Some(V::default())
    }
}

impl<V> Recover<V> for Optional {
    type Value = Option<V>;
    const SOURCE: Name = name!("none");

    fn keep(&mut self, value: V) -> Option<V> {
        Some(value)
    }

    fn recover(&mut self, _: &PartFailure) -> Option<Option<V>> {
        Some(None)
    }
}
