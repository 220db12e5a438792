//! `cargo run -p recommendations`: see the library's documentation, or `--help`.

mod drilling;
mod log;

use std::fmt;
use std::future::pending;
use std::io::{self, Write};
use std::process::ExitCode;

use recommendations::{Args, Command, Running, start};

use self::log::Log;

/// The exit code for an invalid configuration, the same as clap's.
const MISTAKE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let config = match Args::parse(std::env::args_os()) {
        Ok(Command::Serve(config)) => config,
        Ok(Command::Drill(config)) => return drilling::run(&config).await,
        Err(error) => {
            // Help goes to standard output, errors to standard error. If that fails, there is no other place.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let log = Log::start(config.log_format);

    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
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
    let drain = running.drain().clone();
    let stopping = async {
        signals.next().await;
        say(io::stdout(), format_args!("Serving until balancers have noticed. A second signal ends it at once."));
        drain.begin();
        signals.next().await;
        drain.begin();
        pending::<()>().await;
    };
    tokio::select! {
        () = running.serve() => {}
        () = stopping => {}
        () = log.report_dropped() => {}
    }
    _ = drain.finish(log.finish()).await;
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
Open http://{app} in a browser for a shop, and http://{admin} for its control room. Or try these commands in turn:
  curl -i http://{app}/api/recommendations/ada
  curl -X PUT http://{admin}/chaos/ml {json} -d '{{"fault":"status"}}'
  curl -i http://{app}/api/recommendations/ada
  curl -i http://{app}/api/recommendations/grace
Then repair it, wait until the circuit allows a probe, and repeat the first command:
  curl -X PUT http://{admin}/chaos/ml {json} -d '{{"fault":"none"}}'
  curl http://{admin}/circuits
The log below says what changes: a circuit opens, a fallback begins to answer, and `error` is the cause.
RUST_LOG=backstop=debug shows each decision, and --log json writes it for machines.
Ctrl-C stops the app."#
        ),
    );
}

/// Not `println!`, which panics if nobody reads the output. That must not stop a service.
fn say(mut to: impl Write, line: fmt::Arguments<'_>) {
    let _ = writeln!(to, "{line}");
}

/// Ctrl-C, and on Unix also `SIGTERM`. It listens as soon as it is created, so that signals work by the time the addresses are
/// printed.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Completes at the next signal.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn listen() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    /// Completes at the next signal.
    async fn next(&mut self) {
        self.0.recv().await;
    }
}
