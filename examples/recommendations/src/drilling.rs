//! `recommendations drill`: what it says meanwhile, and where the report goes.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;

use recommendations::{DrillConfig, DrillReport, drill};

use super::{MISTAKE, say};

/// Without the log, which would be full of what the drill breaks.
pub(super) async fn run(config: &DrillConfig) -> ExitCode {
    let is_terminal = io::stderr().is_terminal();
    let mut last_phase = "";
    let drilling = drill(config, |now| {
        let line = format_args!("{}: {} answered, {} wrong", now.phase, now.answered, now.wrong);
        if is_terminal {
            // One line, which is written over and over.
            let _ = write_over(io::stderr(), line);
        } else if now.phase != last_phase {
            last_phase = now.phase;
            say(io::stderr(), line);
        }
    });
    let report = match drilling.await {
        Ok(report) => report,
        Err(error) => {
            say(io::stderr(), format_args!("error: {error}"));
            return ExitCode::from(MISTAKE);
        }
    };
    if is_terminal {
        say(io::stderr(), format_args!(""));
    }
    say(io::stdout(), format_args!("{report}"));
    match write(config, &report) {
        Ok(()) if report.is_passed() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            say(io::stderr(), format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn write_over(mut to: impl io::Write, line: std::fmt::Arguments<'_>) -> io::Result<()> {
    write!(to, "\r\x1b[K{line}")?;
    to.flush()
}

fn write(config: &DrillConfig, report: &DrillReport) -> io::Result<()> {
    let into = |file: &Path, text: &str| {
        std::fs::write(file, text).map_err(|error| io::Error::other(format!("{}: {error}", file.display())))
    };
    into(&config.json, &report.to_json())?;
    into(&config.svg, report.to_svg())
}
