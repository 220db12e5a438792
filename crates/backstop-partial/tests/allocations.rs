//! What a page allocates whose parts are ready at once. One test, since the count is the process's.

use std::{
    alloc::System,
    io,
    pin::pin,
    task::{Context, Poll, Waker},
};

use backstop_partial::{Aggregate, name, part};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

async fn ready(value: u32) -> Result<u32, io::Error> {
    Ok(value)
}

/// What `f` allocates. The least of some, since the test's surroundings allocate, too, and a first page registers its parts.
#[expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]
fn allocations(mut f: impl FnMut()) -> usize {
    let mut one = || {
        let region = Region::new(ALLOCATOR);
        f();
        let stats = region.change();
        stats.allocations + stats.reallocations
    };
    (0..10).map(|_| one()).min().unwrap()
}

#[test]
fn a_page_of_ready_parts_allocates_nothing() {
    let dashboard = Aggregate::new(name!("dashboard"));
    let gather = || {
        let parts = (
            part(name!("profile"), ready(1)).required(),
            part(name!("orders"), ready(2)).or(0).warn("Order history is temporarily unavailable"),
            part(name!("recommendations"), ready(3)).or_default(),
            part(name!("balance"), ready(4)).optional(),
            part(name!("reviews"), ready(5)).or_else(|_| 0),
        );
        let mut page = pin!(dashboard.gather(parts));
        let polled = page.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Ok(page)) if page.data().4 == 5));
    };
    // With the feature `metrics`, each part is counted; what that costs is the recorder's.
    assert_eq!(allocations(gather), 0);
}
