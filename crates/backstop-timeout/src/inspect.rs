//! What an operator's inventory shows of timeouts and deadlines.

use backstop_core::{Inspect, Name, Value};

use crate::{DeadlineHandle, DeadlineHeader, PropagateDeadlineHandle, TimeoutHandle};

impl Inspect for TimeoutHandle {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        "timeout"
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("limit", self.limit().into()), ("after_upload", self.is_after_upload().into())]
    }
}

impl Inspect for DeadlineHandle {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        "deadline"
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("limit", self.limit().into()), ("trust", headers(&self.trust()))]
    }
}

impl Inspect for PropagateDeadlineHandle {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        "propagate-deadline"
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("margin", self.margin().into()), ("send", headers(&self.send()))]
    }
}

fn headers(headers: &[DeadlineHeader]) -> Value {
    headers.iter().map(DeadlineHeader::to_string).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{DeadlineLayer, PropagateDeadlineLayer, TimeoutLayer};

    #[test]
    fn limits_and_headers_are_shown_as_they_were_reloaded() {
        let timeout =
            TimeoutLayer::builder("ml").limit(Duration::from_secs(3)).after_upload().build().unwrap().handle();
        let deadline =
            DeadlineLayer::builder("edge").trust(DeadlineHeader::EnvoyExpectedRqTimeoutMs).build().unwrap().handle();
        let propagate =
            PropagateDeadlineLayer::builder("ml").send(DeadlineHeader::EnvoyExpectedRqTimeoutMs).build().unwrap();
        let handles: [&dyn Inspect; 3] = [&timeout, &deadline, &propagate.handle()];
        let header = Value::List(vec!["x-envoy-expected-rq-timeout-ms".to_owned().into()]);
        let shown = handles.map(|handle| (handle.name().as_str(), handle.kind(), handle.settings()));
        let secs = |secs| Value::Duration(Duration::from_secs(secs));
        let margin = Value::Duration(Duration::from_millis(10));
        assert_eq!(shown[0], ("ml", "timeout", vec![("limit", secs(3)), ("after_upload", Value::Bool(true))]));
        assert_eq!(shown[1], ("edge", "deadline", vec![("limit", secs(15)), ("trust", header.clone())]));
        assert_eq!(shown[2], ("ml", "propagate-deadline", vec![("margin", margin), ("send", header)]));

        let mut config = crate::TimeoutConfig::new("ml");
        config.limit = Duration::from_secs(4);
        timeout.reload(config).unwrap();
        assert_eq!(Inspect::settings(&timeout)[0].1, secs(4));
    }
}
