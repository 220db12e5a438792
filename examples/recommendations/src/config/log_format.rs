//! The format of the log.

use clap::ValueEnum;

/// How the program writes its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line of text for each event.
    Human,
    /// A JSON object for each event, on a line of its own.
    Json,
}
