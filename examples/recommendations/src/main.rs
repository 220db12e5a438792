//! `cargo run -p recommendations`: see the library's documentation, or `--help`.

mod log;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use recommendations::{Args, Running, start};

use self::log::Log;

/// What a mistake of the operator's ends with, as `clap` has it.
const MISTAKE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let config = match Args::parse_config(std::env::args_os()) {
        Ok(config) => config,
        Err(error) => {
            // What is asked for goes to the output, what is wrong to the errors. Nobody is left to tell if that fails.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let log = Log::start();

    let asked_to_stop = match asked_to_stop() {
        Ok(asked_to_stop) => asked_to_stop,
        Err(error) => {
            say(io::stderr(), format_args!("error: can't listen for signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let running = match start(config).await {
        Ok(running) => running,
        Err(error) => {
            say(io::stderr(), format_args!("error: {error}"));
            return ExitCode::from(MISTAKE);
        }
    };
    welcome(&running);
    tokio::select! {
        () = asked_to_stop => {}
        () = log.report_dropped() => {}
    }
    tracing::info!("shutting down");
    running.shut_down().await;
    log.finish();
    ExitCode::SUCCESS
}

fn welcome(running: &Running) {
    let (app, admin) = (running.app(), running.admin());
    let out = io::stdout;
    say(out(), format_args!("app      http://{app}"));
    say(out(), format_args!("admin    http://{admin}"));
    for upstream in running.chaos().all_simulated() {
        say(out(), format_args!("{:<8} http://{} (simulated)", upstream.upstream(), upstream.address()));
    }
    let json = "-H 'Content-Type: application/json'";
    say(
        out(),
        format_args!(
            r#"
Try, one after another:
  curl -i http://{app}/api/recommendations/ada
  curl -X PUT http://{admin}/chaos/ml {json} -d '{{"fault":"status"}}'
  curl -i http://{app}/api/recommendations/ada
  curl -i http://{app}/api/recommendations/grace
Then mend it, wait until the circuit lets a probe through, and ask again:
  curl -X PUT http://{admin}/chaos/ml {json} -d '{{"fault":"none"}}'
  curl http://{admin}/circuits
Ctrl-C ends it."#
        ),
    );
}

/// Not `println!`, which panics where nobody reads any more: that is no reason to end a service.
fn say(mut to: impl Write, line: fmt::Arguments<'_>) {
    let _ = writeln!(to, "{line}");
}

/// Ends on Ctrl-C, and on `SIGTERM` where there is such a thing. It listens from when it is made, so that whoever has seen
/// the welcome can say goodbye.
#[cfg(unix)]
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(windows)]
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
