//! What valgrind counts. This program starts itself under it, with one contender and two numbers of calls; the difference
//! of the two counts, divided by the difference in calls, is exact, whatever else the machine does, and what is timed is
//! a program that counts nothing.
//!
//! Not counted are the instructions of a clock read: valgrind asks the kernel instead.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use super::Contender;

const CALLS: u64 = 5_000;

/// A valgrind that runs, and what it shall run: this program.
pub(super) struct Valgrind {
    program: PathBuf,
}

/// One contender of this program.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) section: &'a str,
    pub(super) table: &'a str,
    pub(super) contender: &'a Contender,
}

impl Valgrind {
    /// `None` where valgrind isn't on the PATH.
    pub(super) fn find() -> Option<Self> {
        let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.ok().filter(|status| status.success())?;
        Some(Self { program: std::env::current_exe().ok()? })
    }

    /// Instructions a call.
    pub(super) fn instructions(&self, subject: Subject<'_>) -> Option<f64> {
        // No run of a program that has hash maps takes exactly as many as the one before: what the warm-up adds to the
        // difference mustn't show.
        let calls = CALLS.max(4 * subject.contender.warm_up);
        // `Collected : 2778074`
        a_call(CALLS, calls, |calls| {
            let told = self.run("callgrind", subject, calls)?;
            number_after(&told, "Collected : ")
        })
    }

    /// Allocations a call.
    pub(super) fn allocations(&self, subject: Subject<'_>) -> Option<f64> {
        // `Total:     1,024 bytes in 20 blocks`
        a_call(CALLS, CALLS, |calls| {
            let told = self.run("dhat", subject, calls)?;
            let (_, total) = told.split_once("Total:")?;
            number_after(total, " bytes in ")
        })
    }

    /// Bytes that a call leaves allocated, of so many.
    pub(super) fn bytes_left(&self, subject: Subject<'_>, calls: u64) -> Option<f64> {
        // `At t-end:  1,024 bytes in 20 blocks`
        a_call(0, calls, |calls| number_after(&self.run("dhat", subject, calls)?, "At t-end:"))
    }

    /// What a tool of valgrind tells at the end of a run.
    fn run(&self, tool: &str, subject: Subject<'_>, calls: u64) -> Option<String> {
        let run = Command::new("valgrind")
            .arg(format!("--tool={tool}"))
            .arg(format!("--{tool}-out-file=/dev/null"))
            .arg(&self.program)
            .args(["once", subject.section, subject.table, subject.contender.name, &calls.to_string()])
            .output()
            .ok()?;
        run.status.success().then(|| String::from_utf8_lossy(&run.stderr).into_owned())
    }
}

/// What a call adds to `count`, from `few` calls to `more` of them.
fn a_call(few: u64, more: u64, count: impl Fn(u64) -> Option<u64>) -> Option<f64> {
    let (few, many) = (count(few)?, count(few + more)?);
    Some((many as f64 - few as f64) / more as f64)
}

fn number_after(text: &str, mark: &str) -> Option<u64> {
    let (_, rest) = text.split_once(mark)?;
    let digits = rest.trim_start().chars().take_while(|char| !char.is_whitespace()).filter(|char| *char != ',');
    digits.collect::<String>().parse().ok()
}
