//! A view as text: one fact a line.
//!
//! ```text
//! backstop-health 1
//! status degraded
//! level healthy
//! ready yes
//! component database degraded
//! ```
//!
//! A view of another version is not read, and neither is one with an unknown word: nobody may take it for good news.

use backstop_core::{Level, Name};
use bytes::Bytes;

use super::InstanceView;
use crate::{ComponentState, HealthView, config::MOST_COMPONENTS};

const VERSION: &str = "backstop-health 1";

pub(super) fn write(view: &HealthView) -> Bytes {
    let ready = if view.readiness().is_ready() { "yes" } else { "no" };
    let mut text = format!("{VERSION}\nstatus {}\nlevel {}\nready {ready}\n", view.status(), view.level());
    for component in view.components() {
        text.push_str(&format!("component {} {}\n", component.name(), component.state()));
    }
    text.into()
}

pub(super) fn read(instance: String, view: &[u8]) -> Option<InstanceView> {
    let instance = Name::new(instance).ok()?;
    let mut lines = std::str::from_utf8(view).ok()?.lines();
    if lines.next()? != VERSION {
        return None;
    }
    let status = level(lines.next()?.strip_prefix("status ")?)?;
    let level = level(lines.next()?.strip_prefix("level ")?)?;
    let is_ready = match lines.next()?.strip_prefix("ready ")? {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    let component = |line: &str| {
        let (name, state) = line.strip_prefix("component ")?.split_once(' ')?;
        Some((Name::new(name.to_owned()).ok()?, component_state(state)?))
    };
    let components: Vec<_> = lines.take(MOST_COMPONENTS + 1).map(component).collect::<Option<_>>()?;
    if components.len() > MOST_COMPONENTS {
        return None;
    }
    Some(InstanceView { instance, status, level, is_ready, components })
}

fn level(word: &str) -> Option<Level> {
    [Level::Healthy, Level::Degraded, Level::Critical].into_iter().find(|level| level.as_str() == word)
}

fn component_state(word: &str) -> Option<ComponentState> {
    use ComponentState::{Critical, Degraded, Healthy, Unknown};
    [Healthy, Unknown, Degraded, Critical].into_iter().find(|state| state.as_str() == word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Component, Health};

    #[tokio::test]
    async fn what_is_written_can_be_read() {
        let health = Health::builder()
            .component(Component::essential("database"))
            .component(Component::optional("search"))
            .build()
            .unwrap();
        health.report("database", Level::Critical, "gone", None).unwrap();
        let read = read("shop-1".to_owned(), &write(&health.view())).unwrap();
        assert_eq!((read.status, read.level, read.is_ready), (Level::Critical, Level::Healthy, true));
        let components: Vec<_> = read.components.iter().map(|(name, state)| (name.as_str(), *state)).collect();
        assert_eq!(components, [("database", ComponentState::Critical), ("search", ComponentState::Unknown)]);
    }

    #[test]
    fn an_unknown_word_or_version_is_not_taken_for_good_news() {
        let good = "backstop-health 1\nstatus healthy\nlevel healthy\nready yes\ncomponent a healthy\n";
        assert!(read("a".to_owned(), good.as_bytes()).is_some());
        for (word, other) in [("1", "2"), ("healthy", "splendid"), ("yes", "maybe"), ("a healthy", "a"), ("a ", "é ")]
        {
            let text = good.replacen(word, other, 1);
            assert_eq!(read("a".to_owned(), text.as_bytes()), None, "{text}");
        }
        assert_eq!(read("a b".to_owned(), good.as_bytes()), None);
    }

    #[test]
    fn more_components_than_an_instance_can_have_are_not_read() {
        let components = |count| "component a healthy\n".repeat(count);
        let view =
            |count| format!("backstop-health 1\nstatus healthy\nlevel healthy\nready yes\n{}", components(count));
        assert!(read("a".to_owned(), view(1_000).as_bytes()).is_some());
        assert_eq!(read("a".to_owned(), view(1_001).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn garbage_is_not_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(read("a".to_owned(), &bytes), None);
        }
    }
}
