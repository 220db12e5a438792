//! What is logged of parts that fail.

use std::{io, time::Duration};

use backstop_core::ErrorRef;
use backstop_partial::{Aggregate, name, part};
use backstop_test::Logs;
use tokio::time::advance;
use tracing::Level;

use crate::common::{dashboard, reported};

const TARGET: &str = "backstop::partial";
const SECOND: Duration = Duration::from_secs(1);

async fn gather(aggregate: &Aggregate, is_up: bool) {
    let answer = if is_up { Ok(7) } else { Err(io::Error::other("http://ada:secret@db/?q=1 refused")) };
    let orders = part(name!("orders"), async { answer }).or_default();
    reported(aggregate.gather((part(name!("profile"), async { Ok::<_, &str>(1) }).required(), orders)))
        .await
        .0
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_part_is_a_few_lines() {
    let (logs, aggregate) = (Logs::new(), dashboard());
    let _guard = logs.listen();
    gather(&aggregate, true).await;
    for _ in 0..90 {
        gather(&aggregate, false).await;
        advance(SECOND).await;
    }
    advance(60 * SECOND).await;
    gather(&aggregate, true).await;
    let events = logs.events().with_target(TARGET);
    let lines: Vec<_> = events.iter().filter(|event| event.level() < Level::DEBUG).collect();
    let messages: Vec<_> = lines.iter().map(|event| event.message()).collect();
    assert_eq!(
        messages,
        ["a part of a page is missing", "a part of pages is still missing", "a part of pages is back"]
    );
    let first = lines[0];
    assert_eq!(first.field("aggregate"), Some("dashboard"));
    assert_eq!((first.field("part"), first.field("reason")), (Some("orders"), Some("error")));
    assert_eq!(first.field("error"), Some("http://db/ refused"), "without what may be secret");
    assert_eq!((lines[2].field("pages"), lines[2].field("replaced")), (Some("91"), Some("90")));
    assert_eq!(logs.events().with_target(TARGET).at(Level::DEBUG).len(), 89);
}

#[tokio::test]
async fn a_page_that_fails_is_a_warning_the_first_time_and_one_that_blames_the_caller_is_none() {
    let (logs, aggregate) = (Logs::new(), dashboard());
    let _guard = logs.listen();
    for _ in 0..2 {
        let blames = part(name!("profile"), async { Err::<u32, _>(http::StatusCode::NOT_FOUND) }).required();
        assert!(aggregate.gather((blames,)).await.unwrap_err().is_callers_fault());
    }
    assert_eq!(logs.events().with_target(TARGET).len(), 0);
    for _ in 0..2 {
        aggregate.gather((part(name!("profile"), async { Err::<u32, _>("down") }).required(),)).await.unwrap_err();
    }
    let warning = logs.events().with_target(TARGET).at(Level::WARN).only();
    assert_eq!(warning.message(), "a page failed with a required part");
}

#[tokio::test]
async fn the_text_of_an_error_can_be_replaced() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let text = |error: ErrorRef<'_>| error.find::<io::Error>().map(|error| format!("{:?}", error.kind()));
    let aggregate = Aggregate::builder("dashboard").error_text(text).build().unwrap();
    gather(&aggregate, false).await;
    assert_eq!(logs.events().with_target(TARGET).at(Level::WARN).only().field("error"), Some("Other"));
}
