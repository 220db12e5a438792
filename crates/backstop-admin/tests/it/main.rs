//! Tests of the inventory, the audit and the routes for operators.

mod audit;
mod inventory;
