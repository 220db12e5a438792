//! Payloads that the store can't read.

use backstop_deferred::{DeferError, Deferred, Failure, JobState, MemoryJobStore, NotAccepted, store::JobStore};
use backstop_test::Logs;
use tokio::time::sleep;
use tracing::Level;

use crate::common::{Email, email, secs, work};

const SECRET: [u8; 32] = [7; 32];

/// No cipher, but nothing of the plain text is left.
fn flip(key: u8, bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ key).collect()
}

/// Seals under a key, and marks what it has sealed, as a cipher that authenticates does.
fn sealed(store: &MemoryJobStore, secret: [u8; 32], key: u8) -> Deferred<Email> {
    let seal = move |plain: &[u8]| Ok::<_, String>([vec![key], flip(key, plain)].concat());
    let open = move |sealed: &[u8]| match sealed {
        [mark, rest @ ..] if *mark == key => Ok(flip(key, rest)),
        other => Err(format!("not mine: {}", String::from_utf8_lossy(&flip(0x55, other)))),
    };
    Deferred::builder("emails", store.clone()).sealed(secret, seal, open).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_store_has_no_plain_text_and_the_worker_gets_it() {
    let (store, logs) = (MemoryJobStore::new(), Logs::up_to(Level::TRACE));
    let _guard = logs.listen();
    let emails = sealed(&store, SECRET, 0x55);
    let first =
        emails.defer(&email("ada@example.com")).key("ada@example.com", "ada@key").owner("ada@example.com").await;
    let first = first.unwrap();
    let stored = store.get(first.id).await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&stored.bytes).contains("ada@"));
    let (sent, _worker) = work(&emails, async |_| Err("the mail service is down".into()));
    sleep(secs(1)).await;
    assert_eq!(sent.all(), [("ada@example.com".to_owned(), 1)]);
    let shown = format!(
        "{store:?} {stored:?} {emails:?} {:?} {:?}",
        emails.handle().dead_letters(None, 10).await,
        logs.events()
    );
    assert!(!shown.contains("ada@"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn the_same_key_and_payload_are_known_though_no_two_sealed_payloads_are_alike() {
    let store = MemoryJobStore::new();
    let first = sealed(&store, SECRET, 1).defer(&email("ada")).key("ada", "17").await.unwrap();
    // The key of the cipher was changed in the meantime.
    let later = sealed(&store, SECRET, 2);
    let again = later.defer(&email("ada")).key("ada", "17").await.unwrap();
    assert_eq!((again.id, again.is_new), (first.id, false));
    let other = later.defer(&email("bob")).key("ada", "17").await.unwrap_err();
    assert!(matches!(other, DeferError::NotAccepted(NotAccepted::KeyReused)), "{other}");
    // The hashes in the store can't be made without the secret.
    let (mine, others) = (MemoryJobStore::new(), MemoryJobStore::new());
    let mut fingerprints = Vec::new();
    for (store, secret) in [(&mine, SECRET), (&others, [8; 32])] {
        let receipt = sealed(store, secret, 1).defer(&email("ada")).owner("ada").await.unwrap();
        let bytes = store.get(receipt.id).await.unwrap().unwrap().bytes;
        // Two hashes, after the version, the state, the counts, the token and two times.
        fingerprints.push(bytes.slice(47..111));
    }
    assert_ne!(fingerprints[0][..32], fingerprints[1][..32], "of the payload");
    assert_ne!(fingerprints[0][32..], fingerprints[1][32..], "of the owner");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sealed_is_not_accepted_and_what_cannot_be_opened_is_a_dead_letter_that_no_log_shows() {
    let (store, logs) = (MemoryJobStore::new(), Logs::up_to(Level::TRACE));
    let _guard = logs.listen();
    let fail = |secret: &[u8]| Err::<Vec<u8>, _>(String::from_utf8_lossy(secret).into_owned());
    let unsealed = Deferred::<Email>::builder("emails", store.clone()).sealed(SECRET, fail, fail).build().unwrap();
    let refused = unsealed.defer(&email("ada@example.com")).await.unwrap_err();
    assert!(matches!(refused, DeferError::NotAccepted(NotAccepted::Invalid(_))), "{refused}");

    let old = sealed(&store, SECRET, 0x55).defer(&email("ada@example.com")).await.unwrap();
    let before = store.get(old.id).await.unwrap().unwrap();
    let rotated = sealed(&store, SECRET, 2);
    let (sent, worker) = work(&rotated, async |_| Ok(()));
    sleep(secs(3)).await;
    assert_eq!(rotated.state(old.id).await.unwrap(), Some(JobState::Failed(Failure::Malformed)));
    assert_eq!(sent.all(), []);
    let shown = format!("{refused} {refused:?} {:?}", logs.events());
    assert!(!logs.events().is_empty() && !shown.contains("ada@"), "{shown}");
    worker.abort();

    let again = sealed(&store, SECRET, 0x55);
    assert!(again.handle().replay(old.id).await.unwrap());
    let (sent, _worker) = work(&again, async |_| Ok(()));
    sleep(secs(3)).await;
    assert_eq!(sent.all().len(), 1);
    assert_eq!(again.state(old.id).await.unwrap(), Some(JobState::Done));
    let done = store.get(old.id).await.unwrap().unwrap();
    assert_eq!(before.bytes.len() - done.bytes.len(), 1 + r#"{"to":"ada@example.com"}"#.len(), "the payload is erased");
}

#[tokio::test(start_paused = true)]
async fn sealing_may_add_4_kib() {
    for (added, is_accepted) in [(4_096, true), (4_097, false)] {
        let plain = serde_json::to_vec(&email("ada")).unwrap();
        let seal = move |plain: &[u8]| Ok::<_, String>([plain, &vec![0; added]].concat());
        let open = |sealed: &[u8]| Ok::<_, String>(sealed.to_vec());
        let emails = Deferred::<Email>::builder("emails", MemoryJobStore::new()).max_payload(plain.len());
        let result = emails.sealed(SECRET, seal, open).build().unwrap().defer(&email("ada")).await;
        assert_eq!(result.is_ok(), is_accepted, "{result:?}");
        assert!(matches!(result, Ok(_) | Err(DeferError::NotAccepted(NotAccepted::TooLong { .. }))), "{result:?}");
    }
}
