//! Instructions a call, through valgrind. Those of a clock read aren't in them: valgrind asks the kernel instead.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

const CALLS: u64 = 5_000;

/// A valgrind that runs, and what it shall run: this program.
pub(super) struct Valgrind {
    program: PathBuf,
}

impl Valgrind {
    /// `None` where valgrind isn't on the PATH.
    pub(super) fn find() -> Option<Self> {
        let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.ok().filter(|status| status.success())?;
        Some(Self { program: std::env::current_exe().ok()? })
    }

    /// How many instructions a call of this contender takes, which is warmed up by so many.
    pub(super) fn a_call(&self, section: &str, table: &str, contender: &str, warm_up: u64) -> Option<f64> {
        // No run of a program that has hash maps takes exactly as many as the one before: what the warm-up adds to the
        // difference mustn't show.
        let calls = CALLS.max(4 * warm_up);
        let count = |calls| self.count(&["once", section, table, contender, &u64::to_string(&calls)]);
        let (few, many) = (count(CALLS)?, count(CALLS + calls)?);
        Some((many as f64 - few as f64) / calls as f64)
    }

    fn count(&self, args: &[&str]) -> Option<u64> {
        let run = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&self.program)
            .args(args)
            .output()
            .ok()?;
        // `==1== Collected : 2778074`, on the standard error.
        let told = String::from_utf8_lossy(&run.stderr);
        let collected = told.lines().find_map(|line| line.split_once("Collected : "));
        collected.and_then(|(_, count)| count.trim().parse().ok())
    }
}
