//! The contract of stores.

use backstop_deferred::contract;
use backstop_test::NatsServer;

use crate::common::store;

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
