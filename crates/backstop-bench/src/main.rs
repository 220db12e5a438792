//! Backstop's circuit breaker beside its peers, in one process.
//!
//! ```sh
//! cargo run --release                    # every contender, interleaved: medians and ratios
//! cargo run --release -- once ours 100000   # one contender alone, so many calls: for `valgrind --tool=callgrind`
//! ```
//!
//! One thread, a service that is ready at once but isn't inlined away. In each round every contender makes the same number
//! of calls, in turn, so that whatever else the machine does hits all of them; the median of the rounds counts.

mod breakers;
mod measure;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let _in_runtime = runtime.enter();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => {
            measure::table("closed, no failures", &mut breakers::closed(0));
            measure::table("closed, 1 % failures", &mut breakers::closed(1));
            measure::table("open", &mut breakers::open());
            ExitCode::SUCCESS
        }
        ["once", name, calls] => measure::once(&mut breakers::closed(0), name, calls),
        _ => {
            eprintln!("error: either no arguments, or: once NAME CALLS");
            ExitCode::from(2)
        }
    }
}
