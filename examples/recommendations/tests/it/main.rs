//! Tests of the app over its sockets.

mod admin_chaos;
mod admin_guard;
mod answers;
mod binary;
mod circuits;
mod common;
mod connections;
mod control_room;
mod dashboard;
mod drill;
mod faults;
mod features;
mod limits;
mod metrics;
mod ops;
mod orders;
mod page_checks;
mod program;
mod rates;
mod real_stores;
mod requests;
mod shop_page;
mod shutdown;
mod sources;
mod upstream;
