//! Orders: charged, else queued, and never charged twice.
//!
//! | the payment service | then | answer |
//! |---|---|---|
//! | charges | an e-mail is sent, else queued | 201 |
//! | certainly didn't charge: its circuit is open, its connection refused | a job charges | 202, `charge_later` |
//! | may have charged: it hangs, fails, or its answer is lost | a job finds out | 202, `find_out` |
//! | declines | | 402 |
//! | finds the key void: a job has found out that it wasn't charged | | 410: order again with another key |
//! | … and nobody knows whether the job exists | | 503: the same order with the same key is safe |

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use backstop::deferred::idempotency_key;
use backstop::{
    CircuitBreakerHandle, ClientBody, ConfigError, Drain, FallbackChain, FallbackHandle, FallbackLayer, Inventory,
    Provider, Rejection, StandardHandle, Worker, name, standard,
};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use http::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

use crate::config::BaseUrl;
use crate::jobs::{self, Charge, Email, FindOut, Happened, Order, Queues};
use crate::problem::Problem;
use crate::user_id::UserId;

/// The time limit of one attempt. A payment takes longer than a look into a catalog.
const ATTEMPT: Duration = Duration::from_millis(300);

/// The time limit of the payment and the queues together: each has a third, or more of what the others leave.
const TOTAL: Duration = Duration::from_millis(1_500);

/// The largest order.
const LARGEST: usize = 4 * 1024;

type Service = BoxCloneSyncService<Request<Body>, Response, BoxError>;

/// Marks a response of the payment service, and not of a queue.
#[derive(Clone, Copy)]
struct FromPayment;

/// The services that orders need.
#[derive(Debug, Clone)]
pub(crate) struct Services {
    payment: Service,
    mail: Service,
    charges: BaseUrl,
    emails: Uri,
}

/// Takes orders.
#[derive(Debug, Clone)]
pub struct Orders {
    services: Services,
    /// The payment service, and what is done instead.
    charge_else_queue: Service,
    confirm: FallbackChain<Email, &'static str>,
    queues: Queues,
    jobs: Router,
    circuits: Vec<CircuitBreakerHandle>,
    stacks: [StandardHandle; 2],
    charge_chain: FallbackHandle,
}

impl Orders {
    /// Takes orders that these services charge and confirm, or these queues.
    ///
    /// # Errors
    /// [`ConfigError`] if `circuit_wait` is out of a circuit breaker's range.
    pub fn new(payment: &BaseUrl, mail: &BaseUrl, queues: Queues, circuit_wait: Duration) -> Result<Self, ConfigError> {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let (payment_service, payment_stack) = protect("payment_service", client.clone(), circuit_wait)?;
        let (mail_service, mail_stack) = protect("mail_service", client, circuit_wait)?;
        let services = Services {
            payment: payment_service,
            mail: mail_service,
            charges: payment.clone(),
            emails: mail.at(&["v1", "emails"]),
        };

        // A user's keys are that user's. A real app takes the user from a login.
        let user = |head: &http::request::Parts| head.extensions.get::<UserId>().map(ToString::to_string);
        let message = "Your order was accepted; an e-mail will say what became of it";
        let charges = queues.charges.http().path("/jobs/charges").message(message).require_key(user).build()?;
        // Only these jobs may be queued after a charge that may have been made, because they charge nothing.
        let checks = queues.checks.http().path("/jobs/checks").message(message).require_key(user);
        let checks = checks.for_reconciliation().build()?;
        let chain = FallbackChain::builder("orders")
            .total(TOTAL)
            .provider(charges.provider(name!("charge_later"), |request| async { read(request).await.map(Charge) }))
            .provider(checks.provider(name!("find_out"), |request| async { read(request).await.map(FindOut) }))
            .build()?;
        // Around the client, and not around the handler: only so is it known that a refused connection charged nothing.
        let fallback = FallbackLayer::new(name!("payment_service"), chain);
        let charge_chain = fallback.handle();
        let charge_else_queue = ServiceBuilder::new()
            .layer(fallback)
            .map_response(|mut response: Response| {
                response.extensions_mut().insert(FromPayment);
                response
            })
            .service(services.payment.clone());

        let (sender, emails) = (services.clone(), queues.emails.clone());
        let confirm = FallbackChain::builder("confirmations")
            .total(TOTAL)
            // An e-mail is sent once under its key, so both may be tried.
            .provider(Provider::from_fn(name!("mail_service"), move |email: Email| {
                let services = sender.clone();
                async move { services.send(&email).await.map(|()| "sent") }
            }))
            .provider(Provider::from_fn(name!("email_later"), move |email: Email| {
                let deferred = emails.defer(&email).key(&email.to, &email.key);
                async { deferred.await.map(|_| "queued") }
            }))
            .build()?;
        Ok(Self {
            services,
            charge_else_queue: BoxCloneSyncService::new(charge_else_queue),
            confirm,
            jobs: charges.routes().merge(checks.routes()),
            queues,
            circuits: [&payment_stack, &mail_stack]
                .into_iter()
                .filter_map(|it| it.circuit_breaker().cloned())
                .collect(),
            stacks: [payment_stack, mail_stack],
            charge_chain,
        })
    }

    /// Lists the layers around the services, what is done instead, and the queues.
    pub(crate) fn register(&self, inventory: Inventory) -> Inventory {
        let Self { stacks: [payment, mail], charge_chain, confirm, queues, .. } = self;
        inventory
            .register_all(payment.components())
            .register_all(mail.components())
            .register(charge_chain.clone())
            .register(confirm.handle())
            .register(queues.charges.handle())
            .register(queues.checks.handle())
            .register(queues.emails.handle())
    }

    pub(crate) fn circuits(&self) -> &[CircuitBreakerHandle] {
        &self.circuits
    }

    /// Where the `Location` of a 202 leads.
    pub(crate) fn job_routes(&self) -> Router {
        self.jobs.clone()
    }

    /// Runs the queued jobs until the drain begins, and those that run then to their end.
    ///
    /// While the circuit of the service that a kind of job calls is open, none of them begins: an outage uses up no attempts.
    pub(crate) fn spawn_workers(&self, tasks: &mut JoinSet<()>, drain: &Drain) -> Result<(), ConfigError> {
        let Self { services, queues, stacks: [payment, mail], .. } = self;
        let (with, all) = (services.clone(), queues.clone());
        let charge = service_fn(move |job| jobs::charge(job, with.clone(), all.clone()));
        tasks.spawn(gated(queues.charges.worker(charge), payment)?.run(drain.begun()));
        let (with, all) = (services.clone(), queues.clone());
        let find_out = service_fn(move |job| jobs::find_out(job, with.clone(), all.clone()));
        tasks.spawn(gated(queues.checks.worker(find_out), payment)?.run(drain.begun()));
        let with = services.clone();
        let send = service_fn(move |job| jobs::send(job, with.clone()));
        tasks.spawn(gated(queues.emails.worker(send), mail)?.run(drain.begun()));
        Ok(())
    }
}

/// A worker that begins no job while the circuit of the service that its jobs call is open.
fn gated<T, S>(worker: Worker<T, S>, stack: &StandardHandle) -> Result<Worker<T, S>, ConfigError> {
    match stack.circuit_breaker() {
        Some(circuit) => worker.gate(circuit.clone()),
        None => Ok(worker),
    }
}

/// Another service, behind the standard stack.
fn protect(
    name: &'static str,
    client: Client<HttpConnector, Body>,
    circuit_wait: Duration,
) -> Result<(Service, StandardHandle), ConfigError> {
    let stack = standard(name).timeout(ATTEMPT).circuit_breaker(|circuit| circuit.wait(circuit_wait)).build()?;
    let handle = stack.handle();
    let service = ServiceBuilder::new()
        .map_err(BoxError::from)
        .map_response(|response: http::Response<ClientBody>| response.map(Body::new))
        .layer(stack)
        .service(client);
    Ok((BoxCloneSyncService::new(service), handle))
}

async fn read(request: Request<Body>) -> Result<Order, BoxError> {
    Ok(serde_json::from_slice(&to_bytes(request.into_body(), LARGEST).await?)?)
}

impl Services {
    fn charge_request(&self, order: &Order) -> Result<Request<Body>, BoxError> {
        let body = serde_json::to_vec(order)?;
        keyed(Request::post(self.charges.at(&["v1", "charges"])), &order.key).body(body.into()).map_err(Into::into)
    }

    pub(crate) async fn charge(&self, order: &Order) -> Result<Response, BoxError> {
        call(&self.payment, self.charge_request(order)?).await
    }

    /// Makes the order's key void at the payment service, which refuses it from then on, unless it was charged. Whether it is void.
    pub(crate) async fn void(&self, order: &Order) -> Result<bool, BoxError> {
        let request = Request::delete(self.charges.at(&["v1", "charges", &order.key])).body(Body::empty())?;
        match call(&self.payment, request).await?.status() {
            StatusCode::OK => Ok(true),
            StatusCode::CONFLICT => Ok(false),
            status => Err(format!("status {status}").into()),
        }
    }

    pub(crate) async fn send(&self, email: &Email) -> Result<(), BoxError> {
        let body = serde_json::to_vec(email)?;
        let request = keyed(Request::post(self.emails.clone()), &email.key).body(body.into())?;
        let status = call(&self.mail, request).await?.status();
        if status.is_success() { Ok(()) } else { Err(format!("status {status}").into()) }
    }
}

/// With a key of the characters that [`order`] allows.
fn keyed(request: http::request::Builder, key: &str) -> http::request::Builder {
    request.header(CONTENT_TYPE, "application/json").header("idempotency-key", format!("\"{key}\""))
}

/// A refusal by one of our layers is an error, too.
async fn call(service: &Service, request: Request<Body>) -> Result<Response, BoxError> {
    let mut response = service.clone().oneshot(request).await?;
    match response.extensions_mut().remove::<Rejection>() {
        Some(rejection) => Err(rejection.into()),
        None => Ok(response),
    }
}

/// The body of an order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrder {
    user_id: String,
    product: String,
}

/// `POST /api/orders`. The caller chooses an `Idempotency-Key`, and repeats it with the same order if the answer was lost.
pub(crate) async fn order(
    State(orders): State<Orders>,
    headers: HeaderMap,
    body: Result<Json<NewOrder>, JsonRejection>,
) -> Result<Response, Problem> {
    let (user, order) = checked(&headers, body)?;
    let unavailable = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, UNKNOWN);
    let mut request = orders.services.charge_request(&order).map_err(unavailable)?;
    request.extensions_mut().insert(user);
    let response = orders.charge_else_queue.clone().oneshot(request).await.map_err(unavailable)?;
    let is_from_queue = response.extensions().get::<FromPayment>().is_none();
    match response.status() {
        // Queued, or the key belongs to another order.
        StatusCode::ACCEPTED | StatusCode::UNPROCESSABLE_ENTITY if is_from_queue => Ok(response),
        StatusCode::OK | StatusCode::CREATED => {
            // The order is charged, whatever becomes of the e-mail.
            let email = orders.confirm.execute(order.email(Happened::Charged)).await.ok().map(|found| found.value);
            let body = json!({ "status": "charged", "product": order.product, "email": email });
            Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(body)).into_response())
        }
        status @ StatusCode::PAYMENT_REQUIRED => Err(Problem::new(status, "the payment service declined")),
        status @ StatusCode::GONE => Err(Problem::new(status, FAILED)),
        _ => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, UNKNOWN)),
    }
}

const FAILED: &str = "the order failed and will never be charged: order again with another Idempotency-Key";
const UNKNOWN: &str = "it isn't known whether the order was accepted: repeat it with the same Idempotency-Key";

fn checked(headers: &HeaderMap, body: Result<Json<NewOrder>, JsonRejection>) -> Result<(UserId, Order), Problem> {
    let bad = |field, allowed: &str| {
        Problem::new(StatusCode::BAD_REQUEST, allowed).with("field", field).with("allowed", allowed)
    };
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let Json(NewOrder { user_id, product }) = body;
    let id = "1 to 64 characters of A-Z a-z 0-9 _ -";
    let user = UserId::new(&user_id).ok_or_else(|| bad("user_id", id))?;
    UserId::new(&product).ok_or_else(|| bad("product", id))?;
    let key = idempotency_key(headers).ok().flatten();
    let key = key
        .filter(|key| UserId::new(key).is_some())
        .ok_or_else(|| bad("Idempotency-Key", "1 to 64 characters of A-Z a-z 0-9 _ - in double quotes"))?;
    // Part of the key, so that no two users share one.
    Ok((user, Order { key: format!("{user_id}.{key}"), user: user_id, product }))
}
