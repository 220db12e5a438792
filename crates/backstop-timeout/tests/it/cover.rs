//! How much of an answer the limit covers.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use backstop_kit::{Elapsed, Progress};
use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use backstop_core::{
    Deadline, ErrorRef, Outcome, Rejection, Scope, SetBy,
    scope::{self, EndedBy, InScope},
};
use backstop_timeout::{Cover, TimeoutLayer, UntilBodyEnd, UntilFirstFrame, UntilHeaders};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::{Instant, advance, sleep};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt, service_fn};

use crate::scripted::{Act, Drops, Scripted};

const LIMIT: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_millis(101);
const EARLY: Duration = Duration::from_millis(60);

/// Answers with a body that does as it is told, its head after `head`.
async fn ask<U>(cover: U, head: Duration, acts: &[Act], drops: &Drops) -> Response<Body>
where
    U: Cover<Response<Body>> + Clone,
{
    let service = service_fn(|_: Request<()>| async move {
        sleep(head).await;
        Ok::<_, Infallible>(Response::new(Scripted::new(acts.iter().cloned()).noting(drops).axum()))
    });
    let layer = TimeoutLayer::builder("upstream").limit(LIMIT).cover(cover).build().unwrap();
    layer.layer(service).oneshot(Request::new(())).await.unwrap()
}

/// The whole body, which isn't broken off.
async fn read_whole(response: Response<Body>) -> String {
    let (text, rejection) = read(response).await;
    assert!(rejection.is_none(), "{rejection:?}");
    text
}

/// What can be read of a body, and the rejection that it ends with.
async fn read(response: Response<Body>) -> (String, Option<Rejection>) {
    let mut body = response.into_body();
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
                Err(frame) => text.push_str(frame.into_trailers().unwrap()["x-checksum"].to_str().unwrap()),
            },
            Err(error) => return (text, Some(Rejection::in_error(ErrorRef::new(&error)).unwrap().clone())),
        }
    }
    (text, None)
}

fn ended(set_by: SetBy) -> Elapsed {
    Elapsed::new(set_by, Progress::Called)
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_time_is_the_same_answer_whatever_is_covered() {
    let cases: [&[Act]; 5] = [
        &[],
        &[Act::Data("one")],
        &[Act::Data("one"), Act::Data("two"), Act::Trailers("sum")],
        &[Act::Wait(EARLY), Act::Data("one"), Act::Data("two")],
        &[Act::Wait(EARLY), Act::Trailers("sum")],
    ];
    for (acts, expected) in cases.into_iter().zip(["", "one", "onetwosum", "onetwo", "sum"]) {
        let drops = Drops::default();
        let length = Scripted::new(acts.iter().cloned()).size_hint().exact();
        let check = async |response: Response<Body>| {
            assert_eq!(response.body().size_hint().exact(), length, "{acts:?}");
            assert_eq!(response.body().is_end_stream(), acts.is_empty(), "{acts:?}");
            assert_eq!(read_whole(response).await, expected, "{acts:?}");
        };
        check(ask(UntilHeaders, Duration::ZERO, acts, &drops).await).await;
        check(ask(UntilFirstFrame, Duration::ZERO, acts, &drops).await).await;
        check(ask(UntilBodyEnd, Duration::ZERO, acts, &drops).await).await;
        assert_eq!(drops.take(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn unless_asked_the_body_has_all_the_time_it_wants() {
    let drops = Drops::default();
    let response = ask(UntilHeaders, EARLY, &[Act::Wait(LATE * 100), Act::Data("one")], &drops).await;
    assert_eq!(read_whole(response).await, "one");
}

#[tokio::test(start_paused = true)]
async fn until_the_first_frame_a_head_alone_is_no_answer() {
    let drops = Drops::default();
    let begun = Instant::now();
    let response = ask(UntilFirstFrame, EARLY, &[Act::Hang], &drops).await;
    assert_eq!(begun.elapsed(), LIMIT);
    assert_eq!(response.status(), 504);
    assert_eq!(response.extensions().get::<Rejection>().unwrap().detail::<Elapsed>(), Some(&ended(SetBy::Us)));
    assert_eq!(drops.take(), [Some(EndedBy::OurLimit)], "who is dropped with the body knows why");

    // A frame that holds nothing is none.
    let response = ask(UntilFirstFrame, EARLY, &[Act::Data(""), Act::Hang], &drops).await;
    assert_eq!(response.status(), 504);

    // Head and first frame share the limit.
    let response = ask(UntilFirstFrame, EARLY, &[Act::Wait(EARLY), Act::Data("one")], &drops).await;
    assert_eq!(response.status(), 504);
}

#[tokio::test(start_paused = true)]
async fn after_the_first_frame_the_body_has_all_the_time_it_wants() {
    let drops = Drops::default();
    let begun = Instant::now();
    let acts = [Act::Wait(EARLY), Act::Data("1"), Act::Wait(LATE * 100), Act::Data("two"), Act::Trailers("sum")];
    let response = ask(UntilFirstFrame, Duration::ZERO, &acts, &drops).await;
    assert_eq!(begun.elapsed(), EARLY);
    assert_eq!(read_whole(response).await, "1twosum");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_at_once_is_given_as_it_is() {
    let response = ask(UntilFirstFrame, EARLY, &[Act::Fail("broken"), Act::Hang], &Drops::default()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap_err().to_string(), "broken");
}

#[tokio::test(start_paused = true)]
async fn until_the_bodys_end_a_body_that_takes_too_long_ends_with_the_rejection() {
    let drops = Drops::default();
    let begun = Instant::now();
    let acts = [Act::Data("one"), Act::Wait(EARLY), Act::Data("two"), Act::Hang];
    let response = ask(UntilBodyEnd, Duration::ZERO, &acts, &drops).await;
    assert_eq!((begun.elapsed(), response.status().as_u16()), (Duration::ZERO, 200));
    let (text, rejection) = read(response).await;
    assert_eq!((begun.elapsed(), text.as_str()), (LIMIT, "onetwo"));
    let rejection = rejection.unwrap();
    assert_eq!((rejection.by().as_str(), rejection.detail::<Elapsed>()), ("upstream", Some(&ended(SetBy::Us))));
    assert_eq!(rejection.outcome(), Outcome::failure().transient());
    assert_eq!(drops.take(), [Some(EndedBy::OurLimit)]);
}

#[tokio::test(start_paused = true)]
async fn head_and_body_share_the_limit_and_frames_do_not_renew_it() {
    let drops = Drops::default();
    let begun = Instant::now();
    let drip = [Act::Wait(Duration::from_millis(15)), Act::Data(".")];
    let acts: Vec<_> = std::iter::repeat_n(drip, 100).flatten().collect();
    let response = ask(UntilBodyEnd, EARLY, &acts, &drops).await;
    let (text, rejection) = read(response).await;
    assert_eq!((begun.elapsed(), text.as_str()), (LIMIT, ".."));
    assert!(rejection.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_callers_earlier_deadline_ends_the_body_as_the_callers() {
    let drops = Drops::default();
    let deadline = Deadline::after(EARLY, SetBy::Caller);
    let handle = Scope::narrowed(deadline).enter(scope::handle);
    let response = ask(UntilBodyEnd, Duration::ZERO, &[Act::Data("one"), Act::Hang], &drops).in_scope(handle).await;
    let begun = Instant::now();
    let (_, rejection) = read(response).await;
    let rejection = rejection.unwrap();
    assert_eq!((begun.elapsed(), rejection.detail::<Elapsed>()), (EARLY, Some(&ended(SetBy::Caller))));
    assert_eq!(rejection.outcome(), Outcome::neutral());
    assert_eq!(drops.take(), [Some(EndedBy::CallersLimit)]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_no_slow_upstream() {
    let drops = Drops::default();
    let response = ask(UntilBodyEnd, Duration::ZERO, &[Act::Data("one"), Act::Data("two")], &drops).await;
    advance(LATE * 100).await;
    assert_eq!(read_whole(response).await, "onetwo");
}

/// Reads a frame at each of these moments after the request, and then to the end: who is to blame for that.
async fn blamed(head: Duration, acts: &[Act], reads_at: &[Duration]) -> Elapsed {
    let drops = Drops::default();
    let begun = Instant::now();
    let mut body = ask(UntilBodyEnd, head, acts, &drops).await.into_body();
    for at in reads_at {
        advance(at.saturating_sub(begun.elapsed())).await;
        assert!(body.frame().await.unwrap().is_ok());
    }
    let error = body.frame().await.unwrap().unwrap_err();
    let rejection = Rejection::in_error(ErrorRef::new(&error)).unwrap();
    let Elapsed { set_by, .. } = rejection.detail().unwrap();
    assert_eq!(drops.take(), [Some(EndedBy::from(*set_by))], "who is dropped with the body knows it, too");
    rejection.detail::<Elapsed>().copied().unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_held_up_the_body_for_most_of_the_time_is_to_blame_and_not_who_did_in_the_end() {
    let ms = Duration::from_millis;
    // The reader is away for 95 of 100 ms, and waits for 5.
    let hangs_later = [Act::Data("one"), Act::Data("two"), Act::Hang];
    assert_eq!(blamed(ms(0), &hangs_later, &[ms(0), ms(95)]).await, ended(SetBy::Caller));
    // Or comes when the time is up already.
    assert_eq!(blamed(ms(0), &hangs_later, &[ms(0), ms(500)]).await, ended(SetBy::Caller));
    // The service takes 60 ms for the frame, and the reader is away for 35.
    let slow = [Act::Wait(EARLY), Act::Data("one"), Act::Data("two"), Act::Hang];
    assert_eq!(blamed(ms(0), &slow, &[ms(0), ms(95)]).await, ended(SetBy::Us));
    // The service takes 60 ms for the head.
    assert_eq!(blamed(EARLY, &hangs_later, &[ms(60), ms(99)]).await, ended(SetBy::Us));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_ended_is_at_its_end() {
    let acts = [Act::Data("one"), Act::Hang, Act::Data("two")];
    let mut body = ask(UntilBodyEnd, Duration::ZERO, &acts, &Drops::default()).await.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, Some(3)));
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!((body.is_end_stream(), body.size_hint().exact()), (true, Some(0)));
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_reader_drops_is_dropped_at_once_and_is_nobodys_limit() {
    let drops = Drops::default();
    let acts = [Act::Data("one"), Act::Wait(EARLY), Act::Data("two"), Act::Hang];
    for polls in 0..4 {
        let response = ask(UntilBodyEnd, Duration::ZERO, &acts, &drops).await;
        let mut body = task::spawn(response.into_body());
        let mut poll = || body.enter(|cx, body| body.poll_frame(cx));
        for i in 0..polls {
            if i == 0 {
                assert!(assert_ready!(poll()).is_some());
            } else {
                assert_pending!(poll());
            }
        }
        advance(LATE).await;
        drop(body);
        assert_eq!(drops.take(), [None], "dropped after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_its_first_frame_is_awaited_drops_the_body() {
    let drops = Drops::default();
    let acts = [Act::Hang];
    let mut call = task::spawn(ask(UntilFirstFrame, EARLY, &acts, &drops));
    assert_pending!(call.poll());
    advance(EARLY + Duration::from_millis(1)).await;
    assert_pending!(call.poll());
    drop(call);
    assert_eq!(drops.take(), [None]);
}
