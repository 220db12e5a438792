//! Servers that aren't as they must be, and one that permits only what the documentation says.

use std::time::Duration;

use backstop_deferred::{
    DeferError, Deferred, JobId, JobState,
    store::{Created, JobStore, List, Place},
};
use backstop_nats::{NatsJobStore, async_nats::ConnectOptions};
use backstop_test::NatsServer;
use bytes::Bytes;
use tokio::time::Instant;

use crate::common::{Email, Sent, client, email, emails, put, secs, store, within};

const PLACE: Place = Place { list: List::Queued, due: 0 };

async fn error(store: &NatsJobStore) -> String {
    let created = store.create(JobId::from_bytes([1; 16]), None, Bytes::from_static(b"x"), PLACE, 10).await;
    created.unwrap_err().to_string()
}

/// A request of JetStream's API, by an operator.
async fn api(nats: &NatsServer, subject: &str, request: &str) {
    let client = client(&nats.url()).await;
    let answer = client.request(format!("$JS.API.{subject}"), request.to_owned().into()).await.unwrap();
    let answer = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(!answer.contains("\"error\""), "{subject}: {answer}");
}

#[tokio::test]
async fn a_stream_with_other_settings_is_an_error_that_names_the_setting() {
    let Some(nats) = NatsServer::start() else { return };
    let old =
        r#"{"name": "backstop_emails_wakeups", "subjects": ["backstop.emails.wakeup"], "retention": "workqueue"}"#;
    api(&nats, "STREAM.CREATE.backstop_emails_wakeups", old).await;
    let emails = store(&nats, "emails").await;
    let expected = "the stream backstop_emails_wakeups has `discard` \"old\", and must have \"new\"";
    assert_eq!(error(&emails).await, expected);
    // Once it is mended, it works.
    api(&nats, "STREAM.DELETE.backstop_emails_wakeups", "").await;
    let id = JobId::from_bytes([2; 16]);
    assert_eq!(emails.create(id, None, Bytes::new(), PLACE, 10).await.unwrap(), Created::New);

    let limited = r#"{"stream_name": "backstop_others_wakeups",
        "config": {"durable_name": "workers", "ack_policy": "explicit", "max_deliver": 3}}"#;
    let others = store(&nats, "others").await;
    others.totals(List::Queued).await.unwrap();
    api(&nats, "CONSUMER.DELETE.backstop_others_wakeups.workers", "").await;
    api(&nats, "CONSUMER.DURABLE.CREATE.backstop_others_wakeups.workers", limited).await;
    let others = store(&nats, "others").await;
    let expected =
        "the consumer workers of the stream backstop_others_wakeups has `max_ack_pending` 1000, and must have -1";
    assert_eq!(error(&others).await, expected);

    // One server can't have three replicas.
    let replicated = NatsJobStore::builder(client(&nats.url()).await, "emails").replicas(3).build().unwrap();
    replicated.get(id).await.unwrap_err();
    within(secs(5), "an error that names it", async || error(&replicated).await.contains("`num_replicas` 1")).await;
}

#[tokio::test]
async fn max_pending_can_be_changed() {
    let Some(nats) = NatsServer::start() else { return };
    let emails = store(&nats, "emails").await;
    let create = async |store: &NatsJobStore, number, max_pending| {
        store.create(JobId::from_bytes([number; 16]), None, Bytes::new(), PLACE, max_pending).await.unwrap()
    };
    assert_eq!(create(&emails, 1, 1).await, Created::New);
    assert_eq!(create(&emails, 2, 1).await, Created::Full);
    let updated = store(&nats, "emails").await;
    assert_eq!(create(&updated, 3, 2).await, Created::New);
    assert_eq!(create(&updated, 4, 2).await, Created::Full);
    assert_eq!(updated.totals(List::Queued).await.unwrap().records, 2);
}

#[tokio::test]
async fn a_lower_max_pending_drops_no_job() {
    let Some(nats) = NatsServer::start() else { return };
    let emails = store(&nats, "emails").await;
    let id = |number| JobId::from_bytes([number; 16]);
    let create = async |store: &NatsJobStore, number, max_pending| {
        store.create(id(number), None, Bytes::new(), PLACE, max_pending).await.unwrap()
    };
    for number in 0..8 {
        assert_eq!(create(&emails, number, 10).await, Created::New);
    }
    let updated = store(&nats, "emails").await;
    assert_eq!(create(&updated, 8, 4).await, Created::Full);
    assert_eq!(updated.totals(List::Queued).await.unwrap().records, 8);
    let end = async |numbers: std::ops::Range<u8>, left: u64| {
        for number in numbers {
            put(&updated, id(number), Place { list: List::Done, due: u64::MAX }).await;
        }
        let pending = async || updated.totals(List::Queued).await.unwrap().records;
        within(secs(5), "the wake-ups are gone", async || pending().await == left).await;
    };
    // Three are left: less than allowed.
    assert_eq!(updated.due(List::Queued, 0..=1, 10).await.unwrap(), (0..8).map(id).collect::<Vec<_>>());
    end(0..5, 3).await;
    assert_eq!(create(&updated, 9, 4).await, Created::New);
    assert_eq!(create(&updated, 10, 4).await, Created::Full);
    // Two: from now on, the server refuses more than four.
    end(5..7, 2).await;
    for number in 11..13 {
        assert_eq!(create(&updated, number, 4).await, Created::New);
    }
    assert_eq!(create(&updated, 13, 4).await, Created::Full);
}

#[tokio::test]
async fn records_without_the_stream_of_their_wakeups_are_an_error() {
    let Some(nats) = NatsServer::start() else { return };
    let emails = store(&nats, "emails").await;
    emails.create(JobId::from_bytes([1; 16]), None, Bytes::new(), PLACE, 10).await.unwrap();
    api(&nats, "STREAM.DELETE.backstop_emails_wakeups", "").await;
    let expected =
        "the stream backstop_emails_wakeups is gone, but backstop_emails_jobs has records: restore it, or delete both";
    assert_eq!(error(&store(&nats, "emails").await).await, expected);
}

#[tokio::test]
async fn a_server_without_jetstream_is_an_error_that_says_so() {
    let Some(nats) = NatsServer::start_with("") else { return };
    let error = error(&store(&nats, "emails").await).await;
    assert_eq!(error, "the stream doesn't exist, or JetStream isn't enabled for this account");
}

#[tokio::test]
async fn a_limit_of_the_account_is_an_error_that_says_so() {
    let limited = "jetstream { store_dir: data }
        accounts { shop { jetstream: { max_streams: 2 }, users: [{ user: ada, password: secret }] } }
        no_auth_user: ada";
    let Some(nats) = NatsServer::start_with(limited) else { return };
    let error = error(&store(&nats, "emails").await).await;
    assert_eq!(error, "the server answered: maximum number of streams reached (10027)");
}

#[tokio::test]
async fn a_job_that_is_too_long_for_the_server_isnt_accepted() {
    let Some(nats) = NatsServer::start_with("jetstream { store_dir: data }, max_payload: 1KB") else { return };
    let emails = emails(&nats, "emails").await;
    let error = emails.defer(&email(&"x".repeat(2_000))).await.unwrap_err();
    assert!(error.to_string().contains("payload"), "{error}");
    let sent = Sent::default();
    sent.work(&emails, async || Ok(()));
    let short = emails.defer(&email("ada")).await.unwrap();
    within(secs(30), "it works", async || emails.state(short.id).await.unwrap() == Some(JobState::Done)).await;
}

#[tokio::test]
async fn without_a_connection_a_call_fails_at_once_and_says_so() {
    let Some(nats) = NatsServer::start_with("authorization { user: ada, password: secret }") else { return };
    // Nobody listens; a password is missing.
    for url in ["nats://127.0.0.1:1", &nats.url()] {
        let store = NatsJobStore::builder(client(url).await, "emails").build().unwrap();
        let emails = Deferred::<Email>::builder("emails", store).build().unwrap();
        let since = Instant::now();
        let error = emails.defer(&email("ada")).await.unwrap_err();
        assert!(matches!(error, DeferError::Unknown(_)) && error.to_string().contains("not connected"), "{error}");
        assert!(since.elapsed() < secs(1));
    }
}

/// The permissions of the crate's documentation.
fn permissions() -> &'static str {
    let docs = include_str!("../../src/lib.rs");
    let (_, block) = docs.split_once("//! ```text\n").unwrap();
    block.split_once("//! ```").unwrap().0
}

#[tokio::test]
async fn the_documented_permissions_suffice_and_each_is_needed() {
    let permissions = permissions().replace("//!", "");
    let start = |permissions: &str| {
        let user = format!("{{ user: ada, password: secret, {permissions} }}");
        NatsServer::start_with(&format!("jetstream {{ store_dir: data }}, authorization {{ users: [{user}] }}"))
    };
    let works = async |nats: &NatsServer| -> bool {
        let options = ConnectOptions::with_user_and_password("ada".to_owned(), "secret".to_owned());
        let client = options.request_timeout(Some(Duration::from_millis(500))).connect(nats.url()).await.unwrap();
        let store = NatsJobStore::builder(client, "emails").build().unwrap();
        let id = JobId::from_bytes([1; 16]);
        let all = async {
            store.create(id, Some([1; 32]), Bytes::new(), PLACE, 10).await?;
            // Another bound than before.
            store.create(JobId::from_bytes([2; 16]), Some([1; 32]), Bytes::new(), PLACE, 10).await?;
            assert_eq!(store.due(List::Queued, 0..=1, 10).await?, [id]);
            for list in [List::Running, List::Done] {
                let stored = store.get(id).await?.ok_or("it is gone")?;
                store.replace(id, stored.version, Bytes::new(), Place { list, due: u64::MAX }).await?;
            }
            let stored = store.get(id).await?.ok_or("it is gone")?;
            store.remove(id, stored.version).await?;
            Ok::<_, backstop_deferred::StoreError>(store.totals(List::Queued).await?.records)
        };
        all.await.is_ok_and(|pending| pending == 0)
    };
    let Some(nats) = start(&permissions) else { return };
    assert!(works(&nats).await);
    let subjects: Vec<_> = permissions.split('"').skip(1).step_by(2).collect();
    assert!(subjects.len() > 5, "{subjects:?}");
    for subject in subjects {
        let nats = start(&permissions.replace(&format!("\"{subject}\""), "\"nothing\"")).unwrap();
        assert!(!works(&nats).await, "{subject} isn't needed");
    }
}

#[test]
fn a_store_can_be_dropped_outside_of_its_runtime() {
    let Some(nats) = NatsServer::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(async {
        let store = store(&nats, "emails").await;
        assert_eq!(store.due(List::Queued, 0..=u64::MAX, 1).await.unwrap(), []);
        store
    });
    drop(store);
    drop(runtime);
}
