//! Numbered migrations. Each runs once, in one transaction with its row in `migration`.
//!
//! A file that a newer version made is refused: an older one cannot know what its rows mean.

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use crate::store::{Result, StoreError};

const MIGRATIONS: [(i64, &str, &str); 16] = [
    (1, "first_tables", include_str!("migrations/0001_first_tables.sql")),
    (2, "big_stores", include_str!("migrations/0002_big_stores.sql")),
    (3, "plans_that_read_again", include_str!("migrations/0003_plans_that_read_again.sql")),
    (4, "links", include_str!("migrations/0004_links.sql")),
    (5, "dispatches", include_str!("migrations/0005_dispatches.sql")),
    (6, "watches", include_str!("migrations/0006_watches.sql")),
    (7, "told", include_str!("migrations/0007_told.sql")),
    (8, "fetched", include_str!("migrations/0008_fetched.sql")),
    (9, "acts", include_str!("migrations/0009_acts.sql")),
    (10, "patients", include_str!("migrations/0010_patients.sql")),
    (11, "problems", include_str!("migrations/0011_problems.sql")),
    (12, "replays", include_str!("migrations/0012_replays.sql")),
    (13, "reports", include_str!("migrations/0013_reports.sql")),
    (14, "mentions_later", include_str!("migrations/0014_mentions_later.sql")),
    (15, "modes", include_str!("migrations/0015_modes.sql")),
    (16, "data_keys", include_str!("migrations/0016_data_keys.sql")),
];

const NEWEST: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

fn applied(connection: &Connection) -> Result<i64> {
    Ok(connection.query_row("SELECT coalesce(max(number), 0) FROM migration", [], |row| row.get(0))?)
}

fn mismatch(applied: i64) -> StoreError {
    StoreError::Damaged(format!(
        "the file has schema {applied}, this version needs {NEWEST}: use the version that wrote the file, or a newer one"
    ))
}

/// For who only reads: a file that is not up to date is refused, not changed.
pub(super) fn require_newest(connection: &Connection) -> Result<()> {
    match applied(connection)? {
        NEWEST => Ok(()),
        other => Err(mismatch(other)),
    }
}

/// Brings the file up to date.
pub(super) fn migrate(connection: &mut Connection, now: Timestamp) -> Result<()> {
    migrate_to(connection, NEWEST, now)
}

/// `newest` is less only for a file as an older version made it.
pub(super) fn migrate_to(connection: &mut Connection, newest: i64, now: Timestamp) -> Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS migration (
           number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL
         ) STRICT",
    )?;
    let applied = applied(connection)?;
    if applied > newest {
        return Err(mismatch(applied));
    }
    for (number, name, sql) in MIGRATIONS.iter().filter(|(number, ..)| *number > applied && *number <= newest) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        transaction.execute(
            "INSERT INTO migration (number, name, applied_at) VALUES (?1, ?2, ?3)",
            (number, name, now.as_microsecond()),
        )?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_run_once_and_a_newer_file_is_refused() {
        let mut connection = Connection::open_in_memory().expect("memory is there");
        migrate(&mut connection, Timestamp::UNIX_EPOCH).expect("a new file");
        migrate(&mut connection, Timestamp::UNIX_EPOCH).expect("nothing left to do");
        connection.execute("INSERT INTO migration VALUES (99, 'later', 0)", []).expect("a row");
        assert!(matches!(migrate(&mut connection, Timestamp::UNIX_EPOCH), Err(StoreError::Damaged(_))));
    }
}
