//! Guides to Backstop, one page per task. All of their code runs as tests.
//!
//! | guide | for |
//! |---|---|
//! | [Your first layer](first_layer) | an axum app that answers while a dependency is down, in three steps |
//! | [Ordering a stack](ordering) | which layer goes where, and why |
//! | [Clients](clients) | hyper's, reqwest's, and any other client as the primary |
//! | [Configuration and reload](configuration) | settings in a file: one for all dependencies, reloaded while calls run |
//! | [What the headers mean](headers) | front ends, CDNs and gateways, and those on call |
//! | [Functions and databases](functions) | queries, commands and other calls of plain async functions |
//! | [gRPC](grpc) | tonic servers and clients: statuses, streams, deadlines, metadata, gRPC-Web |
//! | [Levels and features](levels) | a service that knows its own state, and sheds what matters least |
//! | [Metrics, logs, Prometheus](telemetry) | what to ask of the metrics, and alerts on shares |
//! | [Partial answers](partial) | dashboards, product pages and resolvers, which are answered even if a part fails |
//! | [Side effects](side_effects) | `POST`, payments, gRPC: what is sent twice, and what never is |
//! | [The checklist as a test](checklist) | what protects each dependency, and a test that says what is missing |
//! | [Testing degradation](testing) | does each provider work, and what does the caller get? |
//! | [Work for later](deferred) | work that is accepted now and done later: e-mails, payments, and what is certain about them |
//! | [From tower's retry](from_tower_retry) | users of tower's `Retry`, `Timeout`, `ConcurrencyLimit` |
//! | [From tower-resilience](from_tower_resilience) | users of that crate: settings, and what can be deleted |

#[doc = include_str!("guides/checklist.md")]
pub mod checklist {}

#[doc = include_str!("guides/clients.md")]
pub mod clients {}

#[doc = include_str!("guides/configuration.md")]
pub mod configuration {}

#[doc = include_str!("guides/deferred.md")]
pub mod deferred {}

#[doc = include_str!("guides/first_layer.md")]
pub mod first_layer {}

#[doc = include_str!("guides/from_tower_resilience.md")]
pub mod from_tower_resilience {}

#[doc = include_str!("guides/from_tower_retry.md")]
pub mod from_tower_retry {}

#[doc = include_str!("guides/functions.md")]
#[doc = ""]
// Its code runs where databases' clients are dependencies: in `tests/`.
#[cfg_attr(not(doctest), doc = include_str!("guides/functions_databases.md"))]
pub mod functions {}

#[doc = include_str!("guides/grpc.md")]
pub mod grpc {}

#[doc = include_str!("guides/headers.md")]
pub mod headers {}

#[doc = include_str!("guides/levels.md")]
pub mod levels {}

#[doc = include_str!("guides/ordering.md")]
pub mod ordering {}

#[doc = include_str!("guides/partial.md")]
pub mod partial {}

#[doc = include_str!("guides/side_effects.md")]
pub mod side_effects {}

#[doc = include_str!("guides/telemetry.md")]
#[doc = ""]
#[doc = "```yaml"]
#[doc = include_str!("guides/alerts.yml")]
#[doc = "```"]
pub mod telemetry {}

#[doc = include_str!("guides/testing.md")]
pub mod testing {}
