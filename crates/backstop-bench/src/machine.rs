//! What this machine takes for what every layer is made of. Figures of other machines are to be read by these.

use std::{hint::black_box, sync::Arc};

use axum::body::Body;
use tokio::time::Instant;

use crate::{
    http::{cloned, request},
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section =
    Section { name: "machine", tables: &[Table::new("What the machine takes", contenders)], others: &[] };

fn contenders() -> Vec<Contender> {
    vec![
        Contender::new("nothing", || {
            |n| {
                black_box(n);
            }
        }),
        Contender::new("a clock read", || {
            |_| {
                black_box(Instant::now());
            }
        }),
        Contender::new("a reference counted and given back", || {
            let shared = Arc::new(0);
            move |_| drop(black_box(Arc::clone(&shared)))
        }),
        Contender::new("a clone of the GET with 10 headers", || {
            let request = request::<Body>();
            move |_| drop(black_box(cloned(&request)))
        }),
    ]
}
