//! A worker that is dropped after any of its polls.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
};

use backstop_deferred::{Deferred, Job, JobState};
use tokio::time::sleep;
use tower::{BoxError, service_fn};

use crate::common::{Breakable, Email, Fault, email, secs, work};

/// Polls a future at most so many times, and drops it. Whether it has ended.
async fn polled(future: impl Future<Output = ()>, times: usize) -> bool {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|cx| {
        if polls == times {
            return Poll::Ready(false);
        }
        polls += 1;
        future.as_mut().poll(cx).map(|()| true)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_dropped_after_any_poll_loses_no_job_and_completes_none_twice() {
    for polls in 0.. {
        let store = Breakable::default();
        let builder = Deferred::<Email>::builder("emails", store.clone()).max_concurrent(2).grace(secs(1));
        let emails = builder.build().unwrap();
        let mut receipts = Vec::new();
        for to in ["sent", "fails", "hangs"] {
            receipts.push(emails.defer(&email(to)).await.unwrap());
            sleep(secs(1)).await;
        }
        store.set(Fault::Yields);
        let begun = Arc::new(AtomicUsize::new(0));
        let send = {
            let begun = Arc::clone(&begun);
            service_fn(move |job: Job<Email>| {
                begun.fetch_add(1, Relaxed);
                async move {
                    match &*job.payload().to {
                        "sent" => Ok(()),
                        "fails" => Err(BoxError::from("down")),
                        _ => std::future::pending().await,
                    }
                }
            })
        };
        // Until all have begun.
        let shutdown = async {
            while begun.load(Relaxed) < 3 {
                sleep(secs(1) / 10).await;
            }
        };
        let has_ended = polled(emails.worker(send).run(shutdown), polls).await;

        store.set(Fault::None);
        let (_sent, worker) = work(&emails, async |_| Ok(()));
        // A claim lasts 30 s.
        sleep(secs(40)).await;
        worker.abort();
        for receipt in receipts {
            let state = emails.state(receipt.id).await.unwrap();
            assert_eq!(state, Some(JobState::Done), "dropped after {polls} polls");
        }
        assert_eq!(store.completed(), 3, "dropped after {polls} polls");
        if has_ended {
            assert!(polls > 20, "{polls} polls: those between the calls of the store are among them");
            return;
        }
    }
}
