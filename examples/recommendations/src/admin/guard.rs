//! Who may use the admin listener.

mod host;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, VARY, WWW_AUTHENTICATE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use self::host::Host;
use crate::config::AdminToken;
use crate::problem::Problem;

/// Keeps strangers, and pages in the operator's browser, away from the admin listener.
///
/// | attack by a page | defence |
/// |---|---|
/// | points its own name to this address (DNS rebinding), to become the same origin | `Host` must be a loopback name or the listener's own address |
/// | sends a request that needs no preflight: a form, plain text | writes must be `application/json`, which needs one |
/// | sends a preflight | only the app's own origin is allowed; requests with another `Origin` are refused |
///
/// If a token is configured, every request must carry it, except a preflight, which can't.
#[derive(Debug, Clone)]
pub(crate) struct Guard(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    app: SocketAddr,
    admin: SocketAddr,
    token: Option<AdminToken>,
}

impl Guard {
    /// Creates a guard for an app and an admin listener at these addresses.
    pub(crate) fn new(app: SocketAddr, admin: SocketAddr, token: Option<AdminToken>) -> Self {
        Self(Arc::new(Rules { app, admin, token }))
    }
}

pub(super) async fn check(State(Guard(rules)): State<Guard>, request: Request, next: Next) -> Response {
    let authority = match rules.authority(&request) {
        Ok(authority) => authority,
        Err(problem) => return problem.into_response(),
    };
    let origin = match rules.origin(request.headers(), &authority) {
        Ok(origin) => origin,
        Err(problem) => return problem.into_response(),
    };
    let mut response = if origin.is_some() && is_preflight(&request) {
        preflight()
    } else if let Some(refusal) = rules.refuse_stranger(request.headers()).or_else(|| refuse_other_than_json(&request))
    {
        refusal
    } else {
        next.run(request).await
    };
    if let Some(origin) = origin {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
    response
}

impl Rules {
    /// The authority that the request is addressed to, if it is ours.
    fn authority(&self, request: &Request) -> Result<Authority, Problem> {
        // An absolute-form target takes precedence over `Host` (RFC 9112 §3.2.2).
        let authority = match request.uri().authority() {
            Some(authority) => Some(authority.clone()),
            None => only(request.headers(), &HOST).and_then(|host| host.parse().ok()),
        };
        let Some(authority) = authority else {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "`Host` is missing or malformed"));
        };
        if Host::of(&authority).is_some_and(|host| host.reaches(self.admin.ip())) {
            return Ok(authority);
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "`Host` must be a loopback name or the admin listener's own address: any other name could belong to a web page that points it here",
        ))
    }

    /// The origin to allow: the app's or our own. `None` if the request isn't from a page.
    fn origin(&self, headers: &HeaderMap, us: &Authority) -> Result<Option<HeaderValue>, Problem> {
        if !headers.contains_key(ORIGIN) {
            return Ok(None);
        }
        let own = only(headers, &ORIGIN).filter(|origin| self.is_own(origin, us));
        match own.and_then(|origin| HeaderValue::from_str(origin).ok()) {
            Some(origin) => Ok(Some(origin)),
            None => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "only pages of the app's own origin may use the admin listener",
            )),
        }
    }

    fn is_own(&self, origin: &str, us: &Authority) -> bool {
        let Some(theirs) = origin.strip_prefix("http://").and_then(|origin| origin.parse::<Authority>().ok()) else {
            return false;
        };
        if theirs == *us {
            return true;
        }
        let (Some(theirs_host), our_host) = (Host::of(&theirs), Host::of(us)) else { return false };
        // An app that listens on all addresses has the host that reached the admin listener. Not any IP address: another
        // one could serve somebody else's page.
        let is_app = theirs_host.is_at(self.app.ip()) || Some(&theirs_host) == our_host.as_ref();
        is_app && theirs.port_u16().unwrap_or(80) == self.app.port()
    }

    fn refuse_stranger(&self, headers: &HeaderMap) -> Option<Response> {
        let token = self.token.as_ref()?;
        let shown = only(headers, &AUTHORIZATION).and_then(|credentials| {
            let (scheme, shown) = credentials.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(shown.trim_start_matches(' '))
        });
        if shown.is_some_and(|shown| token.matches(shown.as_bytes())) {
            return None;
        }
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "send the admin token as `Authorization: Bearer <TOKEN>`");
        Some(([(WWW_AUTHENTICATE, "Bearer")], problem).into_response())
    }
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let allowed = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, PUT, POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
    ];
    (StatusCode::NO_CONTENT, allowed).into_response()
}

fn refuse_other_than_json(request: &Request) -> Option<Response> {
    if !matches!(*request.method(), Method::PUT | Method::POST | Method::PATCH) {
        return None;
    }
    let essence = only(request.headers(), &CONTENT_TYPE).and_then(|given| given.split(';').next());
    if essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json")) {
        return None;
    }
    let detail = "send the body as `Content-Type: application/json`";
    Some(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into_response())
}

/// The only value of a header, as text. With several values, another party may have used a different one.
fn only<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}
