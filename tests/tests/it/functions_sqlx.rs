//! Queries of a real database, through a guard.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{cell::Cell, time::Duration};

use backstop::{CallError, CircuitState, Guard, Reason, Standard, StandardHandle, name, standard};
use backstop_test::Logs;
use sqlx::{SqlitePool, sqlite::SqlitePoolOptions};
use tracing::Level;

const LIMIT: Duration = Duration::from_millis(50);
/// For what must not end by a limit, on a machine that is busy.
const LONG: Duration = Duration::from_secs(30);

/// A database with one user, and one connection, for which a query waits so long.
async fn database(acquire_timeout: Duration) -> SqlitePool {
    // Of a database in memory, each connection has its own.
    let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(acquire_timeout);
    let pool = pool.connect("sqlite::memory:").await.unwrap();
    let users = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL); INSERT INTO users VALUES (1, 'Ada')";
    sqlx::raw_sql(users).execute(&pool).await.unwrap();
    pool
}

/// A guard whose circuit opens at the second failure in a row.
fn guard(timeout: Duration) -> (Guard, StandardHandle) {
    let circuit =
        |circuit: backstop::CircuitBreakerBuilder<_>| circuit.consecutive_failures(2).success_threshold(1).wait(LIMIT);
    let stack = standard("db").circuit_breaker(circuit).timeout(timeout).build().unwrap();
    let is_missing = |error: &sqlx::Error| matches!(error, sqlx::Error::RowNotFound);
    (stack.guard().is_answer(is_missing), stack.handle())
}

fn state(parts: &StandardHandle) -> CircuitState {
    parts.circuit_breaker().unwrap().state()
}

async fn user(db: &Guard, pool: &SqlitePool, id: i64) -> Result<String, CallError<sqlx::Error>> {
    let query = || sqlx::query_scalar("SELECT name FROM users WHERE id = ?").bind(id).fetch_one(pool);
    db.call(query).await
}

/// What the README shows is this, and runs.
#[tokio::test]
async fn a_query_is_protected_in_three_lines() {
    async fn name_of(pool: SqlitePool, id: i64) -> Result<String, CallError<sqlx::Error>> {
        let db = Standard::new(name!("db")).guard().is_answer(|error| matches!(error, sqlx::Error::RowNotFound));
        let query = || sqlx::query_scalar("SELECT name FROM users WHERE id = ?").bind(id).fetch_one(&pool);
        let name = db.call(query).await?;
        Ok(name)
    }

    assert_eq!(name_of(database(LONG).await, 1).await.unwrap(), "Ada");
    let (test, readme) = (include_str!("functions_sqlx.rs"), include_str!("../../../README.md"));
    let shown = test.lines().skip_while(|line| !line.contains("async fn name_of")).skip(1).take(3);
    for line in shown {
        assert!(readme.contains(line.trim()), "the README doesn't show: {line}");
    }
}

#[tokio::test]
async fn a_row_that_does_not_exist_is_an_answer_however_often() {
    let (pool, (db, parts)) = (database(LONG).await, guard(LONG));
    for _ in 0..5 {
        let missing = user(&db, &pool, 2).await.unwrap_err();
        assert!(matches!(missing, CallError::Failed(sqlx::Error::RowNotFound)));
    }
    assert_eq!(state(&parts), CircuitState::Closed);

    let insert = || sqlx::query("INSERT INTO users VALUES (1, 'Eve')").execute(&pool);
    let is_taken =
        |error: &sqlx::Error| error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation);
    for _ in 0..5 {
        assert!(db.call_once(insert).is_answer(is_taken).await.unwrap_err().error().is_some());
    }
    assert_eq!(state(&parts), CircuitState::Closed);
}

#[tokio::test]
async fn a_pool_that_gives_no_connection_opens_the_circuit_which_closes_once_it_does() {
    let (pool, (db, parts)) = (database(LONG).await, guard(LIMIT));
    let held = pool.acquire().await.unwrap();
    for _ in 0..2 {
        let late = user(&db, &pool, 1).await.unwrap_err();
        assert_eq!(late.rejection().unwrap().reason(), Reason::TIMEOUT);
    }
    let refused = user(&db, &pool, 1).await.unwrap_err();
    assert_eq!(refused.rejection().unwrap().reason(), Reason::CIRCUIT_OPEN);

    drop(held);
    let mut found = None;
    while state(&parts) != CircuitState::Closed {
        tokio::time::sleep(parts.circuit_breaker().unwrap().remaining_wait().unwrap_or_default()).await;
        found = user(&db, &pool, 1).await.ok();
    }
    assert_eq!(found.as_deref(), Some("Ada"));
}

#[tokio::test]
async fn a_statement_is_run_again_if_the_pool_had_no_connection_for_it() {
    let (pool, (db, _)) = (database(LIMIT).await, guard(LONG));
    let held = Cell::new(Some(pool.acquire().await.unwrap()));
    let attempts = Cell::new(0);
    let insert = || {
        attempts.set(attempts.get() + 1);
        if attempts.get() == 2 {
            drop(held.take());
        }
        sqlx::query("INSERT INTO users VALUES (2, 'Eve')").execute(&pool)
    };
    // Nothing was sent.
    let inserted = db.call(insert).transient(|error| matches!(error, sqlx::Error::PoolTimedOut)).await.unwrap();
    assert_eq!((inserted.rows_affected(), attempts.get()), (1, 2));
    assert_eq!(user(&db, &pool, 2).await.unwrap(), "Eve");
}

#[tokio::test]
async fn a_database_that_fails_opens_the_circuit_and_the_log_says_how() {
    let logs = Logs::new();
    let _listening = logs.listen();
    let (pool, (db, parts)) = (database(LONG).await, guard(LONG));
    sqlx::raw_sql("DROP TABLE users").execute(&pool).await.unwrap();
    for _ in 0..2 {
        assert!(user(&db, &pool, 1).await.unwrap_err().error().is_some());
    }
    assert_eq!(state(&parts), CircuitState::Open);
    let opened = logs.events().with_target("backstop::circuit_breaker").at(Level::WARN).only();
    assert!(opened.field("error").unwrap().contains("no such table: users"), "{opened}");
}
