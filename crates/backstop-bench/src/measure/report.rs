//! Tables in Markdown.

use std::ptr;

use super::{Contender, Section, Table, allocations, instructions::Valgrind, time};

/// What prints.
pub(crate) struct Report {
    valgrind: Option<Valgrind>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let valgrind = Valgrind::find();
        if valgrind.is_none() {
            println!("valgrind isn't on the PATH: no instructions are counted");
        }
        Self { valgrind }
    }

    pub(crate) fn section(&self, section: &Section) {
        println!("\n### {}", section.name);
        for table in section.tables {
            self.table(section, table);
        }
        for other in section.others {
            other();
        }
    }

    fn table(&self, section: &Section, table: &Table) {
        let contenders = (table.contenders)();
        let instructions = |contender: &Contender| {
            let valgrind = self.valgrind.as_ref().filter(|_| contender.counts_instructions)?;
            valgrind.a_call(section.name, table.title, contender.name, contender.warm_up)
        };
        let mut rows: Vec<Row> = contenders
            .iter()
            .map(|contender| Row {
                name: contender.name,
                target: contender.target,
                instructions: instructions(contender),
                ..Row::default()
            })
            .collect();
        let mut calls: Vec<_> = contenders.into_iter().map(Contender::warmed_up).collect();
        for ((row, time), call) in rows.iter_mut().zip(time::medians(&mut calls, table.lead)).zip(&mut calls) {
            row.time = time;
            row.allocations = allocations::a_call(call);
        }

        let Some((base, others)) = rows.split_first() else { return };
        let ours = others.first().map_or(0.0, |ours| ours.time - base.time);
        let cells = rows.iter().map(|row| row.cells(base, ours));
        let head = ["", "ns a call", "over bare", "× ours", "allocations", "instructions", "over bare", "target"];
        print_table(table.title, &head, &cells.collect::<Vec<_>>());
    }
}

/// What was measured of a contender.
#[derive(Default)]
struct Row {
    name: &'static str,
    target: &'static str,
    time: f64,
    allocations: f64,
    instructions: Option<f64>,
}

impl Row {
    /// The cells, beside the base, and the time over the base that ours takes.
    fn cells(&self, base: &Self, ours: f64) -> Vec<String> {
        let over = self.time - base.time;
        let instructions_over = self.instructions.zip(base.instructions).map(|(count, base)| count - base);
        let [over, ratio, instructions_over] = if ptr::eq(self, base) {
            ["-"; 3].map(str::to_owned)
        } else {
            [format!("{over:.1}"), format!("{:.2}", over / ours), whole(instructions_over)]
        };
        vec![
            self.name.to_owned(),
            format!("{:.1}", self.time),
            over,
            ratio,
            // Two decimals, where there are any.
            ((self.allocations * 100.0).round() / 100.0).to_string(),
            whole(self.instructions),
            instructions_over,
            self.target.to_owned(),
        ]
    }
}

fn whole(count: Option<f64>) -> String {
    count.map_or_else(|| "-".to_owned(), |count| format!("{count:.0}"))
}

/// Prints rows under a title and a head: the first column, and one that is headed `target`, to the left; figures to the
/// right.
pub(crate) fn print_table(title: &str, head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|name| name.chars().count())).max().unwrap_or_default().max(2)
    };
    let to_the_left = |column: usize| column == 0 || head.get(column) == Some(&"target");
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        for (column, cell) in cells.enumerate() {
            let width = width(column);
            if to_the_left(column) { print!("| {cell:<width$} ") } else { print!("| {cell:>width$} ") }
        }
        println!("|");
    };
    println!("\n**{title}**\n");
    line(&mut head.iter().copied());
    for column in 0..head.len() {
        let dashes = "-".repeat(width(column));
        if to_the_left(column) { print!("|-{dashes}-") } else { print!("|-{dashes}:") }
    }
    println!("|");
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}
