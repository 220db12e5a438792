//! Field names that are already in use.

/// Whether the field with this lower-case name is registered, or in wide use.
pub(crate) fn is_registered(name: &str) -> bool {
    let taken = || REGISTERED.split_ascii_whitespace().chain(IN_USE.split_ascii_whitespace());
    taken().any(|taken| taken == name)
}

/// [IANA's registry](https://www.iana.org/assignments/http-fields/) as of August 2026, including obsolete names: some software
/// still reads them.
const REGISTERED: &str = "
    a-im accept accept-additions accept-ch accept-charset accept-datetime accept-encoding accept-features accept-language
    accept-patch accept-post accept-query accept-ranges accept-signature access-control access-control-allow-credentials
    access-control-allow-headers access-control-allow-methods access-control-allow-origin access-control-expose-headers
    access-control-max-age access-control-request-headers access-control-request-method activate-storage-access age allow
    alpn alt-svc alt-used alternates amp-cache-transform apply-to-redirect-ref authentication-control authentication-info
    authorization available-dictionary c-ext c-man c-opt c-pep c-pep-info cache-control cache-group-invalidation
    cache-groups cache-status cal-managed-id caldav-timezones capsule-protocol cdn-cache-control cdn-loop cert-not-after
    cert-not-before clear-site-data client-cert client-cert-chain close cmcd-object cmcd-request cmcd-session cmcd-status
    cmsd-dynamic cmsd-static concealed-auth-export configuration-context connection content-base content-digest
    content-disposition content-encoding content-id content-language content-length content-location content-md5
    content-range content-script-type content-security-policy content-security-policy-report-only content-style-type
    content-type content-version cookie cookie2 cross-origin-embedder-policy cross-origin-embedder-policy-report-only
    cross-origin-opener-policy cross-origin-opener-policy-report-only cross-origin-resource-policy
    cta-common-access-token dasl date dav default-style delta-base deprecation depth derived-from destination detached-jws
    dictionary-id differential-id digest dpop dpop-nonce early-data ediint-features etag expect expect-ct expires ext
    forwarded from getprofile hobareg host http2-settings if if-match if-modified-since if-none-match if-range
    if-schedule-tag-match if-unmodified-since im include-referred-token-binding-id incremental isolation keep-alive label
    last-event-id last-modified link link-template location lock-token man max-forwards memento-datetime meter
    method-check method-check-expires mime-version negotiate nel odata-entityid odata-isolation odata-maxversion
    odata-version opt optional-www-authenticate ordering-type origin origin-agent-cluster oscore oslc-core-version
    overwrite p3p pep pep-info permissions-policy pics-label ping-from ping-to position pragma prefer preference-applied
    priority profileobject protocol protocol-info protocol-query protocol-request proxy-authenticate
    proxy-authentication-info proxy-authorization proxy-features proxy-instruction proxy-status public public-key-pins
    public-key-pins-report-only range redirect-ref referer referer-root referrer-policy refresh repeatability-client-id
    repeatability-first-sent repeatability-request-id repeatability-result replay-nonce reporting-endpoints repr-digest
    retry-after safe schedule-reply schedule-tag sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-storage-access
    sec-fetch-user sec-gpc sec-purpose sec-token-binding sec-websocket-accept sec-websocket-extensions sec-websocket-key
    sec-websocket-protocol sec-websocket-version security-scheme server server-timing set-cookie set-cookie2 set-txn
    setprofile signature signature-input slug soapaction status-uri strict-transport-security sunset surrogate-capability
    surrogate-control tcn te timeout timing-allow-origin topic traceparent tracestate trailer transfer-encoding ttl
    unencoded-digest upgrade urgency uri use-as-dictionary user-agent variant-vary vary via want-content-digest
    want-digest want-repr-digest want-unencoded-digest warning www-authenticate x-content-type-options x-frame-options
";

/// Not registered, and read by browsers, proxies or servers all the same.
const IN_USE: &str = "
    baggage idempotency-key proxy-connection purpose ratelimit ratelimit-policy report-to x-api-key x-correlation-id
    x-csrf-token x-dns-prefetch-control x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto
    x-permitted-cross-domain-policies x-powered-by x-real-ip x-request-id x-robots-tag x-ua-compatible x-xss-protection
";

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn every_name_in_the_lists_is_one_as_header_names_are_written() {
        for name in REGISTERED.split_ascii_whitespace().chain(IN_USE.split_ascii_whitespace()) {
            assert_eq!(HeaderName::from_bytes(name.as_bytes()).unwrap().as_str(), name);
        }
    }

    #[test]
    fn our_own_names_are_not_taken() {
        for name in [crate::X_FALLBACK_SOURCE, crate::X_DATA_FRESHNESS] {
            assert!(!is_registered(name.as_str()), "{name}");
        }
    }
}
