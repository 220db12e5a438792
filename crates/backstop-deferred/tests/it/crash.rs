//! A process that defers and works is killed at any moment: no confirmed job is lost, and the file opens every time.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop_deferred::{DeferError, Deferred, Failure, Job, JobId, JobState, RedbJobStore};
use tokio::{sync::watch, time::timeout};
use tower::{BoxError, service_fn};

use crate::common::{Email, email, emails, secs};

/// In the environment of the process that is killed.
const FILE: &str = "BACKSTOP_CRASH_FILE";
const ROUND: &str = "BACKSTOP_CRASH_ROUND";
const FIRST: &str = "BACKSTOP_CRASH_FIRST";
/// How many of the last jobs a new process defers again, since it doesn't know whether they exist.
const AGAIN: u64 = 10;

/// Not a test of its own: what the process does that is killed. It prints what happens.
#[tokio::test]
async fn the_process_that_is_killed() {
    let Some(file) = env::var_os(FILE) else { return };
    let (round, first) = (env::var(ROUND).unwrap(), env::var(FIRST).unwrap().parse::<u64>().unwrap());
    let store = RedbJobStore::open(file).await.unwrap();
    let emails = Deferred::<Email>::builder("emails", store).max_pending(10).build().unwrap();
    let send = service_fn(async |job: Job<Email>| {
        println!("ran {} {} {}", job.id(), job.attempt(), job.payload().to);
        Ok::<_, BoxError>(())
    });
    tokio::spawn(emails.worker(send).run(std::future::pending()));
    let defer = async |to: String, key: Option<u64>| {
        let mut call = emails.defer(&email(&to));
        if let Some(key) = key {
            call = call.key("ada", &key.to_string());
        }
        match call.await {
            Ok(receipt) => {
                println!("confirmed {} {to}", receipt.id);
                Some(receipt.id)
            }
            Err(DeferError::NotAccepted(_)) => {
                println!("refused {to}");
                None
            }
            Err(_) => None,
        }
    };
    let mut deferred = VecDeque::new();
    // The test harness has begun a line.
    println!();
    for number in first.. {
        let (keyed, _, _) = tokio::join!(
            defer(number.to_string(), Some(number)),
            defer(format!("{round}-{number}"), None),
            defer(format!("{round}-{number}-again"), None),
        );
        deferred.extend(keyed);
        if deferred.len() > 10
            && let Some(id) = deferred.pop_front()
            && emails.state(id).await.unwrap() == Some(JobState::Done)
        {
            println!("done {id}");
        }
    }
}

/// What all processes have said.
#[derive(Default)]
struct Said {
    /// For whom the confirmed jobs are.
    confirmed: HashMap<JobId, String>,
    /// The jobs with a key.
    keyed: HashMap<u64, JobId>,
    refused: HashSet<String>,
    done: HashSet<JobId>,
    attempts: HashSet<(JobId, u32)>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["confirmed", id, to] => {
                let id = id.parse().unwrap();
                self.confirmed.insert(id, to.to_owned());
                if let Ok(key) = to.parse() {
                    assert_eq!(*self.keyed.entry(key).or_insert(id), id, "a key has one job");
                }
            }
            ["refused", to] => _ = self.refused.insert(to.to_owned()),
            ["done", id] => _ = self.done.insert(id.parse().unwrap()),
            ["ran", id, attempt, to] => self.ran(id.parse().unwrap(), attempt.parse().unwrap(), to),
            _ => {}
        }
    }

    fn ran(&mut self, id: JobId, attempt: u32, to: &str) {
        assert!(self.attempts.insert((id, attempt)), "attempt {attempt} was begun twice: {id}");
        assert!(!self.done.contains(&id), "it was done already: {id}");
        // A job with a key that was refused may have been accepted later.
        assert!(to.parse::<u64>().is_ok() || !self.refused.contains(to), "{to} wasn't accepted, and ran");
    }
}

/// Runs that process, and kills it after it has said so many lines, and then some time.
fn kill_after(lines: u64, time: Duration, file: &Path, round: u32, said: &mut Said) {
    let first = said.keyed.keys().max().map_or(0, |last| (last + 1).saturating_sub(AGAIN));
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::the_process_that_is_killed", "--nocapture"])
        .env(FILE, file)
        .env(ROUND, round.to_string())
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    for _ in 0..lines {
        said.hear(&output.next().unwrap());
    }
    std::thread::sleep(time);
    // SIGKILL.
    process.kill().unwrap();
    assert_eq!(process.wait().unwrap().code(), None, "it goes on until it is killed");
    output.for_each(|line| said.hear(&line));
}

#[tokio::test]
async fn no_confirmed_job_is_lost_however_often_the_process_is_killed() {
    let dir = env::temp_dir().join(format!("backstop-deferred-crash-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join("jobs.redb");
    let rounds = env::var("BACKSTOP_CRASH_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    let (jitter, mut said) = (backstop_kit::Jitter::new(None), Said::default());
    for round in 0..rounds {
        // Now and then while it opens the file.
        let lines = jitter.number(0..400).saturating_sub(50);
        kill_after(lines, jitter.time(Duration::ZERO..=secs(1) / 20), &file, round, &mut said);
    }
    let heard = [said.confirmed.len(), said.refused.len(), said.done.len(), said.attempts.len()];
    assert!(!heard.contains(&0), "{heard:?}");

    let emails = emails(RedbJobStore::open(&file).await.unwrap());
    // Those that were running at three kills.
    for letter in emails.handle().dead_letters(None, usize::MAX).await.unwrap() {
        assert_eq!(letter.failure, Failure::Crashes);
        said.attempts.retain(|(id, _)| *id != letter.id);
        emails.handle().replay(letter.id).await.unwrap();
    }
    let mut left = HashSet::new();
    for id in said.confirmed.keys() {
        match emails.state(*id).await.unwrap() {
            Some(JobState::Done) => {}
            Some(JobState::Queued) => _ = left.insert(*id),
            state => panic!("{id} is {state:?}"),
        }
    }
    let (are_left, mut left_over) = watch::channel(left);
    let shared = Arc::new(Mutex::new(said));
    let heard = Arc::clone(&shared);
    let send = service_fn(move |job: Job<Email>| {
        heard.lock().unwrap().ran(job.id(), job.attempt(), &job.payload().to);
        are_left.send_modify(|left| _ = left.remove(&job.id()));
        async { Ok::<_, BoxError>(()) }
    });
    // The worker ends once it has recorded what it has run.
    let all_ran = async move { _ = left_over.wait_for(HashSet::is_empty).await };
    timeout(secs(60), emails.worker(send).run(all_ran)).await.unwrap();
    let confirmed = std::mem::take(&mut shared.lock().unwrap().confirmed);
    for (id, to) in confirmed {
        assert_eq!(emails.state(id).await.unwrap(), Some(JobState::Done), "{to}");
    }
    fs::remove_dir_all(dir).unwrap();
}
