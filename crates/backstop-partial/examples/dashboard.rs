//! A dashboard whose parts fail, hang and panic, and what its users get.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::{future::pending, io, time::Duration};

use backstop_partial::{Aggregate, RequiredPartFailed, name, part};
use tokio::time::Instant;

/// What happens to the orders.
#[derive(Clone, Copy, Debug)]
enum Orders {
    Work,
    AreDown,
    Hang,
    Panic,
}

async fn profile(id: u64) -> Result<&'static str, io::Error> {
    if id == 1 { Ok("Ada") } else { Err(io::ErrorKind::NotFound.into()) }
}

#[expect(clippy::panic, reason = "to show that the page survives it")]
async fn recent_orders(orders: Orders) -> Result<Vec<u32>, io::Error> {
    match orders {
        Orders::Work => Ok(vec![7, 9]),
        Orders::AreDown => Err(io::ErrorKind::ConnectionRefused.into()),
        Orders::Hang => pending().await,
        Orders::Panic => panic!("a bug"),
    }
}

async fn show(dashboard: &Aggregate, id: u64, orders: Orders) -> Result<(), RequiredPartFailed> {
    let started = Instant::now();
    let page = dashboard
        .gather((
            part(name!("profile"), profile(id)).is_answer(|error| error.kind() == io::ErrorKind::NotFound).required(),
            part(name!("orders"), recent_orders(orders))
                .timeout(Duration::from_millis(300))
                .or(Vec::new())
                .warn("Order history is temporarily unavailable"),
        ))
        .await?;
    println!("orders {orders:?}: {:?} after {:?}", page.data(), started.elapsed());
    for failure in page.status().failures() {
        println!("    {} is missing ({}): {:?}", failure.part, failure.reason, page.status().warnings());
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dashboard = Aggregate::builder("dashboard").total(Duration::from_secs(3)).build()?;
    for orders in [Orders::Work, Orders::AreDown, Orders::Hang, Orders::Panic] {
        show(&dashboard, 1, orders).await?;
    }
    if let Err(failed) = show(&dashboard, 2, Orders::Work).await {
        println!("nobody's dashboard: {}; the caller is to blame: {}", failed.rejection(), failed.is_callers_fault());
    }
    Ok(())
}
