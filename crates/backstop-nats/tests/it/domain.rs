//! A client of a leaf node, whose queue is in the domain of the hub.

use std::net::{Ipv4Addr, TcpListener};

use backstop_deferred::{
    Deferred, JobState,
    store::{JobStore, List},
};
use backstop_nats::NatsJobStore;
use backstop_test::NatsServer;

use crate::common::{Email, Sent, client, email, secs, within};

#[tokio::test]
async fn a_client_of_a_leaf_node_uses_the_queue_of_the_hub() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let hub = format!(
        "server_name: hub, jetstream {{ store_dir: data, domain: hub }}, leafnodes {{ listen: \"127.0.0.1:{port}\" }}"
    );
    let leaf = format!(
        "server_name: leaf, jetstream {{ store_dir: data, domain: leaf }}, \
         leafnodes {{ remotes: [{{ url: \"nats-leaf://127.0.0.1:{port}\" }}] }}"
    );
    let Some(hub) = NatsServer::start_with(&hub) else { return };
    let leaf = NatsServer::start_with(&leaf).unwrap();
    let at = async |url: String, domain: Option<&str>| {
        let builder = NatsJobStore::builder(client(&url).await, "emails");
        domain.map_or(builder.clone(), |domain| builder.domain(domain)).build().unwrap()
    };
    let store = at(leaf.url(), Some("hub")).await;
    within(secs(20), "the leaf node is connected", async || store.totals(List::Queued).await.is_ok()).await;
    let emails = Deferred::<Email>::builder("emails", store).build().unwrap();
    let sent = Sent::default();
    sent.work(&emails, async || Ok(()));
    let receipt = emails.defer(&email("ada")).await.unwrap();
    let is_done = async || emails.state(receipt.id).await.unwrap() == Some(JobState::Done);
    within(secs(20), "a worker behind the leaf node runs it", is_done).await;

    let direct = Deferred::<Email>::builder("emails", at(hub.url(), None).await).build().unwrap();
    within(secs(5), "the hub has it", async || matches!(direct.state(receipt.id).await, Ok(Some(JobState::Done))))
        .await;
    let of_leaf = Deferred::<Email>::builder("emails", at(leaf.url(), None).await).build().unwrap();
    within(secs(5), "the leaf hasn't", async || matches!(of_leaf.state(receipt.id).await, Ok(None))).await;
}
