//! What an operator sees.

use std::time::Duration;

use backstop_core::{EventLog, Inspect, OperationRequest, Reach, Value};
use backstop_fault::{Fault, FaultLayer};
use backstop_test::Logs;
use http::{Method, StatusCode};
use tokio::time::advance;
use tracing::Level;

use crate::support::{always, armed, get, is_hit};

#[tokio::test(start_paused = true)]
async fn a_run_is_a_line_at_its_start_and_one_at_its_end_and_each_call_is_debug() {
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();
    let layer = armed().build().unwrap();
    layer.handle().start(always(Fault::Error).seed(7)).unwrap();
    assert!(is_hit(&layer, get("/users/7")).await);
    layer.handle().stop("grace", "seen enough").unwrap();
    layer.handle().start(always(Fault::Reset).seed(7).until(Duration::from_secs(10))).unwrap();
    advance(Duration::from_secs(10)).await;
    assert!(!is_hit(&layer, get("/users/7")).await);
    let start = |run, kind, until| {
        format!(
            "WARN backstop::fault: calls fail on purpose from now on name=edge run={run} kind={kind} what=\"{kind}\" share=1.0 \
             until_ms={until} seed=7 who=\"ada\" reason=\"a game day\""
        )
    };
    assert_eq!(
        logs.events().lines(),
        [
            &start(1, "error", "60000.0"),
            "DEBUG backstop::fault: a fault was injected name=edge kind=error",
            "INFO backstop::fault: an operator stopped a run name=edge run=1 who=\"grace\" reason=\"seen enough\"",
            "INFO backstop::fault: a run has ended; no call fails on purpose any more name=edge run=1 why=stopped \
             calls=1 hits=1 duration_ms=0.0",
            &start(2, "reset", "10000.0"),
            "INFO backstop::fault: a run has ended; no call fails on purpose any more name=edge run=2 why=until \
             calls=0 hits=0 duration_ms=10000.0",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_aborted_is_a_warning() {
    let logs = Logs::up_to(Level::WARN);
    let _guard = logs.listen();
    let is_met = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let met = std::sync::Arc::clone(&is_met);
    let condition = move || met.load(std::sync::atomic::Ordering::Relaxed);
    let layer = FaultLayer::builder("abort").arm().max_share(1.0).without_health();
    let layer = layer.abort_when(backstop_fault::name!("budget"), condition).build().unwrap();
    layer.handle().start(always(Fault::Error).seed(7)).unwrap();
    is_met.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(layer.handle().status().run.is_none());
    assert_eq!(
        logs.events().lines()[1],
        "WARN backstop::fault: a run was aborted; no call fails on purpose any more name=abort run=1 \
         why=condition-budget calls=0 hits=0 duration_ms=0.0"
    );
}

#[tokio::test(start_paused = true)]
async fn each_act_is_in_the_event_log_with_who_why_and_until_when() {
    let log = EventLog::new(8);
    let handle = armed().build().unwrap().handle();
    handle.report_to(&log);
    handle.start(always(Fault::Hang).seed(7)).unwrap();
    let request = |name: &str| OperationRequest::new(name, "grace", "seen enough");
    assert_eq!(handle.operate(&request("stop")).await, Ok(Reach::Instance));
    assert!(handle.operate(&request("explode")).await.is_err());
    let fields: Vec<_> = log.after(0).into_iter().map(|event| event.fields).collect();
    assert_eq!(
        fields[0],
        [
            ("operation", "start-run".into()),
            ("run", Value::Integer(1)),
            ("fault", "hang".into()),
            ("what", "hang".into()),
            ("share", Value::Number(1.0)),
            ("seed", Value::Integer(7)),
            ("who", "ada".into()),
            ("reason", "a game day".into()),
            ("until", Duration::from_secs(60).into()),
        ]
    );
    assert_eq!(fields[1][0], ("operation", "stop-run".into()));
    assert!(fields[1].contains(&("who", "grace".into())));
    assert_eq!(fields[2][1], ("ended", "stopped".into()));
    assert_eq!(fields.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_inventory_shows_the_run_and_what_was_injected() {
    let layer = armed().build().unwrap();
    let handle = layer.handle();
    let shown: &dyn Inspect = &handle;
    assert_eq!((shown.kind(), &shown.state()[0]), ("fault", &("run", Value::None)));
    let run = always(Fault::status(StatusCode::BAD_GATEWAY)).seed(7).method(Method::GET).path_prefix("/");
    handle.start(run).unwrap();
    assert!(is_hit(&layer, get("/")).await);
    let state = shown.state();
    let (("run", Value::Map(run)), ("injected", Value::Map(injected))) = (&state[0], &state[4]) else {
        panic!("{state:?}");
    };
    assert!(run.contains(&("hits", Value::Integer(1))) && run.contains(&("seed", Value::Integer(7))));
    assert!(run.contains(&("what", "status 502, GET, below /".into())));
    assert_eq!(injected[1], ("status", Value::Integer(1)));
}
