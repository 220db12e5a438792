//! What may be sent again.

use std::cell::Cell;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;

use super::*;
use crate::HttpCopy;

type Body = Empty<Bytes>;

const LOST: Outcome = Outcome::failure();

fn unprocessed() -> Outcome {
    LOST.unprocessed()
}

#[test]
fn what_is_idempotent_or_certainly_not_processed_is_sent_again() {
    let rule = RepeatRule::new();
    let (post, get) = (RequestFacts::none(), RequestFacts::none().idempotent());
    assert!(rule.allows(get, &LOST) && rule.allows(get, &unprocessed()));
    assert!(!rule.allows(post, &LOST) && rule.allows(post, &unprocessed()));
}

#[test]
fn what_is_never_repeated_is_so_unless_it_was_certainly_not_processed() {
    let never = RequestFacts::none().idempotent().with_idempotency_key().never_repeated();
    for rule in [RepeatRule::new().trust_idempotency_key(), RepeatRule::new().repeat_when(|_, _| true)] {
        assert!(!rule.allows(never, &LOST) && rule.allows(never, &unprocessed()));
    }
}

#[test]
fn an_upgrade_is_never_sent_again() {
    let upgrade = RequestFacts::none().idempotent().upgrade();
    for rule in [RepeatRule::new(), RepeatRule::new().repeat_when(|_, _| true)] {
        assert!(!rule.allows(upgrade, &LOST) && !rule.allows(upgrade, &unprocessed()));
    }
}

#[test]
fn a_key_counts_if_it_is_trusted() {
    let (keyed, plain) = (RequestFacts::none().with_idempotency_key(), RequestFacts::none());
    let trusting = RepeatRule::new().trust_idempotency_key();
    assert!(trusting.allows(keyed, &LOST) && !trusting.allows(plain, &LOST));
    assert!(!RepeatRule::new().allows(keyed, &LOST));
}

#[test]
fn a_closure_replaces_the_rule() {
    let rule = RepeatRule::new().trust_idempotency_key().repeat_when(|request, _| request.is_early_data());
    assert!(rule.allows(RequestFacts::none().early_data(), &LOST));
    assert!(!rule.allows(RequestFacts::none().idempotent().with_idempotency_key(), &unprocessed()));
}

#[test]
fn rules_are_equal_if_they_decide_by_the_same_closure() {
    let rule = RepeatRule::new().repeat_when(|_, _| true);
    assert_eq!(rule, rule.clone());
    assert_ne!(rule, RepeatRule::new().repeat_when(|_, _| true));
    assert_ne!(rule, rule.clone().trust_idempotency_key());
    assert_ne!(rule, RepeatRule::new());
    assert_eq!(RepeatRule::default(), RepeatRule::new());
}

#[test]
fn a_predicate_marks_requests_and_is_asked_only_if_that_makes_a_difference() {
    let asked = Cell::new(0);
    let is_search = |request: &Request<Body>| {
        asked.set(asked.get() + 1);
        request.uri().path() == "/search"
    };
    let copy = RepeatIf::safe_if(HttpCopy::default(), is_search);
    let of = |method, path| copy.facts(&Request::builder().method(method).uri(path).body(Body::new()).unwrap());
    assert!(of("POST", "/search").is_idempotent() && !of("POST", "/pay").is_idempotent());
    assert_eq!(asked.get(), 2);
    assert!(of("GET", "/pay").is_idempotent());
    assert_eq!(asked.get(), 2);

    let copy = RepeatIf::only_if(RepeatIf::safe_if(HttpCopy::default(), |_: &Request<Body>| true), is_search);
    let of = |path| copy.facts(&Request::get(path).body(Body::new()).unwrap());
    assert!(of("/search").may_be_repeated() && !of("/pay").may_be_repeated());
}
