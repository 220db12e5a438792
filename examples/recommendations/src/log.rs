//! The log, written by a separate thread, so that a slow reader delays no request.
//!
//! A pipe that nobody reads holds 64 KiB and then blocks the writer. Here, lines that don't fit are dropped and counted.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use recommendations::LogFormat;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// How many lines are buffered for a slow reader, at about 200 bytes each.
const MOST_LINES: usize = 16_384;
/// How long the program waits at its end for the last lines to be read.
const LAST_LINES: Duration = Duration::from_secs(1);
const REPORTING: Duration = Duration::from_secs(60);

/// The program's log.
pub(crate) struct Log {
    worker: WorkerGuard,
    dropped: ErrorCounter,
}

impl Log {
    /// Starts to log to standard error, filtered by `RUST_LOG`.
    pub(crate) fn start(format: LogFormat) -> Self {
        // Fallback episodes and circuit transitions are `info` or `warn`. Single decisions are `debug`.
        let filter = EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new("warn,backstop=info,recommendations=info"));
        let (writer, worker) =
            NonBlockingBuilder::default().buffered_lines_limit(MOST_LINES).lossy(true).finish(io::stderr());
        let dropped = writer.error_counter();
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
        match format {
            LogFormat::Human => log.with_ansi(io::stderr().is_terminal()).init(),
            // Flat, so that a search for `error` or `chain` needs no path.
            LogFormat::Json => log.json().flatten_event(true).init(),
        }
        Self { worker, dropped }
    }

    /// Logs once a minute how many lines were dropped, if any.
    pub(crate) fn report_dropped(&self) -> impl Future<Output = ()> + Send + 'static {
        let counter = self.dropped.clone();
        async move {
            let mut reported = 0;
            loop {
                tokio::time::sleep(REPORTING).await;
                let dropped = counter.dropped_lines();
                if dropped > reported {
                    tracing::warn!(lines = dropped - reported, "dropped lines of the log: nobody read them in time");
                    reported = dropped;
                }
            }
        }
    }

    /// Writes the last lines, if somebody reads them in time.
    pub(crate) async fn finish(self) {
        // The worker's guard also waits, but then prints to standard output, which may be blocked too.
        let (done, finished) = oneshot::channel();
        thread::spawn(move || {
            drop(self.worker);
            _ = done.send(());
        });
        _ = timeout(LAST_LINES, finished).await;
    }
}
