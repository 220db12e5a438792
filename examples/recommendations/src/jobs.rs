//! Work that is done later: what is stored of it, and how it is done.

use std::path::Path;
use std::time::Duration;

use backstop::deferred::{DeferError, NotAccepted, store::JobStore};
use backstop::nats_store::async_nats::Client;
use backstop::{
    ConfigError, Deferred, Job, JobKind, MemoryJobStore, Name, NatsJobStore, Permanent, RedbJobStore, name,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tower::BoxError;

use crate::orders::Services;
use crate::server::StartError;

/// How long running jobs may go on once the drain has begun. Less than the drain leaves them at least, so that those that go on for
/// longer are returned, and not aborted, which would count as a crash.
const GRACE: Duration = Duration::from_secs(3);

/// An order to be charged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The key under which the payment service charges it, now or later: so it is charged once, however often it is tried.
    pub(crate) key: String,
    pub(crate) user: String,
    pub(crate) product: String,
}

/// Charges an order that certainly wasn't charged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Charge(pub(crate) Order);

/// Finds out whether an order was charged. **It charges nothing**, and sees to it that nothing else charges it later.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FindOut(pub(crate) Order);

/// Sends an e-mail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Email {
    /// The key under which the mail service sends it.
    pub(crate) key: String,
    pub(crate) to: String,
    pub(crate) text: String,
}

// The names are in the store, so they never change.
impl JobKind for Charge {
    const KIND: Name = name!("charge");
}

impl JobKind for FindOut {
    const KIND: Name = name!("find_out");
}

impl JobKind for Email {
    const KIND: Name = name!("email");
}

/// The queues: one for each kind of job.
#[derive(Debug, Clone)]
pub struct Queues {
    pub(crate) charges: Deferred<Charge>,
    pub(crate) checks: Deferred<FindOut>,
    pub(crate) emails: Deferred<Email>,
}

impl Queues {
    /// Opens the files of the queues in this directory, or queues that end with the process.
    pub(crate) async fn open(dir: Option<&Path>) -> Result<Self, StartError> {
        let Some(dir) = dir else { return Self::in_memory().map_err(StartError::Layer) };
        let open = |name| RedbJobStore::open(dir.join(name));
        let stores = tokio::try_join!(open("charges.redb"), open("checks.redb"), open("emails.redb"));
        let (charges, checks, emails) = stores.map_err(StartError::Jobs)?;
        Self::over(charges, checks, emails).map_err(StartError::Layer)
    }

    /// Queues of all instances. Those names are the queues' on the server.
    pub(crate) fn shared(nats: &Client) -> Result<Self, ConfigError> {
        let store = |name| NatsJobStore::builder(nats.clone(), name).build();
        Self::over(store("charges")?, store("checks")?, store("emails")?)
    }

    /// Queues that end with the process.
    ///
    /// # Errors
    /// [`ConfigError`] if a setting isn't allowed, which the current ones are.
    pub fn in_memory() -> Result<Self, ConfigError> {
        Self::over(MemoryJobStore::new(), MemoryJobStore::new(), MemoryJobStore::new())
    }

    fn over<S: JobStore>(charges: S, checks: S, emails: S) -> Result<Self, ConfigError> {
        Ok(Self {
            charges: Deferred::builder("charges", charges).grace(GRACE).build()?,
            checks: Deferred::builder("checks", checks).grace(GRACE).build()?,
            emails: Deferred::builder("emails", emails).grace(GRACE).build()?,
        })
    }
}

/// Charges, and queues the e-mail that says so. Both are done once under their keys, so a job may run again.
pub(crate) async fn charge(job: Job<Charge>, services: Services, queues: Queues) -> Result<(), BoxError> {
    let Charge(order) = job.into_payload();
    match services.charge(&order).await?.status() {
        StatusCode::OK | StatusCode::CREATED => queue_email(&queues, &order, Happened::Charged).await,
        // `find_out` was first, and has said so.
        StatusCode::GONE => Ok(()),
        // Declined. All else, such as 429, may work later.
        status @ StatusCode::PAYMENT_REQUIRED => Err(Permanent::new(format!("status {status}")).into()),
        status => Err(format!("status {status}").into()),
    }
}

/// Makes it final whether the order was charged, and queues the e-mail that says it. "Not charged yet" wouldn't be final: the charge
/// may be on its way, or its caller may repeat it.
pub(crate) async fn find_out(job: Job<FindOut>, services: Services, queues: Queues) -> Result<(), BoxError> {
    let FindOut(order) = job.into_payload();
    let is_void = services.void(&order).await?;
    queue_email(&queues, &order, if is_void { Happened::Failed } else { Happened::Charged }).await
}

pub(crate) async fn send(job: Job<Email>, services: Services) -> Result<(), BoxError> {
    services.send(job.payload()).await
}

async fn queue_email(queues: &Queues, order: &Order, happened: Happened) -> Result<(), BoxError> {
    let email = order.email(happened);
    match queues.emails.defer(&email).key(&email.to, &email.key).await {
        Ok(_) => Ok(()),
        Err(error @ DeferError::NotAccepted(NotAccepted::KeyReused)) => Err(Permanent::new(error).into()),
        Err(error) => Err(error.into()),
    }
}

/// What became of an order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Happened {
    Charged,
    /// It wasn't charged, and never will be.
    Failed,
}

impl Order {
    /// The e-mail that says so. It is sent once, under a key of its own for each thing that may happen.
    pub(crate) fn email(&self, happened: Happened) -> Email {
        let Self { key, product, .. } = self;
        let (key, text) = match happened {
            Happened::Charged => (format!("{key}.charged"), format!("Your order of {product} was charged.")),
            Happened::Failed => {
                (format!("{key}.failed"), format!("Your order of {product} failed: please order again."))
            }
        };
        Email { key, to: self.user.clone(), text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_e_mail_under_the_key_of_another_fails_for_good_and_the_same_one_is_queued_once() {
        let queues = Queues::in_memory().unwrap();
        let order = |key: &str, product: &str| Order {
            key: key.to_owned(),
            user: "ada".to_owned(),
            product: product.to_owned(),
        };
        for _ in 0..2 {
            queue_email(&queues, &order("ada.17", "p001"), Happened::Charged).await.unwrap();
        }
        // Each thing that happens to an order has a key of its own.
        queue_email(&queues, &order("ada.17", "p001"), Happened::Failed).await.unwrap();
        let error = queue_email(&queues, &order("ada.17", "p002"), Happened::Charged).await.unwrap_err();
        assert!(error.is::<Permanent>(), "{error}");
        assert_eq!(error.to_string(), "not accepted: the key belongs to another payload");
        let email = order("ada.17", "p001").email(Happened::Charged);
        assert!(!queues.emails.defer(&email).key(&email.to, &email.key).await.unwrap().is_new);
    }
}
