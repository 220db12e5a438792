//! E-mails that are sent later, while the mail service is down for two seconds:
//!
//! ```text
//! cargo run -p backstop-deferred --example emails
//! ```

#![allow(clippy::print_stdout, reason = "an example")]

use std::time::Duration;

use backstop_deferred::{Deferred, Job, JobKind, JobState, MemoryJobStore, Name, Permanent, name};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tower::{BoxError, service_fn};

#[derive(Deserialize, Serialize)]
struct Email {
    to: String,
}

impl JobKind for Email {
    const KIND: Name = name!("email");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    // `RedbJobStore::open(path).await?` keeps the jobs in a file.
    let store = MemoryJobStore::new();
    let emails = Deferred::<Email>::builder("emails", store).first_wait(Duration::from_secs(1)).build()?;

    let started = Instant::now();
    let send = service_fn(move |email: Job<Email>| async move {
        let to = &email.payload().to;
        println!("{:.1?}: attempt {} to {to}", started.elapsed(), email.attempt());
        if started.elapsed() < Duration::from_secs(2) {
            return Err(BoxError::from("the mail service is down"));
        }
        // Pass on `email.idempotency_key()`: after a crash, a job may run again.
        if to.contains('@') { Ok(()) } else { Err(Permanent::new("no such address").into()) }
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = emails.worker(send).run(async { _ = stopped.await });

    let main = async {
        let ada = emails.defer(&Email { to: "ada@example.com".to_owned() }).key("ada", "order-17").await?;
        let again = emails.defer(&Email { to: "ada@example.com".to_owned() }).key("ada", "order-17").await?;
        println!("the same key is the same job: {}", ada.id == again.id);
        let bob = emails.defer(&Email { to: "bob".to_owned() }).await?;
        for receipt in [ada, bob] {
            while let Some(JobState::Queued | JobState::Running) = emails.state(receipt.id).await? {
                sleep(Duration::from_millis(50)).await;
            }
            println!("{:.1?}: {:?}", started.elapsed(), emails.state(receipt.id).await?);
        }
        for letter in emails.handle().dead_letters(None, 10).await? {
            println!("a dead letter: {}, {}", letter.id, letter.failure.as_str());
        }
        drop(stop);
        Ok::<_, BoxError>(())
    };
    let (result, ()) = tokio::join!(main, worker);
    result
}
