//! Processes that accept and run jobs are killed at any moment, and so is the server: no confirmed job is lost.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use backstop_deferred::{
    DeferError, Deferred, JobId, JobState, NotAccepted,
    store::{JobStore, List},
};
use backstop_kit::Jitter;
use backstop_nats::NatsJobStore;
use backstop_test::NatsServer;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::common::{Email, Sent, client, email, emails, secs, store, within};

/// In the environment of a process that is killed or paused: the server.
const URL: &str = "BACKSTOP_CRASH_URL";
/// In the environment of the one that is paused.
const HANG: &str = "BACKSTOP_CRASH_HANG";

/// Not a test of its own: what the process does that is killed. It prints what was confirmed, and what runs.
#[tokio::test]
async fn the_process_that_is_killed() {
    let Some(url) = env::var(URL).ok() else { return };
    let store = NatsJobStore::builder(client(&url).await, "emails").build().unwrap();
    let emails = Deferred::<Email>::builder("emails", store).build().unwrap();
    let is_hanging = env::var_os(HANG).is_some();
    let send = move || async move {
        if is_hanging {
            println!("\nbegun");
            sleep(secs(5)).await;
        }
        Ok(())
    };
    Sent::default().work(&emails, send);
    if is_hanging {
        sleep(secs(3_600)).await;
    }
    loop {
        match emails.defer(&email("ada")).await {
            Ok(receipt) => println!("\nconfirmed {}", receipt.id),
            // The server is down, too, or the queue is full.
            Err(DeferError::Unknown(_) | DeferError::NotAccepted(NotAccepted::Full { .. })) => {}
            Err(error) => panic!("{error}"),
        }
        sleep(Duration::from_millis(2)).await;
    }
}

struct Process {
    child: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Process {
    fn start(nats: &NatsServer, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::the_process_that_is_killed", "--nocapture"])
            .env(URL, nats.url())
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = Box::new(BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap));
        Self { child, lines }
    }

    /// Waits for a line that begins like that, and returns the rest of it. `None` if there is none.
    fn said(&mut self, word: &str) -> Option<String> {
        self.lines.find_map(|line| Some(line.strip_prefix(word)?.trim().to_owned()))
    }

    fn confirmed(&mut self) -> Option<JobId> {
        Some(self.said("confirmed ")?.parse().unwrap())
    }

    fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_confirmed_job_is_lost_however_often_processes_and_the_server_are_killed() {
    let Some(mut nats) = NatsServer::start() else { return };
    let rounds = env::var("BACKSTOP_CRASH_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    let jitter = Jitter::new(None);
    let (mut confirmed, mut between) = (Vec::<JobId>::new(), Duration::ZERO);
    for round in 0..rounds {
        let mut processes = [Process::start(&nats, &[]), Process::start(&nats, &[])];
        let first = processes.each_mut().map(|process| process.confirmed().unwrap());
        confirmed.extend(first);
        std::thread::sleep(jitter.time(Duration::ZERO..=secs(1) / 5));
        if round % 2 == 1 {
            // They meet a server that is gone, and one that has just started.
            nats.kill();
            between = jitter.time(Duration::ZERO..=secs(1) / 5);
            std::thread::sleep(between);
            nats.restart();
            std::thread::sleep(jitter.time(Duration::ZERO..=secs(1) / 5));
        }
        for mut process in processes {
            process.signal("KILL");
            confirmed.extend(std::iter::from_fn(|| process.confirmed()));
        }
    }
    assert!(between > Duration::ZERO && confirmed.len() > 10 * rounds, "{}", confirmed.len());

    let (emails, other) = (emails(&nats, "emails").await, emails(&nats, "emails").await);
    for emails in [&emails, &other] {
        Sent::default().work(emails, async || Ok(()));
    }
    // The claims of the processes that were killed run out.
    let (since, limit) = (Instant::now(), secs(60) + secs(10) * rounds as u32);
    for id in &confirmed {
        loop {
            match emails.state(*id).await.unwrap() {
                Some(JobState::Done) => break,
                Some(JobState::Queued | JobState::Running) if since.elapsed() < limit => sleep(secs(1) / 50).await,
                state => panic!("{id}, one of {}, is {state:?}", confirmed.len()),
            }
        }
    }
    assert_eq!(emails.handle().dead_letters(None, 1).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_paused_while_another_took_its_job_acknowledges_nothing() {
    let Some(nats) = NatsServer::start() else { return };
    let store = store(&nats, "emails").await;
    let emails = Deferred::<Email>::builder("emails", store.clone()).build().unwrap();
    let mut zombie = Process::start(&nats, &[(HANG, "")]);
    let receipt = emails.defer(&email("ada")).await.unwrap();
    assert_eq!(zombie.said("begun").as_deref(), Some(""));
    zombie.signal("STOP");
    // Another worker takes the job, and runs it for some time.
    let sent = Sent::default();
    let (go, gone) = tokio::sync::watch::channel(false);
    sent.work(&emails, move || {
        let mut gone = gone.clone();
        async move {
            gone.wait_for(|is_gone| *is_gone).await.unwrap();
            Ok(())
        }
    });
    within(secs(60), "it is taken over", async || sent.to("ada") == 1).await;
    zombie.signal("CONT");
    // It begins the next job, as the other worker is busy, when it is done with the first.
    emails.defer(&email("bob")).await.unwrap();
    assert_eq!(zombie.said("begun").as_deref(), Some(""));
    assert_eq!(emails.state(receipt.id).await.unwrap(), Some(JobState::Running), "the other one decides");
    let totals = [List::Queued, List::Running].map(async |list| store.totals(list).await.unwrap().records);
    assert_eq!(join_all(totals).await.iter().sum::<u64>(), 2, "the wake-up is still there");
    go.send_replace(true);
    within(secs(10), "it is done", async || emails.state(receipt.id).await.unwrap() == Some(JobState::Done)).await;
    assert_eq!(sent.to("ada"), 1);
}
