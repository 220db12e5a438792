//! Actions: what they reach, how long their effect lasts, and what is recorded. In paused time.

use std::time::Duration;

use backstop_admin::Reach;
use serde_json::{Value as Json, json};
use tokio::{task::JoinSet, time::sleep};

use super::common::{ADA, Does, Local, Part, Server, answer, builder};

fn isolate(until: &str) -> Json {
    json!({ "operation": "isolate", "reason": "a drill", "until": until })
}

async fn minutes(minutes: u64) {
    sleep(Duration::from_secs(60 * minutes)).await;
}

fn part() -> Part {
    Part::new("circuit-breaker", "ml")
}

#[tokio::test(start_paused = true)]
async fn an_action_says_what_it_has_reached() {
    let part = part();
    let admin = Local::new(&[&part]);
    for reach in [Reach::Instance, Reach::Fleet] {
        part.now(Does::Work(reach));
        let body = json!({ "operation": "pin", "reason": "a drill", "until": "10m", "level": "healthy" });
        let acted = admin.post("/circuits/ml", body).await.ok();
        assert_eq!(acted["scope"], reach.as_str());
        assert_eq!(acted["component"]["name"], "ml");
        let action = &acted["action"];
        assert_eq!([&action["who"], &action["reason"], &action["result"]], ["ada", "a drill", "done"]);
        assert_eq!(action["arguments"], json!({ "level": "healthy" }));
        let asked = part.last();
        assert_eq!((asked.who(), asked.reason(), asked.time()), ("ada", "a drill", Some(Duration::from_secs(600))));
    }
}

#[tokio::test(start_paused = true)]
async fn an_effect_ends_at_its_time_though_nobody_calls() {
    let part = part();
    let admin = Local::new(&[&part]);
    admin.post("/circuits/ml", isolate("10m")).await.ok();
    sleep(Duration::from_secs(599)).await;
    assert_eq!(part.ran(), ["isolate"]);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(part.ran(), ["isolate", "end"]);
    assert_eq!((part.last().who(), part.last().reason()), ("ada", "the time of `isolate` is over"));
    minutes(120).await;
    assert_eq!(part.ran(), ["isolate", "end"], "once");
    let actions = admin.get("/actions").await.ok();
    let of =
        |field: &str| actions["actions"].as_array().unwrap().iter().map(|it| it[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("operation"), ["end", "isolate"]);
    assert_eq!(of("result"), ["done", "done"]);
}

#[tokio::test(start_paused = true)]
async fn an_effect_lasts_an_hour_unless_it_says_otherwise() {
    let part = part();
    let admin = Local::new(&[&part]);
    let acted = admin.post("/circuits/ml", json!({ "operation": "isolate", "reason": "a drill" })).await.ok();
    assert!(acted["action"]["until"].is_string(), "{acted}");
    sleep(Duration::from_secs(3_599)).await;
    assert_eq!(part.ran(), ["isolate"]);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(part.ran(), ["isolate", "end"]);
}

#[tokio::test(start_paused = true)]
async fn a_later_action_replaces_the_time_of_an_earlier_one() {
    for (later, ends_after) in [("5m", 5), ("30m", 30)] {
        let part = part();
        let admin = Local::new(&[&part]);
        admin.post("/circuits/ml", isolate("10m")).await.ok();
        admin.post("/circuits/ml", isolate(later)).await.ok();
        minutes(ends_after - 1).await;
        assert_eq!(part.ran(), ["isolate", "isolate"], "{later}");
        minutes(60).await;
        assert_eq!(part.ran(), ["isolate", "isolate", "end"], "{later}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_an_operator_has_ended_is_not_ended_again() {
    let part = part();
    let admin = Local::new(&[&part]);
    admin.post("/circuits/ml", isolate("10m")).await.ok();
    admin.post("/circuits/ml", json!({ "operation": "end", "reason": "seen enough" })).await.ok();
    minutes(60).await;
    assert_eq!(part.ran(), ["isolate", "end"]);
}

#[tokio::test(start_paused = true)]
async fn effects_with_different_ends_and_of_different_components_do_not_replace_each_other() {
    let (ml, other) = (part(), Part::new("circuit-breaker", "other"));
    let admin = Local::new(&[&ml, &other]);
    admin.post("/circuits/ml", isolate("10m")).await.ok();
    admin.post("/circuits/other", isolate("20m")).await.ok();
    admin.post("/circuits/ml", json!({ "operation": "pause", "reason": "a drill", "until": "5m" })).await.ok();
    admin.post("/circuits/ml", json!({ "operation": "clear", "reason": "a drill" })).await.ok();
    minutes(15).await;
    assert_eq!(ml.ran(), ["isolate", "pause", "clear", "resume", "end"]);
    assert_eq!(other.ran(), ["isolate"]);
    minutes(15).await;
    assert_eq!(other.ran(), ["isolate", "end"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_action_leaves_the_time_of_an_earlier_one() {
    let part = part();
    let admin = Local::new(&[&part]);
    admin.post("/circuits/ml", isolate("10m")).await.ok();
    part.now(Does::Refuse);
    let problem = admin.post("/circuits/ml", isolate("1h")).await.problem(422);
    assert_eq!([&problem["field"], &problem["value"], &problem["allowed"]], ["colour", "missing", "red or green"]);
    part.now(Does::Work(Reach::Instance));
    minutes(11).await;
    assert_eq!(part.ran(), ["isolate", "isolate", "end"]);
    minutes(60).await;
    assert_eq!(part.ran().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_had_an_effect_is_ended_too() {
    for does in [Does::Fail, Does::Hang] {
        let part = part();
        let admin = Local::new(&[&part]);
        part.now(does);
        let failed = admin.post("/circuits/ml", isolate("10m")).await;
        failed.problem(503);
        assert_eq!(failed.headers["retry-after"], "10");
        part.now(Does::Work(Reach::Instance));
        minutes(11).await;
        assert_eq!(part.ran(), ["isolate", "end"], "{does:?}");
        let actions = admin.get("/actions").await.ok();
        assert_eq!(actions["actions"][1]["result"], "failed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_leaves_a_record_and_no_effect_without_an_end() {
    let part = part();
    let admin = Local::new(&[&part]);
    part.now(Does::Hang);
    let gone = tokio::time::timeout(Duration::from_secs(1), admin.post("/circuits/ml", isolate("10m"))).await;
    assert!(gone.is_err());
    assert_eq!(admin.get("/actions").await.ok()["actions"][0]["result"], "unknown");
    part.now(Does::Work(Reach::Instance));
    admin.post("/circuits/ml", json!({ "operation": "clear", "reason": "it isn't busy" })).await.ok();
    minutes(11).await;
    assert_eq!(part.ran(), ["isolate", "clear", "end"]);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_fails_is_tried_again_and_one_that_is_refused_is_not() {
    let part = part();
    let admin = Local::new(&[&part]);
    admin.post("/circuits/ml", isolate("10m")).await.ok();
    part.now(Does::Fail);
    sleep(Duration::from_secs(625)).await;
    assert_eq!(part.ran(), ["isolate", "end", "end", "end"]);
    part.now(Does::Work(Reach::Instance));
    minutes(60).await;
    assert_eq!(part.ran().len(), 5);

    admin.post("/circuits/ml", isolate("10m")).await.ok();
    part.now(Does::Refuse);
    minutes(60).await;
    assert_eq!(part.ran().len(), 7);
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_nobody_would_end_is_refused() {
    let part = part();
    let admin = builder(&[&part]).build().unwrap();
    let router = admin.router();
    let ask = async |operation: &str| {
        let body = json!({ "operation": operation, "reason": "a drill" }).to_string();
        let request = http::Request::post("/circuits/ml").header("host", "localhost");
        let request = request.header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {ADA}")).body(body.into()).unwrap();
        answer(&router, request).await
    };
    let problem = ask("isolate").await.problem(503);
    assert!(problem["detail"].as_str().unwrap().contains("Admin::run"), "{problem}");
    ask("clear").await.ok();
    let run = admin.run();
    ask("isolate").await.ok();
    drop(run);
    ask("isolate").await.problem(503);
    assert_eq!(part.ran(), ["clear", "isolate"]);
    // What is left is ended once somebody does so again.
    let mut background = JoinSet::new();
    background.spawn(admin.run());
    minutes(61).await;
    assert_eq!(part.ran(), ["clear", "isolate", "end"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_thousand_actions_are_kept() {
    let part = part();
    let admin = Local::new(&[&part]);
    for _ in 0..1_005 {
        admin.post("/circuits/ml", json!({ "operation": "clear", "reason": "again" })).await.ok();
    }
    let list = admin.get("/actions").await.ok();
    let actions = list["actions"].as_array().unwrap();
    assert_eq!((actions.len(), &actions[0]["seq"], &actions[999]["seq"]), (1_000, &json!(1_005), &json!(6)));
}

/// Over sockets, on two threads. The component fails the test if two operations run at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_actions_each_runs_alone_and_each_is_recorded() {
    const CLIENTS: usize = 16;
    const EACH: usize = 20;
    let part = part();
    let admin = builder(&[&part]).build().unwrap();
    let server = std::sync::Arc::new(Server::start(&admin).await);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let server = std::sync::Arc::clone(&server);
        clients.spawn(async move {
            let mut done = 0;
            for i in 0..EACH {
                let operation = ["isolate", "end", "clear", "pause"][i % 4];
                let body = json!({ "operation": operation, "reason": "a storm" }).to_string();
                let token = format!("Authorization: Bearer {ADA}");
                let lines = ["Host: localhost", "Content-Type: application/json", &token];
                let answer = server.send("POST /circuits/ml", &lines, &body).await;
                match answer.status.as_u16() {
                    200 => done += 1,
                    409 => _ = answer.problem(409),
                    _ => panic!("{answer:?}"),
                }
            }
            done
        });
    }
    let done: usize = clients.join_all().await.into_iter().sum();
    assert_eq!(part.ran().len(), done);
    let token = format!("Authorization: Bearer {ADA}");
    let list = server.send("GET /actions", &["Host: localhost", &token], "").await.ok();
    let actions = list["actions"].as_array().unwrap();
    assert_eq!(actions.len(), done);
    assert!(actions.iter().all(|action| action["result"] == "done"), "{list}");
}
