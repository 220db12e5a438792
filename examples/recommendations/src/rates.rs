//! Exchange rates: a chain in a handler, with a guard around each client.
//!
//! Recommendations have tower layers around services. This is the other style: plain async functions, protected by guards. It fits a
//! client of any kind, such as a database's.
//!
//! | source | what it is | `X-Data-Freshness` |
//! |---|---|---|
//! | `primary_rates` | the API that we pay for | no header |
//! | `secondary_rates` | another API | `fresh`: as good |
//! | `last_known` | the last rate that either has given, up to a day old | `stale`, with its age |
//! | `built_in` | a table in the program: better than no price at all, and says from when it is | `degraded` |

mod currency;

use std::future::ready;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use backstop::{
    CallError, CircuitBreakerHandle, ConfigError, FallbackChain, Freshness, Guard, Inventory, LastKnownValues,
    Provider, name, standard,
};
use http::Uri;
use http::header::CACHE_CONTROL;
use serde::{Deserialize, Serialize};
use tower::BoxError;

pub use self::currency::Currency;
use crate::app::exhausted;
use crate::config::BaseUrl;
use crate::dependency::{ClassifyCall, HttpClient, UnexpectedStatus, get_json, http_client};

/// The time limit for all sources together.
const TOTAL: Duration = Duration::from_millis(800);

/// The time limit of one attempt. Two of them, and the wait between, fit into a quarter of the total.
const ATTEMPT: Duration = Duration::from_millis(90);

/// The greatest age of a remembered rate. Later, it would be a guess.
const OLDEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A rate, and since when it has been right where that is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// How much of the currency one euro is.
    pub rate: f64,
    /// The day of the rate, if it isn't today's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub as_of: Option<String>,
}

/// Exchange rates from the best source that answers.
#[derive(Debug, Clone)]
pub struct Rates {
    chain: FallbackChain<Currency, Rate>,
    known: LastKnownValues<Currency, Rate>,
    guards: [Guard; 2],
    circuits: Vec<CircuitBreakerHandle>,
}

impl Rates {
    /// Rates of these two APIs.
    ///
    /// # Errors
    /// [`ConfigError`] if `circuit_wait` is out of a circuit breaker's range.
    pub fn new(primary: &BaseUrl, secondary: &BaseUrl, circuit_wait: Duration) -> Result<Self, ConfigError> {
        let client = http_client();
        let primary = Api::new("primary_rates", primary, client.clone(), circuit_wait)?;
        let secondary = Api::new("secondary_rates", secondary, client, circuit_wait)?;
        let guards = [primary.guard.clone(), secondary.guard.clone()];
        let circuits = [&primary, &secondary].into_iter().filter_map(|api| api.circuit.clone()).collect();

        // A rate isn't personal, so the currency is the whole key.
        let known = LastKnownValues::<Currency, Rate>::builder("last_known").max_stale(OLDEST).build()?;
        let ask = |api: Api| {
            let known = known.clone();
            move |currency: Currency| {
                let (api, known) = (api.clone(), known.clone());
                async move { known.remember_result(currency, api.rate(currency)).await }
            }
        };
        let chain = FallbackChain::builder("exchange_rates")
            .total(TOTAL)
            .classify(ClassifyCall::default())
            .provider(Provider::from_fn(name!("primary_rates"), ask(primary)))
            // Labelled, because the answer is from elsewhere, but as good.
            .provider(Provider::from_fn(name!("secondary_rates"), ask(secondary)).freshness(Freshness::Fresh))
            .provider(Provider::from_fn(name!("last_known"), known.provider()))
            // Never fails: there are no other currencies than those of the table.
            .provider(Provider::from_fn(name!("built_in"), |currency: Currency| ready(currency.built_in())))
            .build()?;
        Ok(Self { chain, known, guards, circuits })
    }

    /// Lists the guards, the chain, and what is remembered of both APIs.
    pub(crate) fn register(&self, inventory: Inventory) -> Inventory {
        let guards = self.guards.iter().flat_map(Guard::components);
        inventory
            .register_all(guards)
            .register(self.chain.handle())
            .register_for([name!("primary_rates"), name!("secondary_rates")], self.known.clone())
    }

    pub(crate) fn circuits(&self) -> &[CircuitBreakerHandle] {
        &self.circuits
    }
}

/// One of the APIs, and what protects its calls.
#[derive(Debug, Clone)]
struct Api {
    guard: Guard,
    circuit: Option<CircuitBreakerHandle>,
    client: HttpClient,
    url: BaseUrl,
}

impl Api {
    fn new(name: &'static str, url: &BaseUrl, client: HttpClient, circuit_wait: Duration) -> Result<Self, ConfigError> {
        let stack = standard(name)
            .timeout(ATTEMPT)
            .retry(|retry| retry.max_attempts(2).backoff_base(Duration::from_millis(10)))
            .circuit_breaker(|circuit| circuit.wait(circuit_wait))
            .build()?;
        let circuit = stack.handle().circuit_breaker().cloned();
        // A guard repeats nothing by itself: it can't know what a function does. This one only reads.
        let guard = stack
            .guard()
            .transient(|UnexpectedStatus(status): &UnexpectedStatus| status.is_server_error())
            .repeat_timeouts();
        Ok(Self { guard, circuit, client, url: url.clone() })
    }

    async fn rate(&self, currency: Currency) -> Result<Rate, BoxError> {
        let uri: Uri = self.url.at(&["v1", "rates", currency.code()]);
        let called = self.guard.call(|| get_json(self.client.clone(), uri.clone())).await;
        called.map_err(|error| match error {
            // As an error, it tells the chain the reason.
            CallError::Rejected(rejection) => rejection.into(),
            CallError::Failed(error) => error,
            other => other.to_string().into(),
        })
    }
}

#[derive(Serialize)]
struct Answer {
    base: &'static str,
    currency: &'static str,
    #[serde(flatten)]
    rate: Rate,
    source: String,
}

/// `GET /api/exchange-rates/{currency}`: how much of it one euro is.
pub(crate) async fn exchange_rate(State(rates): State<Rates>, currency: Currency) -> Result<Response, Response> {
    let found = rates.chain.execute(currency).await.map_err(exhausted)?;
    let source = found.source.to_string();
    let body = Answer { base: "EUR", currency: currency.code(), rate: found.value, source };
    // The same for everybody, for a minute. A stale rate keeps this beside its true age, so that no cache takes it for fresh.
    Ok(([(CACHE_CONTROL, "public, max-age=60")], Json(body)).into_response())
}
