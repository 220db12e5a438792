//! Counts how many instructions it takes to read input of one size, twice and four times that size.
//!
//! valgrind counts them, exactly and whatever else the machine does. The test program starts itself under valgrind, once for
//! each test.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    env, fmt, fs,
    process::{Command, Stdio, exit},
};

/// The smallest size of an input, in bytes. Real fields are far smaller.
pub const SIZE: usize = 2 * 1024;

/// Growth by fewer instructions is ignored: a table that grows is counted too. Quadratic time takes millions more.
const NOISE: u64 = 1_000_000;

/// Set in the environment of the program that valgrind runs.
const COUNTED: &str = "BACKSTOP_COUNTED";

/// Something that reads input of a given size.
pub struct Case<'a> {
    name: String,
    prepare: Box<dyn Fn(usize) -> Box<dyn FnOnce() + 'a> + 'a>,
}

impl<'a> Case<'a> {
    /// `prepare` makes the input, which isn't counted, and returns what reads it, which is.
    pub fn new<R>(name: impl Into<String>, prepare: impl Fn(usize) -> R + 'a) -> Self
    where
        R: FnOnce() + 'a,
    {
        Self { name: name.into(), prepare: Box::new(move |size| Box::new(prepare(size))) }
    }

    fn run(&self, size: usize) {
        let mut read = Some((self.prepare)(size));
        counted_call(&mut || read.take().unwrap()());
    }
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Valgrind starts to count when this is entered, and writes the count when it returns.
#[inline(never)]
fn counted_call(call: &mut dyn FnMut()) {
    call();
}

/// The cases that take more than linear time, with their counts at the three sizes.
///
/// `test` is the name of the calling test, as `cargo test` prints it. Without valgrind the result is `None`, and a line says so.
#[must_use]
#[expect(clippy::print_stdout, reason = "a test that shows nothing must say so")]
pub fn superlinear(test: &str, cases: &[Case<'_>]) -> Option<Vec<String>> {
    if env::var_os(COUNTED).is_some() {
        // Whatever is initialised once is initialised by this.
        cases[0].run(SIZE);
        for case in cases {
            [1, 2, 4].into_iter().for_each(|times| case.run(times * SIZE));
        }
        // The caller's assertions are for the program that reads the counts.
        exit(0);
    }
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !valgrind.is_ok_and(|status| status.success()) {
        println!("skipped: valgrind, which counts instructions, isn't on the PATH");
        return None;
    }
    let mut least = vec![u64::MAX; 3 * cases.len()];
    let mut slow = Vec::new();
    // Some work is due by the clock, whichever call comes then: a cache tidies up every 300 ms. It is in none of the least
    // counts, while a slow reader is slow each time.
    for _ in 0..3 {
        let counts = count(test);
        assert_eq!(counts.len(), 1 + least.len(), "each call is counted");
        least.iter_mut().zip(&counts[1..]).for_each(|(least, count)| *least = (*least).min(*count));
        let cases = cases.iter().zip(least.chunks(3)).filter(|(_, counts)| is_superlinear(counts));
        slow = cases.map(|(case, counts)| format!("{}: {counts:?} instructions", case.name)).collect();
        if slow.is_empty() {
            break;
        }
    }
    Some(slow)
}

/// From the second size to the third, linear time grows twice as much as from the first to the second. Quadratic time grows
/// four times as much.
fn is_superlinear(counts: &[u64]) -> bool {
    let (once, twice) = (counts[1].saturating_sub(counts[0]), counts[2].saturating_sub(counts[1]));
    twice > 3 * once + NOISE
}

/// The instructions of each counted call, in order.
fn count(test: &str) -> Vec<u64> {
    let counted = concat!(module_path!(), "::counted_call");
    let dir = env::temp_dir().join(format!("backstop-instructions-{}-{}", std::process::id(), test.replace("::", "-")));
    fs::create_dir_all(&dir).unwrap();
    let run = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect={counted}"))
        .arg(format!("--dump-after={counted}"))
        .arg("--dump-line=no")
        .arg(format!("--callgrind-out-file={}", dir.join("count").display()))
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(COUNTED, "1")
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let summary = |number: usize| {
        let text = fs::read_to_string(dir.join(format!("count.{number}"))).ok()?;
        text.lines().find_map(|line| line.strip_prefix("summary: ")?.parse().ok())
    };
    let counts = (1..).map_while(summary).collect();
    fs::remove_dir_all(&dir).unwrap();
    counts
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn quadratic_time_is_found_and_linear_time_is_not() {
        let pairs = |size: usize| move || (0..size).for_each(|a| (0..a / 16).for_each(|b| _ = black_box(a ^ b)));
        let each = |size: usize| move || (0..32 * size).for_each(|a| _ = black_box(a));
        let cases = [Case::new("each", each), Case::new("pairs", pairs)];
        let slow = superlinear("instructions::tests::quadratic_time_is_found_and_linear_time_is_not", &cases);
        if let Some(slow) = slow {
            assert!(slow.len() == 1 && slow[0].starts_with("pairs: "), "{slow:?}");
        }
    }
}
