//! What operators see and change.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use backstop_core::{EventLog, Inspect, Value};
use backstop_deferred::{Deferred, DeferredConfig, JobState, MemoryJobStore, NotAccepted, Permanent};
use backstop_health::{Component, ComponentState, Health};
use backstop_test::Logs;
use tokio::time::{Instant, sleep};
use tower::{BoxError, service_fn};
use tracing::Level;

use crate::common::{Breakable, Email, Fault, email, emails, secs, work};

fn state(of: &dyn Inspect, field: &str) -> Value {
    of.state().into_iter().find(|(name, _)| *name == field).unwrap().1
}

#[tokio::test(start_paused = true)]
async fn a_queue_shows_what_is_in_it_and_whether_its_workers_take_jobs() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let handle = emails.handle();
    let log = EventLog::new(8);
    handle.report_to(&log);
    handle.report_to(&EventLog::new(1));
    assert_eq!((handle.name().as_str(), handle.kind()), ("emails", "deferred"));
    assert_eq!(handle.settings()[0], ("max_pending", Value::Integer(10_000)));
    let started = Instant::now();
    let (_sent, _worker) = work(&emails, move |job| async move {
        match &*job.payload().to {
            "hangs" => std::future::pending().await,
            "fails" => Err(Permanent::new("no such address").into()),
            _ => Err(BoxError::from("down")),
        }
    });
    for to in ["fails", "hangs", "waits", "waits"] {
        emails.defer(&email(to)).await.unwrap();
        sleep(secs(1)).await;
    }
    sleep(secs(10)).await;
    assert_eq!((handle.queued(), handle.running(), handle.dead(), handle.halted()), (2, 1, 1, None));
    // One job at a time, and that hangs.
    assert!(handle.oldest().unwrap() >= secs(10) && handle.oldest().unwrap() <= started.elapsed());
    assert_eq!(state(&handle, "queued"), Value::Integer(2));

    store.set(Fault::Refuses);
    sleep(secs(2)).await;
    assert_eq!((handle.queued(), handle.halted()), (2, Some("store-failed")));
    store.set(Fault::None);
    sleep(secs(2)).await;
    assert_eq!(state(&handle, "halted"), Value::None);
    let reported: Vec<_> = log.after(0).into_iter().map(|event| event.fields[0].clone()).collect();
    assert_eq!(reported, [("halted", "store-failed".into()), ("halted", Value::None)]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_whose_dead_letters_are_full_is_degraded_until_they_are_discarded() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_dead_letters(1).build().unwrap();
    let handle = emails.handle();
    let component = Component::optional("emails").backlog(1, move || u64::from(handle.halted().is_some()));
    let health = Health::builder().component(component).build().unwrap();
    tokio::spawn(health.run());
    let (sent, _worker) = work(&emails, async |_| Err(Permanent::new("no such address").into()));
    let first = emails.defer(&email("nobody")).await.unwrap();
    sleep(secs(1)).await;
    emails.defer(&email("nobody")).await.unwrap();
    sleep(secs(60)).await;
    let state = || health.component("emails").unwrap().state();
    assert_eq!((sent.all().len(), state()), (1, ComponentState::Degraded));
    emails.handle().discard(first.id).await.unwrap();
    let handle = emails.handle();
    let mut config = handle.config();
    config.max_dead_letters = 100;
    handle.reload(config).unwrap();
    sleep(secs(60)).await;
    assert_eq!((sent.all().len(), state()), (2, ComponentState::Healthy));
}

#[tokio::test(start_paused = true)]
async fn a_reload_reaches_workers_and_whoever_defers() {
    let emails = Deferred::<Email>::builder("emails", Breakable::default()).max_concurrent(1).build().unwrap();
    let handle = emails.handle();
    let running = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&running);
    let (_sent, _worker) = work(&emails, move |_| {
        let now = Arc::clone(&now);
        now.fetch_add(1, Relaxed);
        async move {
            sleep(secs(1)).await;
            now.fetch_sub(1, Relaxed);
            Ok(())
        }
    });
    for i in 0..1_000 {
        emails.defer(&email(&i.to_string())).await.unwrap();
    }
    let set = |change: fn(&mut DeferredConfig)| {
        let mut config = handle.config();
        change(&mut config);
        handle.reload(config).unwrap();
    };
    sleep(secs(60)).await;
    assert_eq!(running.load(Relaxed), 1);
    set(|config| config.max_concurrent = 4);
    sleep(secs(60)).await;
    assert_eq!(running.load(Relaxed), 4);
    set(|config| config.max_concurrent = 2);
    sleep(secs(2)).await;
    assert_eq!(running.load(Relaxed), 2);

    set(|config| config.max_payload = 1);
    let error = emails.defer(&email("ada")).await.unwrap_err();
    assert!(
        matches!(error, backstop_deferred::DeferError::NotAccepted(NotAccepted::TooLong { max: 1, .. })),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reloaded_limit_bounds_the_next_call_of_the_store() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let handle = emails.handle();
    let mut config = handle.config();
    config.store_timeout = secs(7);
    handle.reload(config).unwrap();
    store.set(Fault::Hangs);
    let since = Instant::now();
    let job = emails.defer(&email("ada")).await.unwrap_err();
    assert_eq!(since.elapsed().as_secs(), 7, "{job}");
}

#[test]
fn a_bad_reload_changes_nothing() {
    let handle = emails(MemoryJobStore::new()).handle();
    let before = handle.config();
    let mut config = DeferredConfig::new("emails");
    config.max_dead_letters = 0;
    for (config, field) in [(config, "max_dead_letters"), (DeferredConfig::new("orders"), "name")] {
        assert_eq!(handle.check(&config).unwrap_err().field, field);
        assert_eq!(handle.reload(config).unwrap_err().field, field);
    }
    assert_eq!(handle.config(), before);
}

#[tokio::test(start_paused = true)]
async fn a_worker_stops_when_a_drain_begins_and_loses_no_job() {
    let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).build().unwrap();
    let health = Health::builder().component(Component::optional("mail")).build().unwrap();
    let drain = health.drain();
    let send = service_fn(async |job: backstop_deferred::Job<Email>| {
        sleep(if job.payload().to == "hangs" { secs(3_600) } else { secs(5) }).await;
        Ok::<_, BoxError>(())
    });
    // Two at once.
    let workers = [0; 2].map(|_| tokio::spawn(emails.worker(send).run(drain.begun())));
    let ends = emails.defer(&email("ada")).await.unwrap();
    let hangs = emails.defer(&email("hangs")).await.unwrap();
    sleep(secs(3)).await;
    drain.begin();
    let late = emails.defer(&email("late")).await.unwrap();
    let since = Instant::now();
    for worker in workers {
        drain.finish(worker).await.unwrap().unwrap();
    }
    assert_eq!(since.elapsed().as_secs(), 15, "the grace");
    for (receipt, state) in [(ends, JobState::Done), (hangs, JobState::Queued), (late, JobState::Queued)] {
        assert_eq!(emails.state(receipt.id).await.unwrap(), Some(state));
    }
    let (sent, _worker) = work(&emails, async |_| Ok(()));
    sleep(secs(5)).await;
    let mut sent = sent.all();
    sent.sort();
    assert_eq!(sent, [("hangs".to_owned(), 1), ("late".to_owned(), 1)], "a returned attempt doesn't count");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_gone_is_shown_and_logged() {
    let emails = emails(MemoryJobStore::new());
    let handle = emails.handle();
    let logs = Logs::up_to(Level::WARN);
    let _guard = logs.listen();
    sleep(secs(60)).await;
    assert_eq!(handle.halted(), None, "no worker has run here");
    let (_sent, worker) = work(&emails, async |_| Ok(()));
    sleep(secs(60)).await;
    assert_eq!((handle.halted(), logs.events().len()), (None, 0));
    worker.abort();
    sleep(secs(6)).await;
    assert_eq!(handle.halted(), Some("no-worker"));
    assert_eq!(state(&handle, "halted"), Value::from("no-worker"));
    assert_eq!(logs.events().only().message(), "a worker was dropped while it ran: it takes no more jobs");
    let (_sent, _worker) = work(&emails, async |_| Ok(()));
    sleep(secs(2)).await;
    assert_eq!(handle.halted(), None);
}
