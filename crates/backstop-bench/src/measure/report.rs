//! Tables in Markdown.

use std::ptr;

use super::{
    Contender, Figures, Section, Table, time,
    valgrind::{Subject, Valgrind},
};

/// What prints.
pub(crate) struct Report {
    valgrind: Option<Valgrind>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let valgrind = Valgrind::find();
        if valgrind.is_none() {
            println!("valgrind isn't on the PATH: no instructions, allocations and bytes are counted");
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
        match table.figures {
            Figures::Costs { lead } => self.costs(section.name, table.title, contenders, lead),
            Figures::Bytes { calls } => self.bytes(section.name, table.title, &contenders, calls),
        }
    }

    fn costs(&self, section: &str, table: &str, contenders: Vec<Contender>, lead: u64) {
        let row = |contender: &Contender| {
            let subject = Subject { section, table, contender };
            let valgrind = self.valgrind.as_ref().filter(|_| contender.is_counted);
            Row {
                name: contender.name,
                target: contender.target,
                time: 0.0,
                allocations: valgrind.and_then(|valgrind| valgrind.allocations(subject)),
                instructions: valgrind.and_then(|valgrind| valgrind.instructions(subject)),
            }
        };
        let mut rows: Vec<Row> = contenders.iter().map(row).collect();
        let mut calls: Vec<_> = contenders.into_iter().map(Contender::warmed_up).collect();
        for (row, time) in rows.iter_mut().zip(time::medians(&mut calls, lead)) {
            row.time = time;
        }

        let Some((base, others)) = rows.split_first() else { return };
        let ours = others.first().map_or(0.0, |ours| ours.time - base.time);
        let cells = rows.iter().map(|row| row.cells(base, ours));
        let head = ["", "ns a call", "over bare", "× ours", "allocations", "instructions", "over bare", "target"];
        print_table(table, &head, &cells.collect::<Vec<_>>());
    }

    fn bytes(&self, section: &str, table: &str, contenders: &[Contender], calls: u64) {
        let rows = contenders.iter().map(|contender| {
            let subject = Subject { section, table, contender };
            let bytes = self.valgrind.as_ref().and_then(|valgrind| valgrind.bytes_left(subject, calls));
            vec![contender.name.to_owned(), rounded(bytes, 0), contender.target.to_owned()]
        });
        print_table(table, &["", "bytes", "target"], &rows.collect::<Vec<_>>());
    }
}

/// What was measured of a contender.
struct Row {
    name: &'static str,
    target: &'static str,
    time: f64,
    allocations: Option<f64>,
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
            [format!("{over:.1}"), format!("{:.2}", over / ours), rounded(instructions_over, 0)]
        };
        vec![
            self.name.to_owned(),
            format!("{:.1}", self.time),
            over,
            ratio,
            rounded(self.allocations, 2),
            rounded(self.instructions, 0),
            instructions_over,
            self.target.to_owned(),
        ]
    }
}

/// A count with at most so many decimals.
fn rounded(count: Option<f64>, decimals: i32) -> String {
    let unit = 10_f64.powi(decimals);
    // Without the sign of a zero that was rounded up.
    count.map_or_else(|| "-".to_owned(), |count| ((count * unit).round() / unit + 0.0).to_string())
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
