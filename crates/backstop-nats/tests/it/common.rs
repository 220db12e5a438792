//! What the tests share.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop_deferred::{
    Deferred, Job, JobKind, Name, name,
    store::{JobStore, Place},
};
use backstop_nats::{
    NatsJobStore,
    async_nats::{Client, ConnectOptions, ServerAddr},
};
use backstop_test::NatsServer;
use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::BoxError;

/// Keeps trying to connect to one of these servers, with commas between them.
pub(crate) async fn client(urls: &str) -> Client {
    let servers: Vec<ServerAddr> = urls.split(',').map(|url| url.parse().unwrap()).collect();
    let quick = |_| Duration::from_millis(20);
    let options = ConnectOptions::new().retry_on_initial_connect().reconnect_delay_callback(quick);
    options.connect(servers).await.unwrap()
}

/// A store with a connection of its own, once it is connected.
pub(crate) async fn store(nats: &NatsServer, name: &str) -> NatsJobStore {
    let client = client(&nats.url()).await;
    client.flush().await.unwrap();
    NatsJobStore::builder(client, name).build().unwrap()
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Waits until something holds, and fails the test if it takes too long.
pub(crate) async fn within(time: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < time, "not within {time:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_types, reason = "records are due by the wall clock")]
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Moves a record, whatever its version is.
pub(crate) async fn put(store: &NatsJobStore, id: backstop_deferred::JobId, place: Place) {
    let stored = store.get(id).await.unwrap().unwrap();
    assert!(store.replace(id, stored.version, stored.bytes, place).await.unwrap().is_some());
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Email {
    pub(crate) to: String,
}

impl JobKind for Email {
    const KIND: Name = name!("email");
}

pub(crate) fn email(to: &str) -> Email {
    Email { to: to.to_owned() }
}

pub(crate) async fn emails(nats: &NatsServer, name: &str) -> Deferred<Email> {
    Deferred::builder("emails", store(nats, name).await).build().unwrap()
}

/// How often an e-mail went to whom.
#[derive(Clone, Default)]
pub(crate) struct Sent(Arc<Mutex<HashMap<String, u32>>>);

impl Sent {
    pub(crate) fn to(&self, to: &str) -> u32 {
        self.0.lock().unwrap().get(to).copied().unwrap_or_default()
    }

    /// Starts a worker that records what it sends.
    pub(crate) fn work<F>(
        &self,
        emails: &Deferred<Email>,
        answer: impl Fn() -> F + Clone + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let sent = Arc::clone(&self.0);
        let send = tower::service_fn(move |job: Job<Email>| {
            *sent.lock().unwrap().entry(job.into_payload().to).or_default() += 1;
            answer()
        });
        tokio::spawn(emails.worker(send).run(pending()))
    }
}
