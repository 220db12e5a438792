//! A body that comes slowly.

use std::time::Duration;

use backstop_test::{BrokenOff, Drip};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

async fn next(drip: &mut Drip) -> Option<Result<String, BrokenOff>> {
    let frame = drip.frame().await?;
    Some(frame.map(|frame| String::from_utf8(frame.into_data().unwrap().into()).unwrap()))
}

#[tokio::test(start_paused = true)]
async fn the_pieces_come_one_by_one_and_then_it_ends() {
    let mut drip = Drip::new(SECOND, ["a", "b"]);
    let copy = drip.clone();
    let begun = Instant::now();
    assert_eq!(next(&mut drip).await, Some(Ok("a".to_owned())));
    assert_eq!(begun.elapsed(), SECOND);
    assert!(!drip.is_end_stream());
    assert_eq!(next(&mut drip).await, Some(Ok("b".to_owned())));
    assert_eq!(begun.elapsed(), SECOND * 2);
    assert!(drip.is_end_stream());
    assert_eq!(next(&mut drip).await, None);
    assert_eq!(copy.collect().await.unwrap().to_bytes(), "ab", "a clone is not drained");
}

#[tokio::test(start_paused = true)]
async fn after_its_pieces_it_fails_once_or_hangs() {
    let begun = Instant::now();
    let mut fails = Drip::new(SECOND, ["a"]).then_fail();
    assert_eq!(next(&mut fails).await, Some(Ok("a".to_owned())));
    assert!(!fails.is_end_stream());
    assert_eq!(next(&mut fails).await, Some(Err(BrokenOff)));
    assert_eq!(begun.elapsed(), SECOND * 2);
    assert_eq!(next(&mut fails).await, None);

    let mut hangs = Drip::new(SECOND, ["a"]).then_hang();
    assert_eq!(next(&mut hangs).await, Some(Ok("a".to_owned())));
    assert!(!hangs.is_end_stream());
    assert!(timeout(SECOND * 3600, next(&mut hangs)).await.is_err());
}
