//! How all is measured, and how it is printed.
//!
//! - **Time**: in each round every contender makes the same number of calls, in turn, so that whatever else the machine does
//!   hits all of them; the median of the rounds counts.
//! - **Allocations**: counted by the global allocator while one contender makes its calls. It counts at all times, which costs
//!   nothing that could be measured.
//! - **Instructions**: this program starts itself under valgrind, with one contender and two numbers of calls. The difference
//!   of the two counts, divided by the difference in calls, is exact whatever else the machine does.

mod allocations;
mod instructions;
mod report;
mod time;

use std::process::ExitCode;

pub(crate) use self::{
    allocations::{held_bytes, live_bytes},
    report::{Report, print_table},
    time::rounds,
};

/// What one name on the command line runs.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) tables: &'static [Table],
    /// What isn't a row of contenders, and prints itself.
    pub(crate) others: &'static [fn()],
}

/// Contenders side by side. The first is the base, mostly the bare service; the second is ours.
pub(crate) struct Table {
    title: &'static str,
    contenders: fn() -> Vec<Contender>,
    lead: u64,
}

impl Table {
    pub(crate) const fn new(title: &'static str, contenders: fn() -> Vec<Contender>) -> Self {
        Self { title, contenders, lead: 0 }
    }

    /// So many calls of a contender go untimed before those of a round: for those that should find their data in the
    /// caches, as far as it fits, though others have just been at work.
    pub(crate) const fn led_by(mut self, calls: u64) -> Self {
        self.lead = calls;
        self
    }
}

/// Something that can be made, and then makes calls.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// What was promised, over the base.
    target: &'static str,
    warm_up: u64,
    counts_instructions: bool,
    make: Box<dyn FnOnce() -> Call>,
}

/// Makes the call of that number.
type Call = Box<dyn FnMut(u64) + Send>;

impl Contender {
    pub(crate) fn new<F: FnMut(u64) + Send + 'static>(name: &'static str, make: impl FnOnce() -> F + 'static) -> Self {
        let make = Box::new(|| -> Call { Box::new(make()) });
        Self { name, target: "", warm_up: 1_000, counts_instructions: true, make }
    }

    pub(crate) fn target(mut self, target: &'static str) -> Self {
        self.target = target;
        self
    }

    /// How many calls are made before any is measured, where 1,000 isn't enough.
    pub(crate) fn warm_up(mut self, calls: u64) -> Self {
        self.warm_up = calls;
        self
    }

    /// For what takes minutes under valgrind.
    pub(crate) fn without_instructions(mut self) -> Self {
        self.counts_instructions = false;
        self
    }

    fn warmed_up(self) -> Caller {
        let mut caller = Caller { call: (self.make)(), made: 0 };
        caller.make(self.warm_up);
        caller
    }
}

/// A contender at work.
struct Caller {
    call: Call,
    made: u64,
}

impl Caller {
    /// Makes so many calls more.
    fn make(&mut self, calls: u64) {
        let more = self.made..self.made + calls;
        self.made = more.end;
        more.for_each(&mut self.call);
    }
}

/// Makes `calls` calls of one contender and nothing else, for valgrind.
pub(crate) fn once(sections: &[Section], section: &str, title: &str, contender: &str, calls: &str) -> ExitCode {
    let table = sections
        .iter()
        .find(|known| known.name == section)
        .and_then(|section| section.tables.iter().find(|known| known.title == title));
    let contender = table.and_then(|table| (table.contenders)().into_iter().find(|known| known.name == contender));
    let (Some(contender), Ok(calls)) = (contender, calls.parse::<u64>()) else {
        eprintln!("error: no such contender, or no number of calls");
        return ExitCode::from(2);
    };
    contender.warmed_up().make(calls);
    ExitCode::SUCCESS
}
