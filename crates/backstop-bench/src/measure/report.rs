//! Tables in Markdown.

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
        let instructions = contenders.iter().map(|contender| {
            let valgrind = self.valgrind.as_ref().filter(|_| contender.counts_instructions)?;
            valgrind.a_call(section.name, table.title, contender.name, contender.warm_up)
        });
        let instructions: Vec<Option<f64>> = instructions.collect();
        let names = contenders.iter().map(|contender| (contender.name, contender.target));
        let names: Vec<_> = names.collect();
        let mut calls: Vec<_> = contenders.into_iter().map(Contender::warmed_up).collect();
        let times = time::medians(&mut calls);
        let allocated: Vec<f64> = calls.iter_mut().map(allocations::a_call).collect();

        let base = times.first().copied().unwrap_or_default();
        let ours = times.get(1).copied().unwrap_or_default() - base;
        let base_instructions = instructions.first().copied().flatten();
        let rows = names.into_iter().zip(times).zip(allocated).zip(instructions);
        let rows = rows.enumerate().map(|(row, ((((name, target), time), allocated), instructions))| {
            let over = |figure: String| if row == 0 { "-".to_owned() } else { figure };
            let more = instructions.zip(base_instructions).map(|(count, base)| count - base);
            vec![
                name.to_owned(),
                format!("{time:.1}"),
                over(format!("{:.1}", time - base)),
                over(format!("{:.2}", (time - base) / ours)),
                format!("{}", (allocated * 100.0).round() / 100.0),
                counted(instructions),
                over(counted(more)),
                target.to_owned(),
            ]
        });
        let head = ["", "ns a call", "over bare", "× ours", "allocations", "instructions", "over bare", "target"];
        print_table(table.title, &head, &rows.collect::<Vec<_>>());
    }
}

fn counted(count: Option<f64>) -> String {
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
