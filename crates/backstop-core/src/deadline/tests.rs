use super::*;

#[tokio::test(start_paused = true)]
async fn the_earlier_deadline_binds_and_a_tie_is_ours() {
    let after = |ms, set_by| Deadline::after(Duration::from_millis(ms), set_by);
    let ours = after(100, SetBy::Us);
    assert_eq!(ours.narrowed_by(None), ours);
    assert_eq!(ours.narrowed_by(Some(after(99, SetBy::Caller))).set_by(), SetBy::Caller);
    assert_eq!(ours.narrowed_by(Some(after(100, SetBy::Caller))).set_by(), SetBy::Us);
    assert_eq!(after(100, SetBy::Caller).narrowed_by(Some(ours)).set_by(), SetBy::Us);
}

#[tokio::test(start_paused = true)]
async fn a_moment_comes_out_as_it_went_in() {
    let now = Instant::now();
    let far = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    for at in [now, now + Duration::from_nanos(1), now - Duration::from_secs(3600), now + far, now - far] {
        for set_by in [SetBy::Us, SetBy::Caller] {
            let deadline = Deadline::at(at, set_by);
            assert_eq!((deadline.instant(), deadline.set_by()), (at, set_by));
        }
    }
    assert_eq!(size_of::<Option<Deadline>>(), 8);
}

#[tokio::test(start_paused = true)]
async fn of_what_is_left_the_first_part_ends_first() {
    let now = Instant::now();
    let ms = |ms| Deadline::at(now + Duration::from_millis(ms), SetBy::Caller);
    let parts = |parts| NonZero::new(parts).unwrap();
    assert_eq!(ms(800).first_of(parts(4), now), ms(200));
    assert_eq!(ms(800).first_of(parts(4), now + Duration::from_millis(400)), ms(500));
    assert_eq!(ms(800).first_of(parts(1), now), ms(800));
    assert_eq!(ms(800).first_of(parts(4), now + Duration::from_millis(900)), ms(800), "nothing is left");
}

#[tokio::test(start_paused = true)]
async fn the_shorter_limit_binds_and_a_tie_is_ours() {
    let limit = |ms, set_by| Limit::new(Duration::from_millis(ms), set_by);
    let ours = limit(100, SetBy::Us);
    assert_eq!(ours.narrowed_by(None), ours);
    assert_eq!(ours.narrowed_by(Some(limit(99, SetBy::Caller))).set_by(), SetBy::Caller);
    assert_eq!(limit(100, SetBy::Caller).narrowed_by(Some(ours)).set_by(), SetBy::Us);
    assert_eq!(limit(100, SetBy::Caller).first_of(NonZero::new(4).unwrap()), limit(25, SetBy::Caller));
    let none = Limit::new(Duration::ZERO, SetBy::Caller);
    assert_eq!(none.first_of(NonZero::<u32>::MAX), Limit::new(Duration::from_nanos(1), SetBy::Caller));
}

#[tokio::test(start_paused = true)]
async fn a_limit_ends_as_long_after_its_beginning_as_it_is() {
    for set_by in [SetBy::Us, SetBy::Caller] {
        let limit = Duration::from_millis(70);
        assert_eq!(Limit::new(limit, set_by).begun_at(Moment::now()), Deadline::after(limit, set_by));
    }
    assert_eq!(size_of::<Option<Limit>>(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_margin_is_taken_off_and_never_wraps() {
    let (now, margin) = (Instant::now(), Duration::from_millis(50));
    let at = |ms| Deadline::at(now + Duration::from_millis(ms), SetBy::Caller);
    assert_eq!(at(70).earlier_by(margin), at(20));
    assert_eq!(at(20).earlier_by(Duration::MAX).left(), Duration::ZERO);
    let limit = |ms| Limit::new(Duration::from_millis(ms), SetBy::Caller);
    assert_eq!(limit(70).shortened_by(margin), limit(20));
    assert_eq!(limit(20).shortened_by(margin), Limit::new(Duration::from_nanos(1), SetBy::Caller));
}

#[tokio::test(start_paused = true)]
async fn an_endless_limit_is_no_panic() {
    assert_eq!(Deadline::after(Duration::MAX, SetBy::Us).left(), FAR);
}

#[tokio::test(start_paused = true)]
async fn it_has_passed_when_nothing_is_left() {
    let deadline = Deadline::after(Duration::from_secs(1), SetBy::Us);
    tokio::time::advance(Duration::from_millis(999)).await;
    assert!(!deadline.has_passed());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(deadline.has_passed());
    assert_eq!(deadline.left(), Duration::ZERO);
}
