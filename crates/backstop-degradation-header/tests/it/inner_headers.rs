//! Labels that a handler set itself.

use backstop_degradation_header::{DegradationHeaderLayer, InnerHeaders};

use super::*;

const SOURCE: &str = "x-fallback-source";
const FRESHNESS: &str = "x-data-freshness";

async fn said(reports: &[Degradation], headers: &[(&'static str, &'static str)]) -> HeaderMap {
    answer(&DegradationHeaderLayer::new(), reports, response(headers)).await.into_parts().0.headers
}

#[tokio::test]
async fn a_handlers_word_is_kept_and_kept_out_of_caches_without_any_report() {
    let headers = said(&[], &[(SOURCE, "bestsellers"), (FRESHNESS, "degraded"), ("etag", "\"1\"")]).await;
    assert_eq!(source(&headers), some("bestsellers"));
    assert_eq!(freshness(&headers), some("degraded"));
    assert_eq!(field(&headers, "cache-control"), some("no-store"));
    assert_eq!(field(&headers, "etag"), None);
}

#[tokio::test]
async fn a_handlers_sources_come_after_ours_and_the_worse_freshness_wins() {
    let ours = [from(name!("cached"), stale(7))];
    let headers = said(&ours, &[(SOURCE, "a;n=1, cached"), (SOURCE, "b"), (FRESHNESS, "degraded")]).await;
    assert_eq!(source(&headers), some("cached, a;n=1, b"));
    assert_eq!(freshness(&headers), some("degraded"));

    let headers = said(&ours, &[(SOURCE, "replica"), (FRESHNESS, "fresh")]).await;
    assert_eq!(source(&headers), some("cached, replica"));
    assert_eq!(freshness(&headers), some("stale"));
    assert_eq!(field(&headers, "age"), some("7"));
}

#[tokio::test]
async fn a_handlers_stale_has_the_age_that_it_tells_and_is_of_unknown_age_otherwise() {
    for (fields, age) in [
        (&[(FRESHNESS, "stale;age=912")][..], some("912")),
        (&[(FRESHNESS, "stale"), ("age", "30")], some("30")),
        (&[(FRESHNESS, "stale")], None),
        (&[(FRESHNESS, "stale"), ("age", "old")], None),
    ] {
        let headers = said(&[], &[fields, &[("cache-control", "max-age=60")]].concat()).await;
        assert_eq!(freshness(&headers), some("stale"));
        assert_eq!(field(&headers, "cache-control"), some(if age.is_some() { "max-age=60" } else { "no-store" }));
        assert_eq!(field(&headers, "age"), age, "{fields:?}");
    }
    let headers = said(&[from(name!("cached"), stale(912))], &[(FRESHNESS, "stale"), ("age", "30")]).await;
    assert_eq!(field(&headers, "age"), some("912"));
}

#[tokio::test]
async fn a_source_without_a_freshness_counts_as_degraded() {
    for fields in [&[(SOURCE, "cached")][..], &[(SOURCE, "cached"), (FRESHNESS, "so so")]] {
        let headers = said(&[], fields).await;
        assert_eq!(source(&headers), some("cached"));
        assert_eq!(freshness(&headers), some("degraded"));
        assert_eq!(field(&headers, "cache-control"), some("no-store"));
    }
}

#[tokio::test]
async fn a_freshness_without_a_source_is_kept_alone() {
    let headers = said(&[], &[(FRESHNESS, "fresh"), ("etag", "\"1\"")]).await;
    assert_eq!(source(&headers), None);
    assert_eq!(freshness(&headers), some("fresh"));
    assert_eq!(field(&headers, "etag"), some("\"1\""));
}

#[tokio::test]
async fn a_word_that_is_not_known_counts_as_degraded_and_is_kept_out_of_caches() {
    for unknown in ["partial", "Degraded", "DEGRADED", "fresh, partial", "2026-11-20", "my word", "\"stale\"", "fresh,"]
    {
        let headers =
            said(&[], &[(FRESHNESS, unknown), ("etag", "\"1\""), ("cache-control", "public, max-age=600")]).await;
        assert_eq!(freshness(&headers), some("degraded"), "{unknown}");
        assert_eq!(field(&headers, "cache-control"), some("no-store"), "{unknown}");
        assert_eq!(field(&headers, "etag"), None, "{unknown}");
    }
}

#[tokio::test]
async fn the_known_words_are_known_in_upper_and_lower_case() {
    for (word, written, age) in
        [("Fresh", "fresh", None), ("STALE;age=7", "stale", some("7")), ("fresh, Stale;age=9", "stale", some("9"))]
    {
        let headers = said(&[], &[(FRESHNESS, word), ("cache-control", "max-age=60")]).await;
        assert_eq!((freshness(&headers), field(&headers, "age")), (some(written), age), "{word}");
        assert_eq!(field(&headers, "cache-control"), some("max-age=60"), "{word}");
    }
}

#[tokio::test]
async fn an_empty_list_of_words_says_nothing() {
    let headers = said(&[], &[(FRESHNESS, ""), ("etag", "\"1\"")]).await;
    assert_eq!((source(&headers), freshness(&headers)), (None, None));
    assert_eq!(field(&headers, "etag"), some("\"1\""));
}

#[tokio::test]
async fn sources_that_do_not_parse_are_removed_and_still_count_as_degraded() {
    for bad in ["my cache", "a,,b", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"] {
        let headers = said(&[], &[(SOURCE, bad), ("etag", "\"1\"")]).await;
        assert_eq!(source(&headers), None, "{bad}");
        assert_eq!(freshness(&headers), some("degraded"));
        assert_eq!(field(&headers, "cache-control"), some("no-store"));
    }
    let headers = said(&[from(name!("cached"), stale(7))], &[(SOURCE, "my cache"), (FRESHNESS, "fresh")]).await;
    assert_eq!(source(&headers), some("cached"));
    assert_eq!(freshness(&headers), some("stale"));
}

#[tokio::test]
async fn an_empty_list_of_sources_says_nothing() {
    let headers = said(&[], &[(SOURCE, ""), ("etag", "\"1\"")]).await;
    assert_eq!((source(&headers), freshness(&headers)), (None, None));
    assert_eq!(field(&headers, "etag"), some("\"1\""));
}

#[tokio::test]
async fn of_an_untrusted_upstream_nothing_is_kept() {
    let layer = DegradationHeaderLayer::builder().inner_headers(InnerHeaders::Remove).build().unwrap();
    let theirs = || response(&[(SOURCE, "theirs"), (FRESHNESS, "degraded"), ("etag", "\"1\"")]);
    let headers = answer(&layer, &[], theirs()).await.into_parts().0.headers;
    assert_eq!((source(&headers), freshness(&headers)), (None, None));
    assert_eq!(field(&headers, "etag"), some("\"1\""));

    let headers = answer(&layer, &[from(name!("cached"), stale(7))], theirs()).await.into_parts().0.headers;
    assert_eq!((source(&headers), freshness(&headers)), (some("cached"), some("stale")));
}
