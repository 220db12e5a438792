//! The program: its output, invalid options, and its end.
#![allow(clippy::panic, reason = "the helpers of a test may fail it, as the test itself may")]

use std::process::Output;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::program::{PATIENCE, Started, get, output, program};

/// Asserts exit code 2, with all these words in the message.
#[track_caller]
fn assert_refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    assert!(output.stdout.is_empty());
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn help_explains_every_option_and_its_variable() {
    let output = output(program(&["--help"])).await;
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    let stores = ["jobs-dir", "redis-url", "nats-url", "instance", "log"];
    let options = ["listen", "admin", "ml-url", "catalog-url", "circuit-wait", "drain", "admin-token"];
    for option in options.into_iter().chain(stores) {
        let variable = format!("RECOMMENDATIONS_{}", option.replace('-', "_").to_uppercase());
        assert!(help.contains(&format!("--{option} ")) && help.contains(&variable), "{option}: {help}");
    }
}

#[tokio::test]
async fn it_prints_what_it_listens_on_and_what_to_try() {
    let mut started = Started::start(&[]).await;
    assert!(get(&started.app, "/livez").await.starts_with("HTTP/1.1 200 OK"));
    assert!(get(&started.admin, "/chaos").await.starts_with("HTTP/1.1 200 OK"));
    let mut rest = String::new();
    while !rest.contains("Ctrl-C stops") {
        rest += &timeout(PATIENCE, started.output.next_line()).await.unwrap().unwrap().unwrap();
        rest.push('\n');
    }
    for word in [
        format!("curl -i http://{}/api/recommendations/", started.app),
        format!("curl -X PUT http://{}/chaos/ml", started.admin),
        "RUST_LOG=backstop=debug".to_owned(),
        "`error` is the cause".to_owned(),
    ] {
        assert!(rest.contains(&word), "{word} is not in {rest}");
    }
}

#[tokio::test]
async fn the_environment_configures_it_and_the_command_line_has_the_last_word() {
    let mut by_environment = program(&["--admin", "127.0.0.1:0"]);
    // The admin address in the environment is invalid, and is overridden.
    by_environment
        .env("RECOMMENDATIONS_LISTEN", "127.0.0.1:0")
        .env("RECOMMENDATIONS_ADMIN", "192.0.2.1:1")
        .env("RECOMMENDATIONS_ADMIN_TOKEN", "s3cret");
    let started = Started::of(by_environment).await;
    assert_ne!(started.app, "127.0.0.1:3000");
    assert!(get(&started.admin, "/chaos").await.starts_with("HTTP/1.1 401 "));

    for (variable, value) in [
        ("LISTEN", "3000"),
        ("ADMIN", "nowhere"),
        ("ML_URL", "nowhere"),
        ("CATALOG_URL", "ftp://x"),
        ("CIRCUIT_WAIT", "5"),
        ("DRAIN", "5"),
        ("ADMIN_TOKEN", "two words"),
    ] {
        let mut wrong = program(&[]);
        wrong.env(format!("RECOMMENDATIONS_{variable}"), value);
        let option = format!("--{}", variable.to_lowercase().replace('_', "-"));
        assert_refused(&output(wrong).await, &[&option]);
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_the_option_and_the_reason() {
    for (options, words) in [
        (&["--ml-url", "nonsense"][..], &["--ml-url", "nonsense", "not a URL", "http://127.0.0.1:8080"][..]),
        (&["--catalog-url", "https://catalog"], &["--catalog-url", "only http://"]),
        (&["--circuit-wait", "5"], &["--circuit-wait", "500ms, 5s or 1m"]),
        (&["--circuit-wait", "0s"], &["--circuit-wait", "at least 1ms"]),
        (&["--listen", "localhost"], &["--listen", "localhost"]),
        (&["--listen"], &["--listen"]),
        (&["--listen", "x"], &["--listen"]),
        (&["--admin", "0.0.0.0:0"], &["0.0.0.0:0", "--admin-token"]),
        (&["--admin-token", ""], &["--admin-token"]),
        (&["--log", "xml"], &["--log", "human", "json"]),
        (&["--instance", "a b"], &["--instance", "a letter"]),
        (&["--nats-url", "nats://127.0.0.1", "--jobs-dir", "/tmp"], &["--nats-url", "--jobs-dir"]),
    ] {
        assert_refused(&output(program(options)).await, words);
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_one_is_refused_but_not_repeated() {
    let by_option = program(&["--admin-token", "a s3cret"]);
    let mut by_environment = program(&[]);
    by_environment.env("RECOMMENDATIONS_ADMIN_TOKEN", "s3cret\n");
    for wrong in [by_option, by_environment] {
        let output = output(wrong).await;
        assert_refused(&output, &["--admin-token", "A-Z a-z 0-9"]);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("s3cret"));
    }
}

#[tokio::test]
async fn the_url_of_a_store_that_cannot_be_one_is_refused_but_its_password_is_not_repeated() {
    for (option, example) in [("--redis-url", "redis://127.0.0.1:6379"), ("--nats-url", "nats://127.0.0.1:4222")] {
        for url in ["http://ada:s3cret@store", "ada:s3cret@store", "s3cret"] {
            let output = output(program(&[option, url])).await;
            assert_refused(&output, &[option, example]);
            assert!(!String::from_utf8_lossy(&output.stderr).contains("s3cret"));
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_log_for_machines_has_an_object_on_each_line() {
    let mut started = Started::start(&["--log", "json"]).await;
    started.set_fault("ml", "status").await;
    assert!(get(&started.app, "/api/recommendations/ada").await.contains("popular_items"));
    started.signal("TERM").await;
    assert_eq!(started.ended().await.code(), Some(0));

    let mut log = String::new();
    started.child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let set = lines.iter().find(|line| line["message"] == "set an upstream's fault").expect(&log);
    assert_eq!((&set["level"], &set["upstream"]), (&"INFO".into(), &"ml".into()), "{set}");
    let began = lines.iter().find(|line| line["message"] == "a fallback answers").expect(&log);
    assert_eq!((&began["reason"], &began["provider"]), (&"status-503".into(), &"popular_items".into()), "{began}");
}

#[tokio::test]
async fn a_port_in_use_is_refused_with_the_option_that_chooses_another() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (option, other) in [("--listen", "--admin"), ("--admin", "--listen")] {
        let output = output(program(&[option, &address, other, "127.0.0.1:0"])).await;
        assert_refused(&output, &[&address, option, "in use"]);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn both_signals_end_it_with_success() {
    for signal in ["INT", "TERM"] {
        let mut started = Started::start(&[]).await;
        // An idle connection must not delay it.
        let idle = TcpStream::connect(&started.app).await.unwrap();
        started.signal(signal).await;
        assert_eq!(started.ended().await.code(), Some(0), "{signal}");
        drop(idle);
        assert!(TcpStream::connect(&started.app).await.is_err());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn it_serves_while_it_drains_and_a_second_signal_ends_it_at_once() {
    let mut started = Started::start(&["--drain", "10m"]).await;
    assert!(get(&started.app, "/readyz").await.starts_with("HTTP/1.1 200 "));
    started.signal("TERM").await;
    while get(&started.app, "/readyz").await.starts_with("HTTP/1.1 200 ") {
        tokio::task::yield_now().await;
    }
    let answer = get(&started.app, "/api/recommendations/ada").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(get(&started.app, "/livez").await.starts_with("HTTP/1.1 200 "));
    started.signal("TERM").await;
    assert_eq!(started.ended().await.code(), Some(0));
}

#[cfg(unix)]
#[tokio::test]
async fn it_needs_nobody_to_read_what_it_says() {
    let mut started = Started::start(&[]).await;
    drop(started.child.stderr.take());
    started.signal("TERM").await;
    assert_eq!(started.ended().await.code(), Some(0));
}

#[cfg(unix)]
#[tokio::test]
async fn a_log_that_nobody_reads_stops_neither_answers_nor_the_end() {
    let mut logging = program(&["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    logging.env("RUST_LOG", "trace");
    let mut started = Started::of(logging).await;
    // The pipe stays open, and holds 64 KiB.
    started.set_fault("ml", "status").await;
    for _ in 0..500 {
        assert!(get(&started.app, "/api/recommendations/ada").await.starts_with("HTTP/1.1 200 OK"));
    }
    assert!(get(&started.app, "/livez").await.starts_with("HTTP/1.1 200 OK"));
    started.signal("TERM").await;
    assert_eq!(started.ended().await.code(), Some(0));
}

#[cfg(unix)]
#[tokio::test]
async fn the_log_tells_of_a_fault_that_is_set_and_of_the_status_that_an_upstream_fails_with() {
    let mut started = Started::start(&[]).await;
    started.set_fault("ml", "status").await;
    assert!(get(&started.app, "/api/recommendations/ada").await.contains("popular_items"));
    started.signal("TERM").await;
    assert_eq!(started.ended().await.code(), Some(0));

    let mut log = String::new();
    started.child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
    let set: Vec<_> = log.lines().filter(|line| line.contains("set an upstream's fault")).collect();
    assert_eq!(set.len(), 1, "{log}");
    assert!(
        [" INFO ", "upstream=\"ml\"", "fault=\"status\"", "rate=1"].iter().all(|word| set[0].contains(word)),
        "{log}"
    );
    let failed: Vec<_> = log.lines().filter(|line| line.contains("reason=")).collect();
    assert!(!failed.is_empty() && failed.iter().all(|line| line.contains("reason=status-503")), "{log}");
}

#[cfg(unix)]
#[tokio::test]
async fn requests_that_are_being_served_end_before_the_program_does() {
    // An ML service that doesn't answer, so that the request takes until the app's time limit.
    let ml = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", ml.local_addr().unwrap());
    let mut started = Started::start(&["--ml-url", &url]).await;
    let asking = get(&started.app, "/api/recommendations/ada");
    let signalling = async {
        let called = timeout(PATIENCE, ml.accept()).await.unwrap().unwrap();
        started.signal("TERM").await;
        called
    };
    let (answer, _) = tokio::join!(asking, signalling);
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("popular_items"), "{answer}");
    assert_eq!(started.ended().await.code(), Some(0));
}
