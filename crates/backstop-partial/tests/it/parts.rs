//! What a page has of a part that answers, and of one that fails.

use std::{convert::Infallible, io};

use backstop_partial::{Name, PartFailure, name, part};

use crate::common::{NAMES, dashboard, paths, reported};

const DOWN: Result<u32, &str> = Err("down");

#[tokio::test]
async fn a_part_that_answers_is_in_the_page_as_it_is() {
    let parts = (
        part(name!("required"), async { Ok::<_, io::Error>(1) }).required(),
        part(name!("or"), async { Ok::<_, Infallible>("two") }).or("instead").warn("never shown"),
        part(name!("or_else"), async { Ok::<_, String>(3.0) }).or_else(|_| 0.0),
        part(name!("or_default"), async { Ok::<_, io::Error>(vec![4]) }).or_default(),
        part(name!("optional"), async { Ok::<_, io::Error>('5') }).optional(),
    );
    let (page, labels) = reported(dashboard().gather(parts)).await;
    let (data, status) = page.unwrap().into_parts();
    assert_eq!(data, (1, "two", 3.0, vec![4], Some('5')));
    assert!(!status.is_degraded() && !status.is_partial());
    assert!(labels.is_empty() && status.warnings().is_empty() && status.failures().is_empty());
}

#[tokio::test]
async fn a_part_that_fails_is_replaced_and_only_users_who_miss_it_are_warned() {
    let or_else = |failure: &PartFailure| failure.error.as_ref().map_or(0, |text| text.len() as u32);
    let parts = (
        part(name!("required"), async { Ok::<_, io::Error>(1) }).required(),
        part(name!("or"), async { DOWN }).or(2).warn("The second is missing"),
        part(name!("or_else"), async { Err::<u32, _>(io::Error::other("four")) }).or_else(or_else),
        part(name!("or_default"), async { DOWN }).or_default(),
        part(name!("optional"), async { DOWN }).warn(String::from("The fifth is missing")).optional(),
    );
    let (page, labels) = reported(dashboard().gather(parts)).await;
    let (data, status) = page.unwrap().into_parts();
    assert_eq!(data, (1, 2, 4, 0, None));
    assert!(status.is_degraded() && status.is_partial());
    assert_eq!(status.warnings(), ["The second is missing", "The fifth is missing"]);
    assert_eq!(paths(&labels), ["or/default", "or_else/default", "or_default/default", "optional/none"]);
    let failures: Vec<_> =
        status.failures().iter().map(|failure| (failure.part.as_str(), failure.reason.as_str())).collect();
    assert_eq!(failures, [("or", "error"), ("or_else", "error"), ("or_default", "error"), ("optional", "error")]);
}

#[tokio::test]
async fn a_tuple_has_up_to_twelve_parts_each_of_its_own_type() {
    let one = |name: &'static str, value: u8| {
        part(name.parse::<Name>().unwrap(), async move { Ok::<_, Infallible>(value) }).required()
    };
    let [a, b, c, d, e, f, g, h, i, j, k, l] = NAMES;
    assert_eq!(dashboard().gather((one(a, 1),)).await.unwrap().into_data(), (1,));
    let twelve = (
        one(a, 1),
        one(b, 2),
        one(c, 3),
        one(d, 4),
        one(e, 5),
        one(f, 6),
        one(g, 7),
        one(h, 8),
        one(i, 9),
        one(j, 10),
        one(k, 11),
        one(l, 12),
    );
    let expected = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
    assert_eq!(dashboard().gather(twelve).await.unwrap().into_data(), expected);
}

#[tokio::test]
async fn a_set_of_any_size_keeps_its_order() {
    let parts =
        |n: u32| (0..n).map(|i| part(name!("item"), async move { if i % 3 == 0 { DOWN } else { Ok(i) } }).optional());
    for n in [0, 1, 64, 65, 200] {
        let values = dashboard().gather_all(parts(n)).await.unwrap().into_data();
        assert!(values.into_iter().eq((0..n).map(|i| (i % 3 != 0).then_some(i))), "{n}");
    }
}

#[tokio::test]
async fn a_part_may_borrow_from_the_handler() {
    let text = String::from("of the handler");
    let page = dashboard().gather((part(name!("text"), async { Ok::<&str, Infallible>(&text) }).required(),)).await;
    assert_eq!(page.unwrap().map(|(text,)| text.len()).into_data(), 14);
}

#[test]
fn a_page_is_made_in_any_task() {
    fn is_send<T: Send>(_: &T) {}
    let aggregate = dashboard();
    let future = aggregate.gather((part(name!("a"), async { Ok::<_, io::Error>(1) }).or_default(),));
    is_send(&future);
}
