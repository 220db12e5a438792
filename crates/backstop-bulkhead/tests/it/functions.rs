//! Functions are called in a bulkhead by its handle.

use std::{
    future::pending,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use backstop_bulkhead::{BulkheadHandle, BulkheadLayer};
use backstop_core::{Deadline, Reason, Scope, SetBy};
use backstop_kit::{Elapsed, Progress};
use tokio::{sync::oneshot, time::advance};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};

const MAX_WAIT: Duration = Duration::from_secs(2);

#[allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]
fn bulkhead(max_waiting: u32) -> BulkheadHandle {
    let builder = BulkheadLayer::builder("db").max_concurrent(1).max_waiting(max_waiting);
    let builder = if max_waiting > 0 { builder.max_wait(MAX_WAIT) } else { builder };
    builder.build().unwrap().handle()
}

/// A call that runs.
fn running(bulkhead: &BulkheadHandle) -> task::Spawn<impl Future + use<'_>> {
    let mut call = task::spawn(bulkhead.call(pending::<io::Result<()>>));
    assert_pending!(call.poll());
    call
}

#[tokio::test(start_paused = true)]
async fn a_call_holds_a_permit_until_its_function_ends() {
    let bulkhead = bulkhead(0);
    let (end, ended) = oneshot::channel();
    let mut call = task::spawn(bulkhead.call(|| ended));
    assert_eq!(bulkhead.in_use(), 0);
    assert_pending!(call.poll());
    assert_eq!(bulkhead.in_use(), 1);
    end.send(7).unwrap();
    assert_eq!(assert_ready_ok!(call.poll()), 7);
    assert_eq!(bulkhead.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_room_is_refused_and_its_function_not_called() {
    let bulkhead = bulkhead(0);
    let _running = running(&bulkhead);
    let full = bulkhead.call(|| -> std::future::Ready<io::Result<()>> { panic!("called") }).await.unwrap_err();
    assert_eq!(full.rejection().unwrap().reason(), Reason::BULKHEAD_FULL);
    assert_eq!(full.rejection().unwrap().retry_after(), Some(Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn calls_wait_in_line_for_so_long() {
    let bulkhead = bulkhead(1);
    let first = running(&bulkhead);
    let mut second = task::spawn(bulkhead.call(async || Ok::<_, io::Error>(7)));
    assert_pending!(second.poll());
    assert_eq!(bulkhead.waiting(), 1);
    drop(first);
    assert!(second.is_woken());
    assert_eq!(assert_ready_ok!(second.poll()), 7);
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (0, 0));

    let _running = running(&bulkhead);
    let mut third = task::spawn(bulkhead.call(async || Ok::<_, io::Error>(7)));
    assert_pending!(third.poll());
    advance(MAX_WAIT + Duration::from_millis(1)).await;
    let full = assert_ready!(third.poll()).unwrap_err();
    assert_eq!(full.rejection().unwrap().reason(), Reason::BULKHEAD_FULL);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait() {
    let bulkhead = bulkhead(1);
    let _running = running(&bulkhead);
    let mut scope = Scope::narrowed(Deadline::after(MAX_WAIT / 2, SetBy::Caller));
    let mut waiting = task::spawn(bulkhead.call(async || Ok::<_, io::Error>(7)));
    scope.enter(|| assert_pending!(waiting.poll()));
    advance(MAX_WAIT / 2 + Duration::from_millis(1)).await;
    let late = scope.enter(|| assert_ready!(waiting.poll())).unwrap_err();
    assert_eq!(late.rejection().unwrap().detail(), Some(&Elapsed::new(SetBy::Caller, Progress::NotAsked)));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_gives_up_its_place_in_line_or_its_permit() {
    let bulkhead = bulkhead(1);
    let first = running(&bulkhead);
    let mut second = task::spawn(bulkhead.call(pending::<io::Result<()>>));
    assert_pending!(second.poll());
    drop(second);
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (1, 0));
    // One that was given its permit, and hasn't used it yet.
    let mut third = task::spawn(bulkhead.call(pending::<io::Result<()>>));
    assert_pending!(third.poll());
    drop(first);
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (1, 0));
    drop(third);
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (0, 0));
}

#[test]
fn a_panic_gives_the_permit_back() {
    let bulkhead = bulkhead(0);
    let mut call = task::spawn(bulkhead.call(async || -> io::Result<()> { panic!("in the function") }));
    assert!(catch_unwind(AssertUnwindSafe(|| call.poll())).is_err());
    drop(call);
    assert_eq!(bulkhead.in_use(), 0);
}
