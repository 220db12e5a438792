//! A part that panics fails alone.
#![allow(clippy::panic, reason = "the tests are about panics")]

use std::{
    cell::Cell,
    future::{pending, poll_fn},
};

use backstop_core::scope;
use backstop_partial::{name, part};

use crate::common::{MS, after, dashboard, paths, reported};

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("in the destructor");
    }
}

async fn panics(after_a_wait: bool) -> Result<u32, &'static str> {
    if after_a_wait {
        after(MS, ()).await;
    }
    panic!("at {}", "once")
}

#[tokio::test(start_paused = true)]
async fn a_part_that_panics_is_replaced_and_the_others_go_on() {
    for after_a_wait in [false, true] {
        let parts = (
            part(name!("panics"), panics(after_a_wait)).or(1),
            part(name!("slow"), after(5 * MS, Ok::<_, &str>(2))).required(),
        );
        let (page, labels) = reported(dashboard().gather(parts)).await;
        let page = page.unwrap();
        assert_eq!((*page.data(), paths(&labels)), ((1, 2), vec!["panics/default".to_owned()]));
        let failure = &page.status().failures()[0];
        assert_eq!((failure.reason.as_str(), failure.error.as_deref()), ("panic", Some("panicked: at once")));
    }
}

#[tokio::test(start_paused = true)]
async fn so_is_one_that_panics_when_it_is_dropped() {
    let answers = async {
        let _dropped = PanicsWhenDropped;
        // Held until the future itself is dropped.
        poll_fn(|_| std::task::Poll::<()>::Pending).await;
        Ok::<_, &str>(1)
    };
    let hangs = part(name!("hangs"), answers).timeout(MS).or(7);
    let (page, labels) = reported(dashboard().gather((hangs,))).await;
    assert_eq!((page.unwrap().into_data(), paths(&labels)), ((7,), vec!["hangs/default".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn one_that_panics_when_another_part_ends_it_changes_nothing() {
    let hangs = async {
        let _dropped = PanicsWhenDropped;
        pending::<Result<u32, &str>>().await
    };
    let fails = after(MS, Err::<u32, _>("down"));
    let parts = (part(name!("hangs"), hangs).or(7), part(name!("fails"), fails).required());
    assert_eq!(dashboard().gather(parts).await.unwrap_err().part(), "fails");
}

#[tokio::test]
async fn a_required_part_that_panics_fails_the_page() {
    let failed = dashboard().gather((part(name!("panics"), panics(false)).required(),)).await.unwrap_err();
    assert_eq!((failed.part().as_str(), failed.reason().as_str()), ("panics", "panic"));
    assert_eq!((failed.rejection().status().as_u16(), failed.error()), (503, Some("panicked: at once")));
}

#[tokio::test]
async fn the_scope_of_the_others_is_intact_after_a_panic() {
    let left = Cell::new(None);
    let parts = (
        part(name!("panics"), panics(false)).or(1),
        part(name!("after"), async {
            left.set(scope::time_left());
            Ok::<_, &str>(2)
        })
        .required(),
    );
    dashboard().gather(parts).await.unwrap();
    assert!(left.get().is_some());
    assert_eq!(scope::time_left(), None);
}
