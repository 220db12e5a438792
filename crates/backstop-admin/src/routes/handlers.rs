//! What each route does.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use backstop_core::Inspect;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header::CONTENT_TYPE};
use serde::Serialize;
use serde_json::Value as Json;
use tokio::time::timeout;

use super::{
    Admin,
    checklist::Checklist,
    problem::Problem,
    shown::{Component, collection, is_collection},
};
use crate::{
    actions::{self, Action},
    events::{Events, Position},
    guard::Operator,
    json::Strict,
};

/// How long a client may take to send a body.
const BODY_LIMIT: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Dependencies<'a> {
    dependencies: Vec<Dependency<'a>>,
}

#[derive(Serialize)]
struct Dependency<'a> {
    name: &'a str,
    components: Vec<Component<'a>>,
}

pub(super) async fn dependencies(State(Admin(shared)): State<Admin>) -> Response {
    let grouped = shared.inventory.by_dependency();
    let dependencies = grouped.into_iter().map(|(name, components)| Dependency {
        name: name.as_str(),
        components: components.into_iter().map(Component::from).collect(),
    });
    json(&Dependencies { dependencies: dependencies.collect() })
}

pub(super) async fn audit(State(Admin(shared)): State<Admin>) -> Response {
    json(&Checklist::from(&shared.inventory.audit()))
}

#[derive(Serialize)]
struct ActionList {
    actions: Vec<Action>,
}

pub(super) async fn actions(State(Admin(shared)): State<Admin>) -> Response {
    json(&ActionList { actions: shared.actions.all() })
}

pub(super) async fn events(State(Admin(shared)): State<Admin>, headers: HeaderMap) -> Result<Response, Problem> {
    let log = shared.inventory.log();
    let position = Position::of(&headers, &shared.boot, log)?;
    let client = shared.clients.enter().ok_or_else(|| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "16 clients read events already; close one of them")
    })?;
    let events = Events::new(log.clone(), shared.boot.clone(), position, client);
    let mut response = Response::new(Body::new(events));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

pub(super) async fn list(State(admin): State<Admin>, uri: Uri) -> Result<Response, Problem> {
    let (name, _) = segments(&uri);
    let components: Vec<_> = admin.in_collection(name).map(|(_, component)| Component::from(component)).collect();
    if components.is_empty() && !is_collection(name) {
        return Err(admin.no_collection());
    }
    Ok(json(&[(name, components)].into_iter().collect::<std::collections::BTreeMap<_, _>>()))
}

pub(super) async fn show(State(admin): State<Admin>, uri: Uri) -> Result<Response, Problem> {
    let (_, component) = admin.find(&uri)?;
    Ok(json(&Component::from(component)))
}

#[derive(Serialize)]
struct Acted<'a> {
    scope: &'static str,
    action: Option<Action>,
    component: Component<'a>,
}

pub(super) async fn act(State(admin): State<Admin>, request: Request) -> Result<Response, Problem> {
    let (index, component) = admin.find(request.uri())?;
    // The guard lets no write through without it.
    let operator = request.extensions().get::<Operator>().cloned();
    let Operator(who) = operator.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "who asks isn't known"))?;
    let body = body(request).await?;
    let (operation, asked) = actions::read(&body, component, who.as_str())?;
    let (reach, action) = admin.0.actions.act(index, component, operation, asked).await?;
    Ok(json(&Acted { scope: reach.as_str(), action, component: component.into() }))
}

async fn body(request: Request) -> Result<Json, Problem> {
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, format!("the body took longer than {BODY_LIMIT:?}"));
    let bytes = timeout(BODY_LIMIT, Bytes::from_request(request, &())).await.map_err(late)?;
    let bytes = bytes.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let parsed = serde_json::from_slice(&bytes).map(|Strict(json)| json);
    parsed.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body isn't valid JSON: {error}")))
}

pub(super) async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such path")
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path doesn't support the method; see `Allow` for those it does")
}

impl Admin {
    /// The components below a path, with their places in the inventory.
    fn in_collection<'a>(&'a self, name: &str) -> impl Iterator<Item = (usize, &'a dyn Inspect)> {
        self.0.inventory.iter().enumerate().filter(move |(_, component)| collection(component.kind()) == name)
    }

    fn find(&self, uri: &Uri) -> Result<(usize, &dyn Inspect), Problem> {
        let (kind, name) = segments(uri);
        let mut named = self.in_collection(kind).filter(|(_, component)| component.name().as_str() == name);
        match (named.next(), named.next()) {
            (Some(found), None) => Ok(found),
            (Some(_), Some(_)) => {
                let detail = "several components have this path; give them different names";
                Err(Problem::new(StatusCode::CONFLICT, detail))
            }
            (None, _) => {
                let known: Vec<_> = self.in_collection(kind).map(|(_, component)| component.name().as_str()).collect();
                if known.is_empty() {
                    return Err(self.no_collection());
                }
                Err(Problem::new(StatusCode::NOT_FOUND, format!("unknown name; known are: {}", known.join(", "))))
            }
        }
    }

    fn no_collection(&self) -> Problem {
        let known = self.0.inventory.iter().map(|component| collection(component.kind()));
        let known: Vec<_> = known.collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        Problem::new(StatusCode::NOT_FOUND, format!("no component has such a path; known are: {}", known.join(", ")))
    }
}

/// The segments of a path, as they were sent: no name needs an escape, so an escaped one is unknown.
fn segments(uri: &Uri) -> (&str, &str) {
    let path = uri.path().strip_prefix('/').unwrap_or_default();
    path.split_once('/').unwrap_or((path, ""))
}

fn json(content: &impl Serialize) -> Response {
    // Can't fail: all keys are texts.
    let body = serde_json::to_vec(content).unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}
