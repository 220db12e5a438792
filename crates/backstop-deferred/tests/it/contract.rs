//! The store in memory.

use backstop_deferred::{MemoryJobStore, contract};

#[tokio::test]
async fn the_store_in_memory_keeps_the_contract() {
    contract::all(async || MemoryJobStore::new()).await;
}
