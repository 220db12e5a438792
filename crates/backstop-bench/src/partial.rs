//! Pages of parts that are ready at once.

use std::{future::ready, hint::black_box, io};

use backstop::{Aggregate, name, part};

use crate::{
    call::poll_once,
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section =
    Section { name: "partial", tables: &[Table::new("Five parts that are ready at once", gather)], others: &[] };

/// What a dependency answers at once.
async fn call(n: u64) -> Result<u64, io::Error> {
    ready(Ok(black_box(n))).await
}

fn gather() -> Vec<Contender> {
    vec![
        Contender::new("tokio::join!", || {
            |n| _ = black_box(poll_once(async move { tokio::join!(call(n), call(n), call(n), call(n), call(n)) }))
        }),
        Contender::new("gather", || {
            let dashboard = Aggregate::new(name!("dashboard"));
            move |n| {
                let page = dashboard.gather((
                    part(name!("profile"), call(n)).required(),
                    part(name!("orders"), call(n)).or(0).warn("Order history is temporarily unavailable"),
                    part(name!("recommendations"), call(n)).or_default(),
                    part(name!("balance"), call(n)).optional(),
                    part(name!("reviews"), call(n)).or_else(|_| 0),
                ));
                _ = black_box(poll_once(page));
            }
        })
        .target("250 ns, 0 allocations"),
    ]
}
