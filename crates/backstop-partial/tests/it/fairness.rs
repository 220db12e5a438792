//! A busy part starves no other, and only those that were woken are polled.

use std::{
    cell::Cell,
    future::poll_fn,
    task::{Poll, Waker},
    time::Duration,
};

use backstop_partial::{name, part};
use tokio::{sync::mpsc, time::timeout};

use crate::common::dashboard;

#[tokio::test]
async fn a_part_that_is_always_ready_to_go_on_starves_no_other() {
    let is_done = Cell::new(false);
    let busy = poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if is_done.get() { Poll::Ready(Ok::<_, &str>(())) } else { Poll::Pending }
    });
    let quiet = async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        is_done.set(true);
        Ok::<_, &str>(())
    };
    let page = dashboard().gather((part(name!("busy"), busy).required(), part(name!("quiet"), quiet).required())).await;
    assert!(page.is_ok());
}

/// What tokio allows a task to do in one poll, this part uses up in each poll.
#[tokio::test]
async fn a_part_that_uses_up_the_tasks_budget_starves_no_other() {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    (0..1_000_000).for_each(|i| sender.send(i).unwrap());
    let (one, mut other) = mpsc::channel(1);
    one.send(7).await.unwrap();
    let greedy = async {
        // Ends only when the other part has ended.
        while receiver.recv().await.is_some() && one.capacity() == 0 {}
        Ok::<_, &str>(())
    };
    let modest = async { other.recv().await.ok_or("closed") };
    let parts = (part(name!("greedy"), greedy).required(), part(name!("modest"), modest).required());
    let page = timeout(Duration::from_secs(60), dashboard().gather(parts)).await.unwrap().unwrap();
    assert_eq!(page.into_data().1, 7);
    assert!(!receiver.is_empty(), "it was the other part that ended it");
}

#[tokio::test]
async fn only_the_parts_that_were_woken_are_polled() {
    let polls = [const { Cell::new(0) }; 100];
    let wakers = [const { Cell::new(None::<Waker>) }; 100];
    let parts = (0..100).map(|i| {
        let (polls, waker) = (&polls[i], &wakers[i]);
        let future = poll_fn(move |cx| {
            polls.set(polls.get() + 1);
            waker.set(Some(cx.waker().clone()));
            if polls.get() == 5 { Poll::Ready(Ok::<_, &str>(i)) } else { Poll::Pending }
        });
        part(name!("item"), future).required()
    });
    let aggregate = dashboard();
    let mut page = tokio_test::task::spawn(aggregate.gather_all(parts));
    // In the first poll all parts begin, and the second one gives each a waker of its own.
    assert!(page.poll().is_pending() && page.poll().is_pending());
    let counts = || polls.each_ref().map(Cell::get);
    assert_eq!(counts(), [2; 100]);

    wakers[70].take().unwrap().wake();
    wakers[3].take().unwrap().wake();
    assert!(page.is_woken());
    assert!(page.poll().is_pending());
    let mut expected = [2; 100];
    (expected[70], expected[3]) = (3, 3);
    assert_eq!(counts(), expected);

    while counts() != [5; 100] {
        wakers.each_ref().iter().for_each(|waker| waker.take().into_iter().for_each(Waker::wake));
        assert!(page.is_woken());
        _ = page.poll();
    }
}

#[tokio::test]
async fn a_page_that_moves_to_another_task_is_woken_there() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let waits = async { receiver.await.map_err(|_| "closed") };
    let aggregate = dashboard();
    let mut first = tokio_test::task::spawn(Box::pin(aggregate.gather((part(name!("a"), waits).required(),))));
    assert!(first.poll().is_pending() && first.poll().is_pending());
    let mut second = tokio_test::task::spawn(first.into_inner());
    assert!(second.poll().is_pending());
    sender.send(7).unwrap();
    assert!(second.is_woken());
    assert!(second.poll().is_ready());
}
