//! Which fields of a request say who asks.

/// Whether a field of this name, in lower case, is taken for a credential though nobody said so.
///
/// Each is compared with constants, one by one: that costs fewer instructions than any loop, and each request pays.
pub(crate) fn is_one(name: &str) -> bool {
    // `X-Api-Key`, `Api-Key`, `Ocp-Apim-Subscription-Key`, `X-Amz-Security-Token`, `Cf-Access-Jwt-Assertion`, …
    let ends_so = name.ends_with("-key")
        || name.ends_with("_key")
        || name.ends_with("token")
        || name.ends_with("-secret")
        || name.ends_with("-jwt")
        || name.ends_with("-assertion");
    // `X-Auth-Token`, `X-Auth-Request-User`, `X-Authenticated-User`, …
    let begins_so = name.starts_with("x-auth");
    // Those that are registered, or that proxies set in front of a service that believes them.
    ends_so
        || begins_so
        || matches!(
            name,
            "apikey"
                | "authorization"
                | "client-cert"
                | "cookie"
                | "dpop"
                | "proxy-authorization"
                | "remote-user"
                | "ssl-client-cert"
                | "x-amzn-oidc-identity"
                | "x-apikey"
                | "x-forwarded-client-cert"
                | "x-forwarded-email"
                | "x-forwarded-preferred-username"
                | "x-forwarded-user"
                | "x-goog-authenticated-user-email"
                | "x-goog-authenticated-user-id"
                | "x-ms-client-principal"
                | "x-ms-client-principal-id"
                | "x-remote-user"
                | "x-session-id"
                | "x-user-id"
                | "x-webauth-user"
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
            assert!(is_one(name), "{name}");
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
            assert!(!is_one(name), "{name}");
        }
    }
}
