//! Backstop beside its peers, in one process.
//!
//! ```sh
//! cargo run --release                       # every table
//! cargo run --release -- circuit-breaker    # those of one section
//! ```
//!
//! One thread unless a table says otherwise, and services that are ready at once but aren't inlined away. The tables are
//! Markdown, as the README shows them.

mod bulkhead;
mod call;
mod circuit_breaker;
mod deferred;
mod degradation_header;
mod fallback;
mod fault;
mod features;
mod function;
mod hang;
mod health;
mod http;
mod last_known_good;
mod machine;
mod measure;
mod partial;
mod retry;
mod server;
mod standard;
mod timeout;

use std::process::ExitCode;

use crate::measure::{Report, Section};

const SECTIONS: &[Section] = &[
    machine::SECTION,
    circuit_breaker::SECTION,
    retry::SECTION,
    fallback::SECTION,
    hang::SECTION,
    timeout::SECTION,
    bulkhead::SECTION,
    fault::SECTION,
    features::SECTION,
    function::SECTION,
    last_known_good::SECTION,
    partial::SECTION,
    deferred::SECTION,
    standard::SECTION,
    degradation_header::SECTION,
    health::SECTION,
    server::SECTION,
];

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let _in_runtime = runtime.enter();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => run(SECTIONS.iter()),
        [name] if SECTIONS.iter().any(|section| section.name == name) => {
            run(SECTIONS.iter().filter(|section| section.name == name))
        }
        ["once", section, table, contender, calls] => measure::once(SECTIONS, section, table, contender, calls),
        _ => {
            let names: Vec<_> = SECTIONS.iter().map(|section| section.name).collect();
            eprintln!("error: allowed is nothing, or one of: {}", names.join(", "));
            ExitCode::from(2)
        }
    }
}

fn run<'a>(sections: impl Iterator<Item = &'a Section>) -> ExitCode {
    let report = Report::new();
    for section in sections {
        report.section(section);
    }
    ExitCode::SUCCESS
}
