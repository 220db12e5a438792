//! A dashboard of five parts, one of which hangs, under load.

use std::{cell::RefCell, rc::Rc, time::Duration};

use backstop_partial::{Aggregate, name, part};
use tokio::{
    task::LocalSet,
    time::{Instant, sleep},
};

use crate::common::{MS, after};

const HUNG: Duration = Duration::from_millis(300);
const PAGES: u32 = 5_000;

#[tokio::test(start_paused = true)]
async fn each_page_is_answered_within_the_time_of_the_part_that_hangs() {
    let dashboard = Rc::new(Aggregate::builder("dashboard").total(Duration::from_secs(3)).build().unwrap());
    let latencies = Rc::new(RefCell::new(Vec::new()));
    let tasks = LocalSet::new();
    for i in 0..PAGES {
        let (dashboard, latencies) = (Rc::clone(&dashboard), Rc::clone(&latencies));
        tasks.spawn_local(async move {
            // 1,000 a second.
            sleep(MS * i).await;
            let started = Instant::now();
            let call = |name, ms| part(name, after(MS * ms, Ok::<_, &str>(ms)));
            let parts = (
                call(name!("profile"), 5 + i % 20).required(),
                call(name!("orders"), 10 + i % 50).or(0),
                part(name!("reviews"), std::future::pending::<Result<u32, &str>>()).timeout(HUNG).optional(),
                call(name!("recommendations"), i % 100).or_default(),
                call(name!("balance"), i % 7).optional(),
            );
            let page = dashboard.gather(parts).await.unwrap();
            assert_eq!(page.status().failures().len(), 1);
            latencies.borrow_mut().push(started.elapsed());
        });
    }
    tasks.await;
    let latencies = latencies.borrow();
    assert_eq!(latencies.len(), PAGES as usize);
    assert!(latencies.iter().max().unwrap() <= &(HUNG + 10 * MS), "{:?}", latencies.iter().max());
}
