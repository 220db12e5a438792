//! An outage of a database, from the first failed probe until all is well again, in paused time.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_health::{Component, Health};
use tokio::time::{Instant, sleep};

#[tokio::main(flavor = "current_thread", start_paused = true)]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "an example that shows something")]
async fn main() -> Result<(), backstop_health::ConfigError> {
    let works = Arc::new(AtomicBool::new(true));
    let health = Health::builder().component(Component::essential("database").without_fallback()).build()?;
    tokio::spawn(health.run());
    let is_working = Arc::clone(&works);
    tokio::spawn(health.probe("database", move || {
        let works = is_working.load(Relaxed);
        async move { if works { Ok(()) } else { Err(io::Error::other("connection refused")) } }
    })?);

    let began = Instant::now();
    let outage = tokio::spawn(async move {
        sleep(Duration::from_secs(60)).await;
        println!("{:>5.1} s  the database is down", began.elapsed().as_secs_f64());
        works.store(false, Relaxed);
        sleep(Duration::from_secs(60)).await;
        println!("{:>5.1} s  the database is back", began.elapsed().as_secs_f64());
        works.store(true, Relaxed);
    });
    let mut levels = health.subscribe();
    for _ in 0..4 {
        let level = levels.changed().await;
        let (level, ready) = (level.unwrap_or_default(), health.readiness());
        println!("{:>5.1} s  level {level}, {ready}", began.elapsed().as_secs_f64());
    }
    _ = outage.await;
    Ok(())
}
