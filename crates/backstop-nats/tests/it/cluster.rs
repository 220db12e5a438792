//! A cluster of three servers, each of which stores everything.

use std::net::{Ipv4Addr, TcpListener};

use backstop_deferred::{
    Deferred, JobState,
    store::{JobStore, List, contract},
};
use backstop_nats::{NatsJobStore, async_nats::Client};
use backstop_test::NatsServer;
use tokio::task::block_in_place;

use crate::common::{Email, Sent, client, email, secs, within};

/// `None` without a `nats-server`.
fn cluster() -> Option<Vec<NatsServer>> {
    let listeners = [(); 3].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let ports = listeners.map(|listener| listener.local_addr().unwrap().port());
    let routes = ports.map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).join(", ");
    let start = |port| {
        let cluster = format!("cluster {{ name: shop, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}");
        NatsServer::start_with(&format!(
            "server_name: \"server-{port}\", jetstream {{ store_dir: data }}, max_payload: 8MB, {cluster}"
        ))
    };
    ports.map(start).into_iter().collect()
}

async fn connect(nats: &[NatsServer]) -> Client {
    let urls: Vec<_> = nats.iter().map(NatsServer::url).collect();
    client(&urls.join(",")).await
}

async fn store(nats: &[NatsServer], name: &str) -> NatsJobStore {
    let store = NatsJobStore::builder(connect(nats).await, name).replicas(3).build().unwrap();
    within(secs(60), "the cluster has a leader", async || store.totals(List::Queued).await.is_ok()).await;
    store
}

/// Whether each server has all of each stream.
async fn has_caught_up(operator: &Client) -> bool {
    for stream in ["jobs", "wakeups", "done", "dead"] {
        let info = format!("$JS.API.STREAM.INFO.backstop_emails_{stream}");
        let Ok(answer) = operator.request(info, "".into()).await else { return false };
        let answer = String::from_utf8_lossy(&answer.payload).into_owned();
        if answer.matches("\"current\":true").count() < 2 {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_keep_the_contract_and_one_of_them_may_be_gone() {
    let Some(mut nats) = cluster() else { return };
    let mut queue = 0;
    contract::all(async || {
        queue += 1;
        store(&nats, &format!("queue-{queue}")).await
    })
    .await;

    let emails = Deferred::<Email>::builder("emails", store(&nats, "emails").await).build().unwrap();
    let (operator, sent) = (connect(&nats).await, Sent::default());
    sent.work(&emails, async || Ok(()));
    let mut confirmed = Vec::new();
    for (round, server) in nats.iter_mut().enumerate() {
        for number in 0..50 {
            let to = format!("{round}-{number}");
            if let Ok(receipt) = emails.defer(&email(&to)).key("ada", &to).await {
                confirmed.push((receipt.id, to));
            }
        }
        block_in_place(|| server.kill());
        let to = format!("without {round}");
        let accepts = async || emails.defer(&email(&to)).key("ada", &to).await.is_ok();
        within(secs(60), "a job is accepted by two servers", accepts).await;
        block_in_place(|| server.restart());
        within(secs(60), "it has caught up with the others", async || has_caught_up(&operator).await).await;
    }
    assert!(confirmed.len() > 100, "{}", confirmed.len());
    for (id, to) in confirmed {
        let is_done = async || matches!(emails.state(id).await, Ok(Some(JobState::Done)));
        within(secs(120), &format!("{id} is done"), is_done).await;
        assert!(sent.to(&to) >= 1, "{id} {to}");
    }
}
