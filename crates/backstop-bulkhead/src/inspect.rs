//! What an operator's inventory shows of a bulkhead.

use backstop_core::{Inspect, Name, Value};

use crate::BulkheadHandle;

impl Inspect for BulkheadHandle {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        "bulkhead"
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("max_concurrent", self.max_concurrent().into()),
            ("max_waiting", self.max_waiting().into()),
            ("max_wait", self.max_wait().into()),
            ("max_hold", self.max_hold().into()),
        ]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        vec![("in_use", self.in_use().into()), ("waiting", self.waiting().into())]
    }
}

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use super::*;
    use crate::BulkheadLayer;

    #[test]
    fn a_bulkhead_shows_its_permits() {
        let handle = BulkheadLayer::builder("ml").max_concurrent(3).build().unwrap().handle();
        let of: &dyn Inspect = &handle;
        assert_eq!(of.settings()[0], ("max_concurrent", Value::Integer(3)));
        assert_eq!(of.state(), [("in_use", Value::Integer(0)), ("waiting", Value::Integer(0))]);
    }
}
