//! `cargo run -p recommendations`: see the library's documentation, or `--help`.

use std::io::IsTerminal;
use std::process::ExitCode;

use recommendations::{Args, Running, start};
use tracing_subscriber::EnvFilter;

/// What a mistake of the operator's ends with, as `clap` has it.
const MISTAKE: u8 = 2;

#[tokio::main]
#[expect(clippy::print_stderr, reason = "it talks to a terminal")]
async fn main() -> ExitCode {
    let config = match Args::parse_config(std::env::args_os()) {
        Ok(config) => config,
        Err(error) => {
            // What is asked for goes to the output, what is wrong to the errors. Nobody is left to tell if that fails.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    // Activations of fallbacks and transitions of circuits are warnings; each single decision is at `debug`.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,backstop=info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();

    let running = match start(config).await {
        Ok(running) => running,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(MISTAKE);
        }
    };
    welcome(&running);
    asked_to_stop().await;
    eprintln!("shutting down");
    running.shut_down().await;
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "it is what the operator looks for")]
fn welcome(running: &Running) {
    let (app, admin) = (running.app(), running.admin());
    println!("app      http://{app}");
    println!("admin    http://{admin}");
    for upstream in running.chaos().all_simulated() {
        println!("{:<8} http://{} (simulated)", upstream.upstream(), upstream.address());
    }
    println!(
        "
Try, one after another:
  curl -i http://{app}/api/recommendations/ada
  curl -X PUT http://{admin}/chaos/ml -H 'Content-Type: application/json' -d '{{\"fault\":\"status\"}}'
  curl -i http://{app}/api/recommendations/ada
  curl -i http://{app}/api/recommendations/grace
Then mend it, wait until the circuit lets a probe through, and ask again:
  curl -X PUT http://{admin}/chaos/ml -H 'Content-Type: application/json' -d '{{\"fault\":\"none\"}}'
  curl http://{admin}/circuits
Ctrl-C ends it."
    );
}

/// Returns on Ctrl-C, and on `SIGTERM` where there is such a thing.
async fn asked_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a way to be told, it runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
