//! What a call allocates that succeeds at once: nothing, also while it is counted. One test, since the count is the process's.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    alloc::System,
    convert::Infallible,
    future::ready,
    pin::pin,
    task::{Context, Poll, Waker},
};

use backstop_circuit_breaker::{CircuitBreakerLayer, Name, Window, name};
use http::{Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The least of some, since the test's surroundings allocate, too.
fn allocations(layer: &CircuitBreakerLayer) -> usize {
    let mut service = layer.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(())))));
    let mut one = || {
        let request = Request::new(());
        let region = Region::new(ALLOCATOR);
        let polled = pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop()));
        let stats = region.change();
        assert!(matches!(polled, Poll::Ready(Ok(_))));
        stats.allocations + stats.reallocations
    };
    (0..10).map(|_| one()).min().unwrap()
}

fn each_allocates_nothing() {
    let named_at_run_time = CircuitBreakerLayer::new(Name::new("upstream".to_owned()).unwrap());
    let by_rate = CircuitBreakerLayer::builder("upstream").failure_rate(0.5).window(Window::Calls(100)).min_calls(20);
    for layer in [CircuitBreakerLayer::new(name!("upstream")), named_at_run_time, by_rate.build().unwrap()] {
        assert_eq!(allocations(&layer), 0, "{layer:?}");
    }
}

#[test]
fn a_call_that_succeeds_at_once_allocates_nothing_also_while_it_is_counted() {
    each_allocates_nothing();
    #[cfg(feature = "metrics")]
    {
        let counts = counting::Counts::default();
        metrics::with_local_recorder(&counts, each_allocates_nothing);
        // Ten calls of each layer, each with a counter and a histogram.
        assert_eq!(counts.recorded(), 60);
    }
}

#[cfg(feature = "metrics")]
mod counting {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

    use metrics::{
        Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };

    /// Counts what calls record, in one number, without an allocation.
    #[derive(Default)]
    pub(super) struct Counts(Arc<Recorded>);

    #[derive(Default)]
    struct Recorded(AtomicU64);

    impl Counts {
        pub(super) fn recorded(&self) -> u64 {
            self.0.0.load(Relaxed)
        }
    }

    impl CounterFn for Recorded {
        fn increment(&self, by: u64) {
            self.0.fetch_add(by, Relaxed);
        }

        fn absolute(&self, _: u64) {}
    }

    impl HistogramFn for Recorded {
        fn record(&self, _: f64) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    impl Recorder for Counts {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(Arc::clone(&self.0))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(Arc::clone(&self.0))
        }
    }
}
