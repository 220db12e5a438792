//! A process that defers and works is killed at any moment: no confirmed job is lost, and the file opens every time.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use backstop_deferred::{JobId, JobState, RedbJobStore};
use tokio::time::{Instant, advance, pause, resume, sleep};

use crate::common::{email, emails, secs, work};

/// In the environment of the process that is killed.
const FILE: &str = "BACKSTOP_CRASH_FILE";

/// Not a test of its own: what the process does that is killed. It prints what was confirmed.
#[tokio::test]
async fn the_process_that_is_killed() {
    let Some(file) = env::var_os(FILE) else { return };
    let emails = emails(RedbJobStore::open(file).await.unwrap());
    let (_sent, _worker) = work(&emails, async |_| Ok(()));
    loop {
        println!("confirmed {}", emails.defer(&email("ada")).await.unwrap().id);
    }
}

/// Runs that process, kills it after some time, and returns what it has confirmed.
fn killed_after(time: Duration, file: &Path) -> Vec<JobId> {
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::the_process_that_is_killed", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let confirmed = |line: String| Some(line.split_once("confirmed ")?.1.parse().unwrap());
    let first = lines.by_ref().find_map(confirmed).unwrap();
    std::thread::sleep(time);
    // SIGKILL.
    process.kill().unwrap();
    process.wait().unwrap();
    std::iter::once(first).chain(lines.filter_map(confirmed)).collect()
}

#[tokio::test]
async fn no_confirmed_job_is_lost_however_often_the_process_is_killed() {
    let dir = env::temp_dir().join(format!("backstop-deferred-crash-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join("jobs.redb");
    let rounds = env::var("BACKSTOP_CRASH_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    let jitter = backstop_kit::Jitter::new(None);
    let mut confirmed = Vec::new();
    for _ in 0..rounds {
        confirmed.extend(killed_after(jitter.time(Duration::ZERO..=secs(1) / 10), &file));
    }

    let emails = emails(RedbJobStore::open(&file).await.unwrap());
    // The claims of the processes that were killed run out.
    pause();
    advance(secs(31)).await;
    resume();
    let (_sent, _worker) = work(&emails, async |_| Ok(()));
    let since = Instant::now();
    for id in &confirmed {
        loop {
            match emails.state(*id).await.unwrap() {
                Some(JobState::Done) => break,
                Some(JobState::Queued | JobState::Running) if since.elapsed() < secs(30) * rounds => {
                    sleep(secs(1) / 100).await;
                }
                state => panic!("{id}, one of {}, is {state:?}", confirmed.len()),
            }
        }
    }
    assert_eq!(emails.dead_letters(1).await.unwrap(), []);
    fs::remove_dir_all(dir).unwrap();
}
