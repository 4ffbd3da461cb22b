//! Numbered migrations. Each runs once, in one transaction with its row in `migration`.
//!
//! A file that a newer version made is refused: an older one cannot know what its rows mean.

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use crate::store::{Result, StoreError};

const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "first_tables", include_str!("migrations/0001_first_tables.sql"))];

/// Brings the file up to date.
pub(super) fn migrate(connection: &mut Connection, now: Timestamp) -> Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS migration (
           number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL
         ) STRICT",
    )?;
    let applied: i64 = connection.query_row("SELECT coalesce(max(number), 0) FROM migration", [], |row| row.get(0))?;
    let newest = MIGRATIONS.iter().map(|(number, ..)| *number).max().unwrap_or(0);
    if applied > newest {
        return Err(StoreError::Damaged(format!(
            "the file has schema {applied}, this version knows {newest}: use the version that wrote it, or a newer one"
        )));
    }
    for (number, name, sql) in MIGRATIONS.iter().filter(|(number, ..)| *number > applied) {
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
