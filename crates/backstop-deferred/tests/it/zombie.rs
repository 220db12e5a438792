//! A worker that stood still while another one took over its job.

use std::{
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use backstop_deferred::{Deferred, Failure, Job, JobState};
use backstop_test::Logs;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tower::{BoxError, service_fn};
use tracing::Level;

use crate::common::{Breakable, Email, Fault, email, emails, secs, work};

const LOST: &str = "a claim was lost: another worker may run the job";

#[tokio::test(start_paused = true)]
async fn a_job_that_ends_after_another_worker_took_it_over_is_not_recorded() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let logs = Logs::up_to(Level::WARN);
    let _guard = logs.listen();
    let (end, ended) = watch::channel(false);
    let runs = Arc::new(AtomicBool::new(false));
    let has_begun = Arc::clone(&runs);
    let send = service_fn(move |_: Job<Email>| {
        has_begun.store(true, Relaxed);
        let mut ended = ended.clone();
        async move {
            _ = ended.wait_for(|has_ended| *has_ended).await;
            Ok::<_, BoxError>(())
        }
    });
    let receipt = emails.defer(&email("ada")).await.unwrap();
    let mut zombie = pin!(emails.worker(send).run(pending()));
    // It runs only while somebody waits for it.
    timeout(secs(2), &mut zombie).await.unwrap_err();
    assert!(runs.load(Relaxed));
    let (other, _worker) = work(&emails, async |_| {
        sleep(secs(100)).await;
        Ok(())
    });
    sleep(secs(60)).await;
    assert_eq!(other.all(), [("ada".to_owned(), 2)]);

    end.send_replace(true);
    timeout(secs(5), &mut zombie).await.unwrap_err();
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Running));
    assert_eq!((logs.events().only().message(), store.completed()), (LOST, 0));
    sleep(secs(100)).await;
    assert_eq!((emails.state(receipt.id).await.unwrap(), store.completed()), (Some(JobState::Done), 1));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ends_after_it_became_a_dead_letter_or_was_replayed_is_not_recorded() {
    for is_replayed in [false, true] {
        let store = Breakable::default();
        let emails = Deferred::<Email>::builder("emails", store.clone()).expires_after(secs(60)).build().unwrap();
        let (end, ended) = watch::channel(false);
        let send = service_fn(move |_: Job<Email>| {
            let mut ended = ended.clone();
            async move {
                _ = ended.wait_for(|has_ended| *has_ended).await;
                Ok::<_, BoxError>(())
            }
        });
        let receipt = emails.defer(&email("ada")).await.unwrap();
        let mut zombie = pin!(emails.worker(send).run(pending()));
        timeout(secs(2), &mut zombie).await.unwrap_err();
        assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Running));
        sleep(secs(60)).await;
        let (_sent, worker) = work(&emails, async |_| Ok(()));
        sleep(secs(5)).await;
        worker.abort();
        worker.await.unwrap_err();
        let failed = JobState::Failed(Failure::Expired);
        assert_eq!(emails.state(receipt.id).await.unwrap(), Some(failed));
        if is_replayed {
            assert!(emails.handle().replay(receipt.id).await.unwrap());
        }

        let logs = Logs::up_to(Level::WARN);
        let _guard = logs.listen();
        end.send_replace(true);
        timeout(secs(5), &mut zombie).await.unwrap_err();
        // A job that was replayed is run again.
        let expected = if is_replayed { (Some(JobState::Done), 1) } else { (Some(failed), 0) };
        assert_eq!((emails.state(receipt.id).await.unwrap(), store.completed()), expected);
        assert_eq!(logs.events().only().message(), LOST);
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_hangs_a_job_is_dropped_before_another_worker_may_begin_it() {
    /// When it was dropped.
    struct Dropped(watch::Sender<Option<Instant>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.send_replace(Some(Instant::now()));
        }
    }
    let store = Breakable::default();
    let (slow, fast) = (emails(store.clone()), emails(store.inner.clone()));
    let (drops, dropped) = watch::channel(None);
    let (_sent, _worker) = work(&slow, move |_| {
        let guard = Dropped(drops.clone());
        async move {
            let _guard = guard;
            pending().await
        }
    });
    slow.defer(&email("ada")).await.unwrap();
    sleep(secs(15)).await;
    store.set(Fault::Hangs);
    let (begins, mut begun) = watch::channel(None);
    let (_sent, _other) = work(&fast, move |_| {
        begins.send_replace(Some(Instant::now()));
        pending()
    });
    let begun = begun.wait_for(Option::is_some).await.unwrap().unwrap();
    let dropped = dropped.borrow().expect("the first attempt was dropped");
    assert!(dropped <= begun && begun - dropped < secs(3), "{:?}", begun - dropped);
}
