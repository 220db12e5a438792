//! Who may use the routes.

mod host;
mod token;

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use backstop_core::Name;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
    uri::Authority,
};

use self::host::Host;
pub(crate) use self::token::Token;
use crate::routes::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Keeps strangers, and pages in an operator's browser, away. It knows no CORS: a preflight is never allowed.
///
/// | attack by a page | defence |
/// |---|---|
/// | points its own name to this address (DNS rebinding), to become the same origin | `Host` must be an address of the listener, `localhost`, or a configured name |
/// | sends a request that needs no preflight: a form, plain text | writes must be `application/json`, which needs one |
/// | sends any other request | requests with another `Origin`, or from another site by `Sec-Fetch-Site`, are refused |
/// | guesses, or has the browser add credentials | writes need a token, which no browser adds by itself |
/// | shows an answer as something else, or in a frame | `nosniff`, a `Content-Security-Policy` that allows nothing |
#[derive(Clone)]
pub(crate) struct Guard(Arc<Rules>);

pub(crate) struct Rules {
    pub(crate) listen: IpAddr,
    /// Further names of the listener, in lower case.
    pub(crate) names: Vec<String>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) reads_need_token: bool,
}

/// Whose token a request has.
#[derive(Clone, Debug)]
pub(crate) struct Operator(pub(crate) Name);

impl Guard {
    pub(crate) fn new(rules: Rules) -> Self {
        Self(Arc::new(rules))
    }
}

pub(crate) async fn check(State(Guard(rules)): State<Guard>, mut request: Request, next: Next) -> Response {
    let mut response = match rules.check(&request) {
        Ok(operator) => {
            if let Some(operator) = operator {
                request.extensions_mut().insert(operator);
            }
            next.run(request).await
        }
        Err(problem) => {
            tracing::debug!(target: "backstop::admin", why = problem.detail(), "refused a request");
            problem.into_response()
        }
    };
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (REFERRER_POLICY, "no-referrer"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl Rules {
    fn check(&self, request: &Request) -> Result<Option<Operator>, Problem> {
        let authority = self.authority(request)?;
        check_origin(request.headers(), &authority)?;
        // Whatever else a method may do, only these two change nothing (RFC 9110 §9.2.1). Headers that name another method
        // have no effect.
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let operator = self.operator(request.headers());
        if operator.is_none() && (self.reads_need_token || !is_read) {
            let detail = "send an operator's token, as `Authorization: Bearer <TOKEN>`";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
        }
        if !is_read && !is_json(request.headers()) {
            let detail = "send the body as `Content-Type: application/json`";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        Ok(operator)
    }

    /// The authority that the request is addressed to, if it is ours.
    fn authority(&self, request: &Request) -> Result<Authority, Problem> {
        let malformed = || Problem::new(StatusCode::BAD_REQUEST, "`Host` is missing, malformed, or there twice");
        let header = if request.headers().contains_key(HOST) {
            let host = only(request.headers(), &HOST).and_then(|host| host.parse::<Authority>().ok());
            Some(host.ok_or_else(malformed)?)
        } else {
            None
        };
        // That of the target takes precedence (RFC 9112 §3.2.2). Another one in `Host` is checked, too: a proxy may have used it.
        let authorities = [request.uri().authority().cloned(), header];
        let ours =
            |authority: &Authority| Host::of(authority).is_some_and(|host| host.reaches(self.listen, &self.names));
        if !authorities.iter().flatten().all(ours) {
            let detail = "`Host` must be an address of this listener, `localhost` if it is on loopback, or a configured name: \
                          any other name could belong to a web page that points it here";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        authorities.into_iter().flatten().next().ok_or_else(malformed)
    }

    fn operator(&self, headers: &HeaderMap) -> Option<Operator> {
        let (scheme, shown) = only(headers, &AUTHORIZATION)?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        token::owner(&self.tokens, shown.trim_start_matches(' ').as_bytes()).cloned().map(Operator)
    }
}

/// Refuses requests of pages that don't come from this listener.
fn check_origin(headers: &HeaderMap, us: &Authority) -> Result<(), Problem> {
    let is_ours = |origin: &str| {
        let theirs = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        theirs.is_some_and(|theirs| theirs.eq_ignore_ascii_case(us.as_str()))
    };
    let origin = !headers.contains_key(ORIGIN) || only(headers, &ORIGIN).is_some_and(is_ours);
    // `none` is a user who typed the address.
    let is_same_site = |site| matches!(site, "same-origin" | "none");
    let site = !headers.contains_key(SEC_FETCH_SITE) || only(headers, &SEC_FETCH_SITE).is_some_and(is_same_site);
    if origin && site {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "pages of other origins may not use these routes"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = only(headers, &CONTENT_TYPE).and_then(|given| given.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// The only value of a header, as text. With several values, another party may have used a different one.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}
