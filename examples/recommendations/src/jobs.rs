//! Work that is done later: what is stored of it, and how it is done.

use std::path::Path;

use backstop::{ConfigError, Deferred, Job, JobKind, MemoryJobStore, Permanent, RedbJobStore};
use serde::{Deserialize, Serialize};
use tower::BoxError;

use crate::orders::Services;
use crate::server::StartError;

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

/// Finds out whether an order was charged. **It charges nothing.**
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
    const KIND: &str = "charge";
}

impl JobKind for FindOut {
    const KIND: &str = "find_out";
}

impl JobKind for Email {
    const KIND: &str = "email";
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
        let store = async |name: &str| RedbJobStore::open(dir.join(name)).await.map_err(StartError::Jobs);
        let (charges, checks) = (store("charges.redb").await?, store("checks.redb").await?);
        let emails = store("emails.redb").await?;
        Ok(Self {
            charges: Deferred::builder("charges", charges).build().map_err(StartError::Layer)?,
            checks: Deferred::builder("checks", checks).build().map_err(StartError::Layer)?,
            emails: Deferred::builder("emails", emails).build().map_err(StartError::Layer)?,
        })
    }

    /// Queues that end with the process.
    ///
    /// # Errors
    /// [`ConfigError`] if a setting isn't allowed, which the current ones are.
    pub fn in_memory() -> Result<Self, ConfigError> {
        Ok(Self {
            charges: Deferred::builder("charges", MemoryJobStore::new()).build()?,
            checks: Deferred::builder("checks", MemoryJobStore::new()).build()?,
            emails: Deferred::builder("emails", MemoryJobStore::new()).build()?,
        })
    }
}

/// Charges, and queues the e-mail that says so. Both are done once under their keys, so a job may run again.
pub(crate) async fn charge(job: Job<Charge>, services: Services, queues: Queues) -> Result<(), BoxError> {
    let Charge(order) = job.into_payload();
    let status = services.charge(&order).await?.status();
    if status.is_client_error() {
        // Declined. Trying again doesn't help.
        return Err(Permanent::new(format!("status {status}")).into());
    }
    if !status.is_success() {
        return Err(format!("status {status}").into());
    }
    queue_email(&queues, &order, "was charged").await
}

/// Looks, and queues the e-mail that says what was found.
pub(crate) async fn find_out(job: Job<FindOut>, services: Services, queues: Queues) -> Result<(), BoxError> {
    let FindOut(order) = job.into_payload();
    let found = if services.is_charged(&order).await? { "was charged" } else { "failed: please order again" };
    queue_email(&queues, &order, found).await
}

pub(crate) async fn send(job: Job<Email>, services: Services) -> Result<(), BoxError> {
    services.send(job.payload()).await
}

async fn queue_email(queues: &Queues, order: &Order, found: &str) -> Result<(), BoxError> {
    queues.emails.defer(&order.email(found)).key(&order.user, &order.key).await?;
    Ok(())
}

impl Order {
    /// The e-mail about it. Its text follows from what happened, so that the same e-mail isn't sent twice.
    pub(crate) fn email(&self, happened: &str) -> Email {
        let text = format!("Your order of {} {happened}.", self.product);
        Email { key: self.key.clone(), to: self.user.clone(), text }
    }
}
