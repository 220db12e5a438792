//! What a client reads of a log, against a model: a list of all events.

use backstop_core::{Value, name};
use http::HeaderValue;
use proptest::prelude::*;

use super::{clients::CLIENTS, *};

const CAPACITY: usize = 1_000;

fn push(log: &EventLog, count: u64) {
    for _ in 0..count {
        log.push(name!("ml"), "circuit-breaker", vec![("to", Value::from("open"))]);
    }
}

proptest! {
    #[test]
    fn a_client_gets_every_event_once_and_in_order_or_is_told_how_many_it_has_missed(
        // How many events come before each time that the client reads.
        storms in proptest::collection::vec(prop_oneof![0_u64..4, 200_u64..300, 900_u64..1_100], 1..12),
    ) {
        let log = EventLog::new(CAPACITY);
        let (mut pushed, mut seen) = (0, 0);
        for count in storms {
            push(&log, count);
            pushed += count;
            let batch = read(&log, Position::After(seen));
            let expected: Vec<_> = (pushed.saturating_sub(BUFFERED as u64).max(seen) + 1..=pushed).collect();
            let missed = expected.first().map(|first| first - seen - 1).filter(|missed| *missed > 0);
            prop_assert_eq!(batch.gap, missed.map(Some));
            let got: Vec<_> = batch.events.iter().map(|event| event.seq).collect();
            prop_assert_eq!(&got, &expected);
            seen = pushed;
        }
    }

    #[test]
    fn no_id_makes_a_client_miss_an_event_without_a_gap(pushed in 0_u64..5, seq in 0_u64..10, same_boot: bool) {
        let (log, boot) = (EventLog::new(CAPACITY), Boot::new());
        push(&log, pushed);
        let id = if same_boot { boot.id(seq) } else { Boot::new().id(seq) };
        let headers = HeaderMap::from_iter([("last-event-id".parse().unwrap(), HeaderValue::from_str(&id).unwrap())]);
        let batch = read(&log, Position::of(&headers, &boot, &log).unwrap());
        let known = same_boot && seq <= pushed;
        prop_assert_eq!(batch.gap, (!known).then_some(None));
        let first = if known { seq + 1 } else { 1 };
        let got: Vec<_> = batch.events.iter().map(|event| event.seq).collect();
        prop_assert_eq!(got, (first..=pushed).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_no_id_is_refused() {
    let (log, boot) = (EventLog::new(1), Boot::new());
    for wrong in ["", "7", "-", "a-b", "a--", "a-18446744073709551616"] {
        let headers = HeaderMap::from_iter([("last-event-id".parse().unwrap(), HeaderValue::from_str(wrong).unwrap())]);
        assert!(Position::of(&headers, &boot, &log).is_err(), "{wrong:?}");
    }
    assert_eq!(Position::of(&HeaderMap::new(), &boot, &log).ok(), Some(Position::Start));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_again_when_its_client_goes_or_reads_nothing_for_a_minute() {
    let clients = Clients::new(None);
    let mut all: Vec<_> = std::iter::repeat_with(|| clients.enter().unwrap()).take(CLIENTS).collect();
    assert!(clients.enter().is_none());
    all.pop();
    all.push(clients.enter().unwrap());
    assert!(clients.enter().is_none());

    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(all[1..].iter().all(Client::goes_on));
    assert!(clients.enter().is_none());
    tokio::time::advance(Duration::from_secs(1)).await;
    let newcomer = clients.enter().unwrap();
    assert!(clients.enter().is_none(), "all others have read");
    let going_on: Vec<_> = all.iter().filter(|client| client.goes_on()).collect();
    assert_eq!(going_on.len(), CLIENTS - 1);
    assert!(newcomer.goes_on());
    // The one that has lost its place gives back none.
    all.truncate(0);
    let rest: Vec<_> = std::iter::repeat_with(|| clients.enter()).take(CLIENTS).flatten().collect();
    assert_eq!(rest.len(), CLIENTS - 1);
}
