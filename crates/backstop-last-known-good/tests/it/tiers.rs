//! Two tiers: the memory of a process, and a store that several processes share.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use backstop_last_known_good::{BackgroundTask, LastKnownGoodLayer, NotStored};
use http::Request;
use tokio::time::{Instant, advance, sleep};

use crate::support::{Behaves, TestStore, begin, body_of, get, request, response, send, stored};

const SECOND: Duration = Duration::from_secs(1);

/// A process whose executor runs each task at once. Make it before time is advanced: its clock begins at the time of day, which
/// isn't paused.
#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
fn process(store: &TestStore) -> LastKnownGoodLayer<TestStore> {
    let builder = LastKnownGoodLayer::builder("shop").principal(|head| head.headers.get("x-user").cloned());
    builder.shared_store(store.clone(), |task| drop(tokio::spawn(task))).build().unwrap()
}

/// Lets the executor finish what needs no time.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// Sends a GET for `/`, answered so, and lets the executor store the answer.
async fn store(layer: &LastKnownGoodLayer<TestStore>, body: &'static str) {
    send(layer, get("/", &[]), response(200, &[], body)).await;
    settle().await;
}

async fn write(layer: &LastKnownGoodLayer<TestStore>) {
    begin(layer, request("PUT", "/", &[]), response(204, &[], "")).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_process_serves_what_an_earlier_one_has_stored_with_its_true_age() {
    let shared = TestStore::new(Behaves::Well);
    let (first, second) = (process(&shared), process(&shared));
    store(&first, "good").await;
    drop(first);
    advance(SECOND * 900).await;
    let known = stored(&second, get("/", &[])).await.unwrap();
    assert_eq!(known.body, "good");
    assert!((900..=901).contains(&known.age), "{}", known.age);
    assert_eq!(known.headers["age"], known.age.to_string());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_the_shared_store_when_an_answer_is_stored_or_validated() {
    for trouble in [Behaves::Well, Behaves::Fails, Behaves::Hangs, Behaves::Slowly(SECOND)] {
        let shared = TestStore::new(trouble);
        let layer = process(&shared);
        let begun = Instant::now();
        send(&layer, get("/", &[]), response(200, &[("etag", "\"1\"")], "good")).await;
        let revalidates = get("/", &[("if-none-match", "\"1\"")]);
        send(&layer, revalidates, response(304, &[("etag", "\"1\"")], Body::empty())).await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "{trouble:?}");
        assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "good", "{trouble:?}");
        assert_eq!(begun.elapsed(), Duration::ZERO, "memory is asked first");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_shared_store_has_is_kept_in_memory_once_it_was_served() {
    let shared = TestStore::new(Behaves::Well);
    store(&process(&shared), "good").await;
    let layer = process(&shared);
    shared.now(Behaves::Hangs);
    assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::StoreFailed));
    shared.now(Behaves::Well);
    for _ in 0..2 {
        assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "good");
        shared.now(Behaves::Hangs);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_in_memory_is_looked_for_in_the_shared_store() {
    let shared = TestStore::new(Behaves::Well);
    let (one, other) = (process(&shared), process(&shared));
    store(&one, "old").await;
    advance(SECOND * 3600 * 25).await;
    assert_eq!(body_of(&one, get("/", &[])).await, Err(NotStored::TooStale));
    store(&other, "new").await;
    assert_eq!(body_of(&one, get("/", &[])).await.unwrap(), "new");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_varies_is_kept_for_who_it_is_for_in_both_tiers() {
    let shared = TestStore::new(Behaves::Well);
    let first = process(&shared);
    let speaks = |language| get("/", &[("accept-language", language)]);
    for language in ["en", "fr"] {
        send(&first, speaks(language), response(200, &[("vary", "accept-language")], language)).await;
    }
    settle().await;
    let layer = process(&shared);
    for _ in 0..2 {
        for language in ["en", "fr"] {
            assert_eq!(body_of(&layer, speaks(language)).await.unwrap(), language);
        }
        assert_eq!(body_of(&layer, speaks("de")).await, Err(NotStored::Missing));
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_reaches_both_tiers() {
    for removes in [request("PUT", "/", &[]), get("/", &[])] {
        let shared = TestStore::new(Behaves::Well);
        let layer = process(&shared);
        store(&layer, "old").await;
        let answer = if removes.method() == "GET" { response(410, &[], "gone") } else { response(204, &[], "") };
        begin(&layer, removes, answer).await;
        assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing));
        assert_eq!(body_of(&process(&shared), get("/", &[])).await, Err(NotStored::Missing));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_while_the_shared_store_was_away_never_comes_back() {
    for trouble in [Behaves::Fails, Behaves::Hangs] {
        let shared = TestStore::new(Behaves::Well);
        let [layer, second, third] = [(); 3].map(|()| process(&shared));
        store(&layer, "old").await;
        advance(SECOND).await;
        shared.now(trouble);
        let begun = Instant::now();
        write(&layer).await;
        assert!(begun.elapsed() <= Duration::from_millis(51), "{trouble:?}: bounded by `store_timeout`");
        sleep(SECOND * 60).await;
        shared.now(Behaves::Well);
        assert!(shared.holds("old"), "{trouble:?}");
        assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing), "{trouble:?}");
        // The removal is repeated until the store confirms it, so that no other process serves the old answer.
        sleep(SECOND * 61).await;
        assert_eq!(body_of(&second, get("/", &[])).await, Err(NotStored::Missing), "{trouble:?}");
        store(&layer, "new").await;
        sleep(SECOND * 300).await;
        assert_eq!(body_of(&third, get("/", &[])).await.unwrap(), "new", "{trouble:?}: and then no more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_given_up_at_any_point_is_finished_by_the_executor() {
    let mut polls = 0;
    loop {
        let shared = TestStore::new(Behaves::Well);
        let layer = process(&shared);
        store(&layer, "old").await;
        advance(SECOND).await;
        shared.now(Behaves::Slowly(Duration::from_millis(10)));
        let ended = crate::cancellation::give_up_after(polls, write(&layer)).await;
        shared.now(Behaves::Well);
        let known = body_of(&layer, get("/", &[])).await;
        // A write that was never polled has not removed anything.
        assert_eq!(known.is_err(), polls > 0, "after {polls}: {known:?}");
        if polls > 0 {
            sleep(SECOND * 2).await;
            assert_eq!(body_of(&process(&shared), get("/", &[])).await, Err(NotStored::Missing), "after {polls}");
        }
        if ended {
            break;
        }
        polls += 1;
    }
    assert!(polls >= 2, "{polls}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_on_its_way_from_the_shared_store_does_not_outlive_a_removal() {
    let shared = TestStore::new(Behaves::Well);
    store(&process(&shared), "old").await;
    let layer = process(&shared);
    advance(SECOND).await;
    shared.now(Behaves::Slowly(Duration::from_millis(15)));
    let reader = body_of(&layer, get("/", &[]));
    let writer = async {
        sleep(Duration::from_millis(40)).await;
        write(&layer).await;
    };
    // Who asked before the write may get what was there before it.
    let (_, ()) = tokio::join!(reader, writer);
    shared.now(Behaves::Well);
    sleep(SECOND * 5).await;
    assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing));
}

#[tokio::test(start_paused = true)]
async fn a_look_up_given_up_at_any_point_keeps_all_or_nothing_in_memory() {
    let shared = TestStore::new(Behaves::Well);
    store(&process(&shared), "good").await;
    let mut polls = 0;
    loop {
        let layer = process(&shared);
        shared.now(Behaves::Slowly(Duration::from_millis(10)));
        let ended = crate::cancellation::give_up_after(polls, body_of(&layer, get("/", &[]))).await;
        shared.now(Behaves::Fails);
        let kept = body_of(&layer, get("/", &[])).await;
        assert_eq!(kept.is_ok(), ended, "after {polls}");
        if ended {
            break;
        }
        polls += 1;
    }
    assert!(polls >= 3, "{polls}");
}

#[tokio::test(start_paused = true)]
async fn two_answers_that_are_the_first_of_a_path_at_the_same_time_are_both_stored() {
    let shared = TestStore::new(Behaves::Slowly(Duration::from_millis(2)));
    let (first, second) = (process(&shared), process(&shared));
    for (layer, user) in [(&first, "ann"), (&first, "ben"), (&second, "eve")] {
        send(layer, of(Some(user), "/"), response(200, &[], user)).await;
    }
    sleep(SECOND).await;
    shared.now(Behaves::Well);
    let other = process(&shared);
    for user in ["ann", "ben", "eve"] {
        assert_eq!(body_of(&other, of(Some(user), "/")).await.unwrap(), user);
    }
}

/// An executor that runs nothing until it is told.
type Queue = Arc<Mutex<Vec<BackgroundTask>>>;

fn queued(store: &TestStore) -> (LastKnownGoodLayer<TestStore>, Queue) {
    let queue = Queue::default();
    let waiting = Arc::clone(&queue);
    let builder = LastKnownGoodLayer::builder("shop");
    let layer = builder.shared_store(store.clone(), move |task| waiting.lock().unwrap().push(task)).build().unwrap();
    (layer, queue)
}

#[tokio::test(start_paused = true)]
async fn of_identical_answers_one_is_on_its_way_to_the_shared_store_at_a_time() {
    let shared = TestStore::new(Behaves::Well);
    let (layer, queue) = queued(&shared);
    for _ in 0..10 {
        send(&layer, get("/", &[]), response(200, &[], "good")).await;
    }
    assert_eq!((queue.lock().unwrap().len(), shared.puts()), (1, 0));
    let task = queue.lock().unwrap().pop().unwrap();
    task.await;
    assert!(shared.holds("good"));
    send(&layer, get("/", &[]), response(200, &[], "better")).await;
    assert_eq!(queue.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_answers_are_on_their_way_than_the_documented_number_and_all_are_in_memory() {
    let (layer, queue) = queued(&TestStore::new(Behaves::Well));
    for i in 0..300 {
        send(&layer, get(&format!("/{i}"), &[]), response(200, &[], "good")).await;
    }
    assert_eq!(queue.lock().unwrap().len(), 256);
    for i in 0..300 {
        assert_eq!(body_of(&layer, get(&format!("/{i}"), &[])).await.unwrap(), "good");
    }
    // An executor that drops its tasks leaves the way free for others.
    queue.lock().unwrap().clear();
    send(&layer, get("/other", &[]), response(200, &[], "good")).await;
    assert_eq!(queue.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_drops_a_removal_gets_it_again_with_the_next_one_that_fails() {
    let shared = TestStore::new(Behaves::Well);
    let ((layer, queue), (other, _)) = (queued(&shared), queued(&shared));
    send(&layer, get("/", &[]), response(200, &[], "old")).await;
    let task = queue.lock().unwrap().pop().unwrap();
    task.await;
    shared.now(Behaves::Fails);
    for expected in [1, 1] {
        write(&layer).await;
        assert_eq!(queue.lock().unwrap().len(), expected, "one task repeats all removals");
    }
    let mut dropped = queue.lock().unwrap().pop().unwrap();
    assert!(tokio::time::timeout(SECOND * 10, &mut dropped).await.is_err());
    drop(dropped);
    begin(&layer, request("PUT", "/other", &[]), response(204, &[], "")).await;
    shared.now(Behaves::Well);
    assert!(shared.holds("old"));
    let task = queue.lock().unwrap().pop().unwrap();
    task.await;
    assert_eq!(body_of(&other, get("/", &[])).await, Err(NotStored::Missing));
}

#[tokio::test(start_paused = true)]
async fn clearing_keeps_this_process_from_serving_what_the_shared_store_has() {
    let shared = TestStore::new(Behaves::Well);
    let layer = process(&shared);
    store(&layer, "old").await;
    advance(SECOND).await;
    assert!(!layer.handle().is_empty());
    layer.handle().clear();
    assert!(layer.handle().is_empty());
    assert_eq!(body_of(&layer, get("/", &[])).await, Err(NotStored::Missing));
    advance(SECOND).await;
    store(&layer, "new").await;
    assert_eq!(body_of(&layer, get("/", &[])).await.unwrap(), "new");
}

fn of(user: Option<&str>, path: &str) -> Request<Body> {
    let fields: Vec<_> = user.map(|user| ("x-user", user)).into_iter().collect();
    get(path, &fields)
}

/// Random histories of two processes against a sequential model.
mod histories {
    use std::collections::{HashMap, HashSet};

    use proptest::{prelude::*, sample::select};

    use super::*;

    type Key = (&'static str, Option<&'static str>);

    #[derive(Clone, Copy, Debug)]
    enum Does {
        /// The service answers a GET.
        Stores(usize, Key),
        /// A write succeeds.
        Writes(usize, &'static str),
        /// The service answers 410.
        IsGone(usize, Key),
        /// Someone asks for what is stored.
        Asks(usize, Key),
        Restarts(usize),
        Passes(u64),
        StoreIs(bool),
    }

    fn does() -> impl Strategy<Value = Does> {
        let process = || 0..2_usize;
        let key = || (select(vec!["/a", "/b"]), select(vec![None, Some("ann"), Some("ben")]));
        prop_oneof![
            5 => (process(), key()).prop_map(|(process, key)| Does::Stores(process, key)),
            2 => (process(), select(vec!["/a", "/b"])).prop_map(|(process, path)| Does::Writes(process, path)),
            2 => (process(), key()).prop_map(|(process, key)| Does::IsGone(process, key)),
            6 => (process(), key()).prop_map(|(process, key)| Does::Asks(process, key)),
            1 => process().prop_map(Does::Restarts),
            2 => select(vec![2, 60, 3600, 50_000, 86_398]).prop_map(Does::Passes),
            1 => any::<bool>().prop_map(Does::StoreIs),
        ]
    }

    /// An answer: its number, and when it was made.
    type Made = (usize, Instant);

    #[derive(Default)]
    struct Process {
        memory: HashMap<Key, Made>,
        /// Removals that the store didn't confirm, and when they failed last.
        failed: HashMap<(&'static str, Option<Key>), Instant>,
        /// Those that are still to be repeated.
        unfinished: HashSet<(&'static str, Option<Key>)>,
    }

    struct Model {
        works: bool,
        shared: HashMap<Key, Made>,
        processes: [Process; 2],
    }

    impl Model {
        fn stores(&mut self, process: usize, key: Key, made: Made) {
            self.processes[process].memory.insert(key, made);
            if self.works {
                self.shared.insert(key, made);
            }
        }

        /// `of` is one owner's part of a path, or all of it.
        fn removes(&mut self, process: usize, path: &'static str, of: Option<Key>) {
            let stays = |key: &Key, _: &mut Made| of.map_or(key.0 != path, |of| *key != of);
            let Process { memory, failed, unfinished } = &mut self.processes[process];
            memory.retain(stays);
            if self.works {
                self.shared.retain(stays);
            } else {
                failed.insert((path, of), Instant::now());
                unfinished.insert((path, of));
            }
        }

        /// All removals that failed are repeated.
        fn recovers(&mut self) {
            self.works = true;
            for process in &mut self.processes {
                for (path, of) in process.unfinished.drain() {
                    self.shared.retain(|key, _| of.map_or(key.0 != path, |of| *key != of));
                }
            }
        }

        fn asks(&mut self, process: usize, key: Key) -> Option<Made> {
            let lasts = |made: &&Made| made.1.elapsed() < SECOND * 86_400;
            let Process { memory, failed, .. } = &mut self.processes[process];
            if let Some(near) = memory.get(&key).filter(lasts) {
                return Some(*near);
            }
            let failed_since = |made: &&Made| {
                let failed = [failed.get(&(key.0, None)), failed.get(&(key.0, Some(key)))];
                failed.into_iter().flatten().any(|failed| made.1 <= *failed)
            };
            let found =
                *self.shared.get(&key).filter(|_| self.works).filter(lasts).filter(|made| !failed_since(made))?;
            memory.insert(key, found);
            Some(found)
        }
    }

    async fn follows_the_model(history: &[Does]) {
        let shared = TestStore::new(Behaves::Well);
        // A restarted process is another layer. All are made now, so that their clocks agree.
        let mut fresh: Vec<_> = (0..history.len() + 2).map(|_| process(&shared)).collect();
        let mut layers = [(); 2].map(|()| fresh.pop().unwrap());
        let mut model = Model { works: true, shared: HashMap::new(), processes: Default::default() };
        for (i, does) in history.iter().enumerate() {
            // No two events within the resolution of dates.
            advance(SECOND * 2).await;
            match *does {
                Does::Stores(process, key) => {
                    let made = (i, Instant::now());
                    send(&layers[process], of(key.1, key.0), response(200, &[], i.to_string())).await;
                    settle().await;
                    model.stores(process, key, made);
                }
                Does::Writes(process, path) => {
                    begin(&layers[process], request("PUT", path, &[]), response(204, &[], "")).await;
                    model.removes(process, path, None);
                }
                Does::IsGone(process, key) => {
                    begin(&layers[process], of(key.1, key.0), response(410, &[], "")).await;
                    model.removes(process, key.0, Some(key));
                }
                Does::Asks(process, key) => {
                    let known = stored(&layers[process], of(key.1, key.0)).await;
                    let expected = model.asks(process, key);
                    let number = |body: &str| body.parse::<usize>().unwrap();
                    assert_eq!(known.as_ref().ok().map(|it| number(&it.body)), expected.map(|it| it.0), "step {i}");
                    if let (Ok(known), Some((_, made))) = (known, expected) {
                        let age = made.elapsed().as_secs();
                        assert!(known.age.abs_diff(age) <= 1, "step {i}: {age} s are told as {}", known.age);
                    }
                }
                Does::Restarts(restarted) => {
                    layers[restarted] = fresh.pop().unwrap();
                    model.processes[restarted] = Process::default();
                }
                Does::Passes(seconds) => sleep(SECOND * seconds as u32).await,
                Does::StoreIs(works) => {
                    shared.now(if works { Behaves::Well } else { Behaves::Fails });
                    if works && !model.works {
                        sleep(SECOND * 121).await;
                        model.recovers();
                    }
                    model.works = works;
                }
            }
        }
    }

    #[test]
    fn two_processes_serve_what_a_sequential_model_says() {
        let histories = prop::collection::vec(does(), 1..40);
        backstop_test::assert_property(1, &histories, |history: Vec<Does>| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(follows_the_model(&history));
        });
    }
}
