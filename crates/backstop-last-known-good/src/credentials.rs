//! Recognises request fields that contain credentials.

use http::HeaderName;

use crate::fields;

/// Whether any of a request's [fields] is a credential, by its name or by configuration.
pub(crate) fn any(request: &[u8], configured: &[HeaderName]) -> bool {
    let is_configured = |name| configured.iter().any(|one| one.as_str().as_bytes() == name);
    fields::iter(request).any(|(name, _)| is_credential(name) || is_configured(name))
}

/// Whether a field with this lower-case name counts as a credential by default.
fn is_credential(name: &[u8]) -> bool {
    // `X-Api-Key`, `Api-Key`, `Ocp-Apim-Subscription-Key`, `X-Amz-Security-Token`, `Cf-Access-Jwt-Assertion`, …
    let ends_so = name.ends_with(b"-key")
        || name.ends_with(b"_key")
        || name.ends_with(b"token")
        || name.ends_with(b"-secret")
        || name.ends_with(b"-jwt")
        || name.ends_with(b"-assertion");
    // `X-Auth-Token`, `X-Auth-Request-User`, `X-Authenticated-User`, …
    let begins_so = name.starts_with(b"x-auth");
    // Registered fields, and those that authenticating proxies set.
    ends_so
        || begins_so
        || matches!(
            name,
            b"apikey"
                | b"authorization"
                | b"client-cert"
                | b"cookie"
                | b"dpop"
                | b"proxy-authorization"
                | b"remote-user"
                | b"ssl-client-cert"
                | b"x-amzn-oidc-identity"
                | b"x-apikey"
                | b"x-forwarded-client-cert"
                | b"x-forwarded-email"
                | b"x-forwarded-preferred-username"
                | b"x-forwarded-user"
                | b"x-goog-authenticated-user-email"
                | b"x-goog-authenticated-user-id"
                | b"x-ms-client-principal"
                | b"x-ms-client-principal-id"
                | b"x-remote-user"
                | b"x-session-id"
                | b"x-user-id"
                | b"x-webauth-user"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_who_asks_is_known_by_its_name() {
        for name in [
            "apikey",
            "authorization",
            "client-cert",
            "cookie",
            "dpop",
            "proxy-authorization",
            "remote-user",
            "x-apikey",
            "x-forwarded-client-cert",
            "x-forwarded-email",
            "x-forwarded-user",
            "x-remote-user",
            "ssl-client-cert",
            "x-amzn-oidc-identity",
            "x-forwarded-preferred-username",
            "x-goog-authenticated-user-email",
            "x-goog-authenticated-user-id",
            "x-ms-client-principal",
            "x-ms-client-principal-id",
            "x-session-id",
            "x-user-id",
            "x-webauth-user",
            "x-api-key",
            "api-key",
            "api_key",
            "x-goog-api-key",
            "ocp-apim-subscription-key",
            "x-functions-key",
            "x-auth",
            "x-auth-token",
            "x-auth-request-email",
            "x-authorization",
            "x-authenticated-userid",
            "token",
            "x-token",
            "access_token",
            "accesstoken",
            "x-csrf-token",
            "x-amz-security-token",
            "x-client-secret",
            "x-goog-iap-jwt-assertion",
            "x-jwt",
        ] {
            assert!(is_credential(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_browsers_and_tracers_and_proxies_send_with_each_request_says_nothing_of_who_asks() {
        for name in [
            "accept",
            "accept-encoding",
            "accept-language",
            "b3",
            "cache-control",
            "connection",
            "dnt",
            "forwarded",
            "host",
            "if-none-match",
            "origin",
            "pragma",
            "priority",
            "range",
            "referer",
            "sec-ch-ua",
            "sec-fetch-dest",
            "sec-fetch-mode",
            "sec-fetch-site",
            "sec-fetch-user",
            "sec-gpc",
            "te",
            "traceparent",
            "tracestate",
            "upgrade-insecure-requests",
            "user-agent",
            "via",
            "x-b3-traceid",
            "x-correlation-id",
            "x-envoy-expected-rq-timeout-ms",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-real-ip",
            "x-request-id",
            "x-requested-with",
        ] {
            assert!(!is_credential(name.as_bytes()), "{name}");
        }
    }
}
