//! How all is measured, and how it is printed.
//!
//! - **Time**: in each round every contender makes the same number of calls, in turn, so that whatever else the machine does
//!   hits all of them; the median of the rounds counts.
//! - **Instructions, allocations, bytes**: counted by valgrind, in runs of their own.

mod report;
mod time;
mod valgrind;

use std::{mem, process::ExitCode};

pub(crate) use self::{
    report::{Report, print_table},
    time::{median, rounds},
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
    figures: Figures,
}

#[derive(Clone, Copy)]
enum Figures {
    /// What a call costs, where `lead` untimed ones go before the timed ones of a round.
    Costs { lead: u64 },
    /// What a call leaves allocated, of so many.
    Bytes { calls: u64 },
}

impl Table {
    pub(crate) const fn new(title: &'static str, contenders: fn() -> Vec<Contender>) -> Self {
        Self { title, contenders, figures: Figures::Costs { lead: 0 } }
    }

    /// So many calls of a contender go untimed before those of a round: for those that should find their data in the
    /// caches, as far as it fits, though others have just been at work.
    pub(crate) const fn led_by(mut self, calls: u64) -> Self {
        self.figures = Figures::Costs { lead: calls };
        self
    }

    /// For calls that allocate to keep: shows what each leaves allocated, of so many.
    pub(crate) const fn of_bytes(mut self, calls: u64) -> Self {
        self.figures = Figures::Bytes { calls };
        self
    }
}

/// Something that can be made, and then makes calls.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// What was promised, over the base.
    target: &'static str,
    warm_up: u64,
    is_counted: bool,
    make: Box<dyn FnOnce() -> Call>,
}

/// Makes the call of that number.
type Call = Box<dyn FnMut(u64) + Send>;

impl Contender {
    pub(crate) fn new<F: FnMut(u64) + Send + 'static>(name: &'static str, make: impl FnOnce() -> F + 'static) -> Self {
        let make = Box::new(|| -> Call { Box::new(make()) });
        Self { name, target: "", warm_up: 1_000, is_counted: true, make }
    }

    pub(crate) fn target(mut self, target: &'static str) -> Self {
        self.target = target;
        self
    }

    /// How many calls are made before any is measured: 1,000 unless set.
    pub(crate) fn warm_up(mut self, calls: u64) -> Self {
        self.warm_up = calls;
        self
    }

    /// For what takes minutes under valgrind.
    pub(crate) fn uncounted(mut self) -> Self {
        self.is_counted = false;
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
    let mut caller = contender.warmed_up();
    caller.make(calls);
    // What it keeps is counted.
    mem::forget(caller);
    ExitCode::SUCCESS
}
