//! What a dependency sees of a worker, and what becomes of jobs, when it fails and recovers.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use backstop_deferred::{
    Deferred, MemoryJobStore,
    store::{JobStore, List},
};
use tokio::time::{Duration, Instant, sleep};

use crate::common::{Email, email, secs, work};

/// So many that some are due at any time, even if most wait for their next attempt.
const JOBS: usize = 1_000;
const MAX_CONCURRENT: usize = 8;

/// A dependency that fails from the start until a time. Each call takes a second.
#[derive(Clone)]
struct Dependency {
    recovers: Instant,
    running: Arc<AtomicUsize>,
    /// Since the recovery: when each call began, and how many ran then.
    calls: Arc<Mutex<Vec<(Duration, usize)>>>,
}

impl Dependency {
    async fn call(self) -> Result<(), tower::BoxError> {
        let running = self.running.fetch_add(1, Relaxed) + 1;
        if let Some(since) = Instant::now().checked_duration_since(self.recovers) {
            self.calls.lock().unwrap().push((since, running));
        }
        sleep(secs(1)).await;
        self.running.fetch_sub(1, Relaxed);
        if Instant::now() < self.recovers { Err("down".into()) } else { Ok(()) }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_leaves_no_dead_letter_and_the_recovery_is_no_storm() {
    for outage in [secs(30), secs(3_600)] {
        let store = MemoryJobStore::new();
        let builder = Deferred::<Email>::builder("emails", store.clone()).max_concurrent(MAX_CONCURRENT);
        let emails = builder.build().unwrap();
        for i in 0..JOBS {
            emails.defer(&email(&i.to_string())).await.unwrap();
        }
        let (running, calls) = Default::default();
        let dependency = Dependency { recovers: Instant::now() + outage, running, calls };
        let (_sent, worker) = work(&emails, {
            let dependency = dependency.clone();
            move |_| dependency.clone().call()
        });
        // The longest wait of a job that failed last is 15 min.
        sleep(outage + secs(3_600)).await;
        worker.abort();
        assert_eq!(store.totals(List::Done).await.unwrap().records, JOBS as u64);
        assert_eq!(emails.handle().dead_letters(None, 1).await.unwrap(), []);

        // One at once for 10 s after the last failure, then two for 10 s, and so on.
        let calls = dependency.calls.lock().unwrap();
        for second in 0..60 {
            let ramp = (1 + (second as usize + 1) / 10).min(MAX_CONCURRENT);
            let begun = calls.iter().filter(|(since, _)| since.as_secs() == second);
            let (number, most) = begun.fold((0, 0), |(number, most), (_, running)| (number + 1, most.max(*running)));
            assert!(most <= ramp && number <= ramp, "second {second}: {number} calls, {most} at once");
            assert!(number > 0, "second {second}: it has jobs to run");
        }
    }
}
