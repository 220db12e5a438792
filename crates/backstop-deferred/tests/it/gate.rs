//! A worker that follows a circuit.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use backstop_circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, CircuitState};
use backstop_deferred::{Admission, Deferred, Job, JobState, MemoryJobStore};
use tokio::time::sleep;
use tower::{BoxError, Layer, service_fn};

use crate::common::{Breakable, Email, email, emails, secs};

/// A mail service that takes a second for each e-mail.
#[derive(Clone, Default)]
struct Mail {
    is_down: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
}

impl Mail {
    async fn send(self) -> Result<(), BoxError> {
        self.calls.fetch_add(1, Relaxed);
        self.most_at_once.fetch_max(self.running.fetch_add(1, Relaxed) + 1, Relaxed);
        sleep(secs(1)).await;
        self.running.fetch_sub(1, Relaxed);
        if self.is_down.load(Relaxed) { Err("down".into()) } else { Ok(()) }
    }

    /// Starts a worker that sends e-mails through a circuit breaker, whose circuit opens at the first failure.
    fn work(&self, emails: &Deferred<Email>) -> CircuitBreakerHandle {
        let breaker = CircuitBreakerLayer::builder("mail").consecutive_failures(1).plain().build().unwrap();
        let mail = self.clone();
        let send = breaker.layer(service_fn(move |_: Job<Email>| mail.clone().send()));
        tokio::spawn(emails.worker(send).gate(breaker.handle()).unwrap().run(pending()));
        breaker.handle()
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_circuit_is_open_the_store_is_not_asked_for_jobs() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let mail = Mail::default();
    let circuit = mail.work(&emails);
    circuit.isolate();
    sleep(secs(2)).await;
    let receipt = emails.defer(&email("ada")).await.unwrap();
    let asked = store.asked();
    sleep(secs(3_600)).await;
    assert_eq!((store.asked(), mail.calls.load(Relaxed)), (asked, 0));
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Queued));
    circuit.close();
    sleep(secs(3)).await;
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Done));
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_probed_by_one_job_once_its_wait_has_passed() {
    let emails = emails(MemoryJobStore::new());
    let mail = Mail::default();
    mail.is_down.store(true, Relaxed);
    let circuit = mail.work(&emails);
    for i in 0..20 {
        emails.defer(&email(&i.to_string())).await.unwrap();
    }
    sleep(secs(2)).await;
    for failures in 1..5 {
        assert_eq!((mail.calls.load(Relaxed), circuit.state()), (failures, CircuitState::Open));
        sleep(circuit.remaining_wait().unwrap()).await;
        assert_eq!(mail.calls.load(Relaxed), failures, "the wait has only just passed");
        sleep(secs(1) / 100).await;
        assert_eq!((mail.calls.load(Relaxed), circuit.state()), (failures + 1, CircuitState::HalfOpen));
        sleep(secs(1)).await;
    }
    mail.is_down.store(false, Relaxed);
    sleep(circuit.remaining_wait().unwrap() + secs(4)).await;
    assert_eq!(circuit.state(), CircuitState::Closed);
    assert_eq!(mail.most_at_once.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn after_an_open_circuit_it_starts_slowly_again() {
    let emails = emails(MemoryJobStore::new());
    for i in 0..1_000 {
        emails.defer(&email(&i.to_string())).await.unwrap();
    }
    let mail = Mail::default();
    let circuit = mail.work(&emails);
    sleep(secs(35)).await;
    assert_eq!(mail.running.load(Relaxed), 4);
    circuit.isolate();
    sleep(secs(5)).await;
    assert_eq!(mail.running.load(Relaxed), 0);
    circuit.close();
    mail.most_at_once.store(0, Relaxed);
    sleep(secs(9)).await;
    assert_eq!(mail.most_at_once.load(Relaxed), 1);
}

#[test]
fn only_one_circuit_is_a_gate() {
    let emails = emails(MemoryJobStore::new());
    let keyed =
        CircuitBreakerLayer::builder("mail").plain().build_keyed(100, |email: &Email| email.to.clone()).unwrap();
    let worker = emails.worker(service_fn(async |_: Job<Email>| Ok::<_, BoxError>(())));
    assert_eq!(worker.gate(keyed.handle()).unwrap_err().field, "gate");
}

#[tokio::test(start_paused = true)]
async fn a_closure_is_a_gate_and_of_several_gates_the_strictest_counts() {
    let store = Breakable::default();
    let emails = emails(store.clone());
    let (mail, breaker) = (Mail::default(), CircuitBreakerLayer::builder("mail").plain().build().unwrap());
    let admission = Arc::new(Mutex::new(Admission::Pause(None)));
    let (gate, sender) = (Arc::clone(&admission), mail.clone());
    let send = service_fn(move |_: Job<Email>| sender.clone().send());
    let worker = emails.worker(send).gate(breaker.handle()).unwrap().gate_fn(move || *gate.lock().unwrap());
    tokio::spawn(worker.run(pending()));
    sleep(secs(5)).await;
    for i in 0..100 {
        emails.defer(&email(&i.to_string())).await.unwrap();
    }
    sleep(secs(60)).await;
    assert_eq!((store.asked(), mail.calls.load(Relaxed)), (0, 0), "paused");
    *admission.lock().unwrap() = Admission::Probe;
    sleep(secs(30)).await;
    assert_eq!(mail.most_at_once.load(Relaxed), 1);
    *admission.lock().unwrap() = Admission::All;
    sleep(secs(25)).await;
    assert_eq!(mail.most_at_once.load(Relaxed), 3);
    breaker.handle().isolate();
    sleep(secs(3)).await;
    let calls = mail.calls.load(Relaxed);
    sleep(secs(60)).await;
    assert_eq!(mail.calls.load(Relaxed), calls, "the circuit is open");
}
