//! The contract of stores.

use backstop_deferred::store::contract;
use backstop_nats::NatsJobStore;
use backstop_test::NatsServer;
use tokio::task::block_in_place;

use crate::common::{client, store};

#[tokio::test]
async fn the_store_keeps_the_contract() {
    let Some(nats) = NatsServer::start() else { return };
    let mut queue = 0;
    contract::all(async || {
        queue += 1;
        store(&nats, &format!("queue-{queue}")).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_outlive_the_store_and_a_restart_of_the_server() {
    let Some(mut nats) = NatsServer::start() else { return };
    contract::records_outlive_the_store(async || {
        block_in_place(|| {
            // In order: a server that is killed may bring back wake-ups of jobs that have ended, which workers settle.
            nats.stop();
            nats.restart();
        });
        store(&nats, "emails").await
    })
    .await;
}

#[tokio::test]
async fn the_store_keeps_the_contract_in_a_domain() {
    let configuration = "jetstream { store_dir: data, domain: hub }, max_payload: 8MB";
    let Some(nats) = NatsServer::start_with(configuration) else { return };
    let mut queue = 0;
    contract::all(async || {
        queue += 1;
        let client = client(&nats.url()).await;
        client.flush().await.unwrap();
        NatsJobStore::builder(client, format!("queue-{queue}")).domain("hub").build().unwrap()
    })
    .await;
}
