use backstop_test::{LogEvent, Logs};
use proptest::prelude::*;
use tokio::time::advance;
use tracing::Level;

use super::*;
use crate::{Freshness, Name, Reason, name};

fn degradation() -> Degradation {
    Degradation::new(name!("chain"), name!("source"), 1, Reason::ERROR, Freshness::Degraded)
}

#[test]
fn a_report_goes_to_the_innermost_scope_and_moves_up_when_that_is_chosen() {
    let mut outer = Scope::new();
    let (chosen, other) = (degradation(), degradation());
    outer.enter(|| {
        let mut attempt = Scope::new();
        attempt.enter(|| report(other.clone()));
        drop(attempt);
        let mut attempt = Scope::new();
        attempt.enter(|| report(chosen.clone()));
        attempt.pass_on_reports();
    });
    let reports = outer.take_reports();
    assert_eq!(reports.len(), 1);
    assert!(reports[0].is(&chosen));
}

#[tokio::test]
async fn what_was_reported_so_far_is_read_where_it_was_reported_and_stays() {
    let mut outer = Scope::new();
    let [first, second, attempts] = [degradation(), degradation(), degradation()];
    let elsewhere = outer.enter(|| {
        assert!(degradations().is_empty());
        report(first.clone());
        Scope::new().enter(|| {
            report(attempts.clone());
            let so_far = degradations();
            assert!(so_far.len() == 1 && so_far[0].is(&attempts), "its own alone");
        });
        let second = second.clone();
        async { report(second) }.in_scope(handle())
    });
    elsewhere.await;
    let so_far = outer.enter(degradations);
    assert!(so_far.len() == 2 && so_far[0].is(&first) && so_far[1].is(&second), "{so_far:?}");
    assert_eq!(outer.take_reports().len(), 2);
    assert!(outer.enter(degradations).is_empty() && degradations().is_empty());
}

#[test]
fn a_report_without_a_scope_is_nobodys() {
    report(degradation());
    let mut scope = Scope::new();
    assert!(scope.enter(|| 1) == 1 && scope.take_reports().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_only_narrows_inward() {
    let limit = |ms, set_by| Deadline::after(Duration::from_millis(ms), set_by);
    let mut outer = Scope::narrowed(limit(100, SetBy::Caller));
    outer.enter(|| {
        let mut wider = Scope::narrowed(limit(200, SetBy::Us));
        assert_eq!(wider.enter(deadline), Some(limit(100, SetBy::Caller)));
        assert_eq!(wider.begin(), Some(limit(100, SetBy::Caller)), "it is this scope's from then on");
        assert_eq!(Scope::new().enter(deadline), Some(limit(100, SetBy::Caller)));
        let mut tighter = Scope::narrowed(limit(50, SetBy::Us));
        assert_eq!(tighter.enter(deadline), Some(limit(50, SetBy::Us)));
        assert_eq!(time_left(), Some(Duration::from_millis(100)));
    });
    assert_eq!(deadline(), None);
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn limited(of: u64, set_by: SetBy) -> Scope {
    Scope::limited(Limit::new(ms(of), set_by))
}

#[tokio::test(start_paused = true)]
async fn time_begins_when_somebody_asks_and_once() {
    let mut scope = limited(100, SetBy::Us);
    advance(ms(30)).await;
    scope.enter(|| assert_eq!(limit(), CurrentLimit::NotBegun(Limit::new(ms(100), SetBy::Us)), "not yet"));
    let end = Deadline::after(ms(100), SetBy::Us);
    assert_eq!(scope.enter(deadline), Some(end), "now");
    advance(ms(30)).await;
    assert_eq!(scope.begin(), Some(end));
    scope.enter(|| {
        assert_eq!((time_left(), limit()), (Some(ms(70)), CurrentLimit::Begun));
    });
}

#[tokio::test(start_paused = true)]
async fn where_time_begins_it_begins_for_all_around() {
    for asks_inside in [true, false] {
        let [mut edge, mut middle] = [limited(100, SetBy::Caller), limited(300, SetBy::Us)];
        edge.enter(|| {
            middle.enter(|| {
                let mut inner = limited(50, SetBy::Us);
                let begun = if asks_inside { inner.enter(deadline) } else { inner.begin() };
                assert_eq!(begun, Some(Deadline::after(ms(50), SetBy::Us)));
            });
        });
        advance(ms(10)).await;
        // The middle one's own 300 ms never bind.
        for mut scope in [edge, middle] {
            assert_eq!(scope.begin(), Some(Deadline::after(ms(90), SetBy::Caller)), "{asks_inside}");
        }
    }
}

#[test]
fn what_begins_later_inside_moves_no_beginning_around_it() {
    let [mut edge, mut middle] = [limited(5000, SetBy::Us), limited(3000, SetBy::Us)];
    let mut first = limited(1000, SetBy::Us);
    edge.enter(|| {
        middle.enter(|| {
            let begun = first.enter(deadline);
            let later = || limited(1000, SetBy::Us).enter(deadline);
            // Until the clock has gone on.
            while later() == begun {}
        });
    });
    let end = |scope: &mut Scope| scope.begin().unwrap().instant();
    let begun = end(&mut first) - ms(1000);
    assert_eq!((end(&mut middle) - begun, end(&mut edge) - begun), (ms(3000), ms(5000)));
}

#[tokio::test(start_paused = true)]
async fn time_that_has_begun_outside_binds_beside_time_that_has_not_inside() {
    for (own, binds) in [(200, (90, SetBy::Caller)), (90, (90, SetBy::Us)), (50, (50, SetBy::Us))] {
        let mut outer = Scope::narrowed(Deadline::after(ms(100), SetBy::Caller));
        advance(ms(10)).await;
        let mut inner = limited(own, SetBy::Us);
        outer.enter(|| inner.enter(|| assert_eq!(limit(), CurrentLimit::Begun)));
        let (left, set_by) = binds;
        assert_eq!(inner.begin(), Some(Deadline::after(ms(left), set_by)), "{own}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_callers_that_is_no_shorter_is_ours() {
    for (callers, set_by) in [(99, SetBy::Caller), (100, SetBy::Us)] {
        let mut inner = limited(100, SetBy::Us);
        limited(callers, SetBy::Caller).enter(|| inner.enter(|| ()));
        assert_eq!(inner.begin().map(|deadline| deadline.set_by()), Some(set_by));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_is_told_and_time_that_has_not_begun_does_not_by_that() {
    let mut outer = Scope::narrowed(Deadline::after(ms(10), SetBy::Caller));
    let mut inner = limited(100, SetBy::Us);
    assert_eq!(outer.enter(|| inner.enter(passed)), None);
    advance(ms(10)).await;
    let passed = outer.enter(|| inner.enter(passed));
    assert_eq!(passed.map(|deadline| deadline.set_by()), Some(SetBy::Caller));
    let mut scope = limited(1, SetBy::Us);
    assert_eq!(scope.enter(super::passed), None);
    assert_eq!(scope.enter(limit), CurrentLimit::NotBegun(Limit::new(ms(1), SetBy::Us)));
}

#[tokio::test(start_paused = true)]
async fn a_scope_is_narrowed_and_never_widened() {
    let deadline = |of| Deadline::after(ms(of), SetBy::Us);
    for (mut scope, other, ends) in [
        (limited(100, SetBy::Us), limited(50, SetBy::Us), Some(50)),
        (limited(50, SetBy::Us), limited(100, SetBy::Us), Some(50)),
        (limited(100, SetBy::Us), Scope::narrowed(deadline(50)), Some(50)),
        (limited(50, SetBy::Us), Scope::narrowed(deadline(100)), Some(50)),
        (Scope::narrowed(deadline(100)), limited(50, SetBy::Us), Some(50)),
        (Scope::narrowed(deadline(50)), Scope::narrowed(deadline(100)), Some(50)),
        (Scope::new(), limited(50, SetBy::Us), Some(50)),
        (limited(50, SetBy::Us), Scope::new(), Some(50)),
        (Scope::new(), Scope::narrowed(deadline(50)), Some(50)),
        (Scope::new(), Scope::new(), None),
    ] {
        scope.narrow(&other);
        assert_eq!(scope.begin(), ends.map(deadline), "{other:?}");
    }
    let mut limit = limited(100, SetBy::Us);
    limit.narrow(&limited(50, SetBy::Us));
    let not_begun = CurrentLimit::NotBegun(Limit::new(ms(50), SetBy::Us));
    limit.enter(|| assert_eq!(super::limit(), not_begun, "it has not begun by that"));
}

#[test]
fn a_panic_inside_restores_the_outer_scope() {
    let mut outer = Scope::new();
    let record = degradation();
    outer.enter(|| {
        let mut inner = Scope::new();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| inner.enter(|| panic!("inside"))));
        assert!(panicked.is_err());
        report(record.clone());
    });
    assert!(outer.take_reports()[0].is(&record));
}

#[tokio::test]
async fn a_handle_carries_deadline_and_reports_to_another_task() {
    let limit = Deadline::after(Duration::from_secs(1), SetBy::Us);
    let mut scope = Scope::narrowed(limit);
    let record = degradation();
    let task = scope.enter(|| {
        let (record, handle) = (record.clone(), handle());
        std::thread::spawn(move || {
            let inside = async {
                report(record);
                deadline()
            };
            tokio_test::block_on(inside.in_scope(handle))
        })
    });
    assert_eq!(task.join().unwrap(), Some(limit));
    assert!(scope.take_reports()[0].is(&record));
    assert!(scope.take_reports().is_empty(), "taken once");
}

#[test]
fn a_handle_taken_outside_any_scope_listens_to_nothing() {
    let future = async { report(degradation()) };
    tokio_test::block_on(future.in_scope(handle()));
    assert!(handle().reports.upgrade().is_none());
}

/// The chains of which is said, while `f` runs, that nobody reads their reports.
fn unread(f: impl FnOnce()) -> Vec<String> {
    let logs = Logs::up_to(Level::INFO);
    let guard = logs.listen();
    f();
    drop(guard);
    let chain = |event: LogEvent| {
        assert_eq!((event.level(), event.target()), (Level::WARN, "backstop::scope"));
        event.field("chain").unwrap().to_owned()
    };
    logs.events().into_iter().map(chain).collect()
}

fn report_of(chain: Name) {
    report(Degradation::new(chain, name!("source"), 1, Reason::ERROR, Freshness::Degraded));
}

#[test]
fn a_report_that_nobody_reads_is_a_warning_once_for_each_chain() {
    let unread = unread(|| {
        report_of(name!("no-scope"));
        report_of(name!("no-scope"));
        Scope::new().enter(|| report_of(name!("a-scope-without-a-reader")));
        let mut deadline = limited(100, SetBy::Us);
        deadline.enter(|| Scope::new().enter(|| report_of(name!("a-deadline-without-a-reader"))));
        deadline.enter(|| Scope::new().enter(|| report_of(name!("a-deadline-without-a-reader"))));
        tokio_test::block_on(async { report_of(name!("a-handle-without-a-reader")) }.in_scope(handle()));
    });
    let expected = ["no-scope", "a-scope-without-a-reader", "a-deadline-without-a-reader", "a-handle-without-a-reader"];
    assert_eq!(unread, expected);
    let chains = unread_chains();
    assert!(expected.iter().all(|chain| chains.iter().any(|unread| unread == chain)), "{chains:?}");
}

#[test]
fn a_reader_is_known_in_every_scope_inside_it_and_nowhere_else() {
    let mut reader = Scope::new();
    let unread = unread(|| {
        let carried = reader.enter_as_reader(|| {
            report_of(name!("read-1"));
            let mut attempt = limited(100, SetBy::Us);
            attempt.enter(|| Scope::new().enter(|| report_of(name!("read-2"))));
            attempt.pass_on_reports();
            handle()
        });
        report_of(name!("after-the-reader"));
        tokio_test::block_on(async { report_of(name!("read-3")) }.in_scope(carried.clone()));
        assert!(std::panic::catch_unwind(|| Scope::new().enter_as_reader(|| panic!("inside"))).is_err());
        report_of(name!("after-a-panic"));
        assert_eq!(reader.take_reports().len(), 2);
        drop(mem::take(&mut reader));
        tokio_test::block_on(async { report_of(name!("after-the-answer")) }.in_scope(carried));
    });
    assert_eq!(unread, ["after-the-reader", "after-a-panic", "after-the-answer"]);
    assert!(unread_chains().iter().all(|chain| *chain != "read-1" && *chain != "read-2"));
}

#[test]
fn what_is_passed_on_was_reported_already() {
    let mut outside = Scope::new();
    let unread = unread(|| {
        let mut reader = Scope::new();
        reader.enter_as_reader(|| report_of(name!("passed-on")));
        outside.enter(|| pass_on(reader.take_reports()));
    });
    assert!(unread.is_empty(), "{unread:?}");
    assert_eq!(outside.take_reports().len(), 1);
}

#[test]
fn what_a_layer_drops_knows_why() {
    struct Ask<'a>(&'a Cell<Option<EndedBy>>);
    impl Drop for Ask<'_> {
        fn drop(&mut self) {
            self.0.set(ended_by());
        }
    }

    let seen = Cell::new(None);
    end(SetBy::Caller, || {
        end(SetBy::Us, || drop(Ask(&seen)));
        assert_eq!(seen.get(), Some(EndedBy::OurLimit));
        drop(Ask(&seen));
        assert_eq!(seen.get(), Some(EndedBy::CallersLimit));
        end(EndedBy::Replaced, || drop(Ask(&seen)));
        assert_eq!(seen.get(), Some(EndedBy::Replaced));
    });
    drop(Ask(&seen));
    assert_eq!(seen.get(), None);
}

#[test]
fn a_fault_marks_what_is_inside_and_around_its_call_and_nothing_beside_it() {
    let (mut outer, mut hit, mut sibling, mut inside) = (Scope::new(), Scope::new(), Scope::new(), Scope::new());
    outer.enter(|| {
        hit.enter(|| inject_fault(|| inside.enter(|| assert!(has_injected_fault()))));
        sibling.enter(|| assert!(!has_injected_fault()));
        assert!(has_injected_fault());
    });
    assert!(outer.has_injected_fault() && hit.has_injected_fault() && !sibling.has_injected_fault());
    // It stays when the reports are taken.
    outer.enter(|| report(degradation()));
    outer.take_reports();
    assert!(outer.has_injected_fault());
    assert!(!has_injected_fault());
}

#[test]
fn a_fault_outside_of_any_scope_marks_only_what_runs_inside_it() {
    let mut inside = Scope::new();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        inject_fault(|| {
            inside.enter(|| assert!(has_injected_fault()));
            assert!(inside.has_injected_fault());
            panic!("injected");
        });
    }));
    assert!(caught.is_err() && !has_injected_fault());
    Scope::new().enter(|| assert!(!has_injected_fault()));
}

#[tokio::test]
async fn a_fault_marks_across_tasks_that_have_a_handle() {
    let mut scope = Scope::new();
    let handle = scope.enter(handle);
    async { inject_fault(|| ()) }.in_scope(handle).await;
    assert!(scope.has_injected_fault());
    scope.enter(|| assert!(has_injected_fault()));

    let inside = inject_fault(super::handle);
    assert!(async { has_injected_fault() && Scope::new().enter(has_injected_fault) }.in_scope(inside).await);
    assert!(!has_injected_fault());
}

#[tokio::test(start_paused = true)]
async fn a_shadow_sees_nothing_of_the_scope_around_it_and_leaves_nothing_there() {
    let mut outer = Scope::narrowed(Deadline::at(tokio::time::Instant::now() + Duration::from_secs(1), SetBy::Us));
    let mut inside = Scope::new();
    outer.enter_as_reader(|| {
        report(degradation());
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            shadow(|| {
                assert!(is_shadow() && has_injected_fault());
                assert_eq!((deadline(), degradations().len()), (None, 0));
                inside.enter_as_reader(|| report(degradation()));
                assert!(inject_fault(is_shadow), "a fault inside of it is one of the shadow");
                panic!("on purpose");
            });
        }));
        assert!(caught.is_err() && !is_shadow() && !has_injected_fault());
        assert!(deadline().is_some());
    });
    assert!(!outer.has_injected_fault() && inside.has_injected_fault());
    assert_eq!((outer.take_reports().len(), inside.take_reports().len()), (1, 1));
    let handle = shadow(handle);
    assert!(async { is_shadow() && has_injected_fault() }.in_scope(handle).await);
    assert!(!is_shadow());
}

/// A chain of scopes, each around the next, as a simple model has it.
struct Model {
    /// Milliseconds, and whose limit it is.
    limits: Vec<(u64, SetBy)>,
    begun: Vec<Option<u64>>,
}

impl Model {
    /// The outermost `depth` are entered, and the innermost asks for its deadline, or doesn't.
    fn enter(&mut self, depth: usize, asks: bool, now: u64) -> Option<(u64, SetBy)> {
        let entered = &mut self.begun[..depth];
        if asks || entered.iter().any(Option::is_some) {
            entered.iter_mut().for_each(|begun| _ = begun.get_or_insert(now));
        }
        let ends = self.limits.iter().zip(entered).filter_map(|(limit, begun)| Some((limit.0 + (*begun)?, limit.1)));
        ends.min_by_key(|(end, set_by)| (*end, *set_by == SetBy::Caller))
    }
}

fn enter(scopes: &mut [Scope], asks: bool) -> Option<Deadline> {
    match scopes {
        [] if asks => deadline(),
        [] => None,
        [scope, inside @ ..] => scope.enter(|| enter(inside, asks)),
    }
}

proptest! {
    #[test]
    fn time_begins_and_narrows_as_a_simple_model_has_it(
        limits in prop::collection::vec((1..50_u64, any::<bool>()), 1..5),
        steps in prop::collection::vec((0..4_usize, any::<bool>(), 0..20_u64), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let set_by = |by_caller| if by_caller { SetBy::Caller } else { SetBy::Us };
            let limits: Vec<_> = limits.into_iter().map(|(of, by_caller)| (of, set_by(by_caller))).collect();
            let mut scopes: Vec<_> = limits.iter().map(|(of, set_by)| limited(*of, *set_by)).collect();
            let mut model = Model { begun: vec![None; limits.len()], limits };
            let (origin, mut now) = (tokio::time::Instant::now(), 0);
            for (depth, asks, passes) in steps {
                let depth = 1 + depth % scopes.len();
                let told = enter(&mut scopes[..depth], asks);
                let expected = model.enter(depth, asks, now).filter(|_| asks);
                let expected = expected.map(|(end, set_by)| Deadline::at(origin + ms(end), set_by));
                prop_assert_eq!(told, expected);
                advance(ms(passes)).await;
                now += passes;
            }
            Ok(())
        })?;
    }
}
