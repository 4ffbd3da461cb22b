//! Commands that hold others of their thread, those first that hold a cancellation.

use rusqlite::Connection;

use super::columns;
use crate::command::CommandId;
use crate::store::{Hold, Result};

/// Heads of threads that are not claimable, with what is held behind them.
const HOLDS: &str = "SELECT h.id, count(*), sum(CASE WHEN f.name LIKE 'Cancel%' THEN 1 ELSE 0 END) AS cancellations
     FROM command h INDEXED BY command_queue
     JOIN command f INDEXED BY command_thread ON f.thread = h.thread AND f.standing = 1 AND f.number > h.number
     WHERE h.standing IN (3, 4, 5, 6) AND h.standing <> 7 AND NOT EXISTS (
       SELECT 1 FROM command e WHERE e.thread = h.thread AND e.standing < 7 AND e.number < h.number
     )
     GROUP BY h.number ORDER BY cancellations > 0 DESC, h.class, h.number LIMIT ?1";

pub(super) fn holds(connection: &Connection, max: usize) -> Result<Vec<Hold>> {
    let mut statement = connection.prepare_cached(HOLDS)?;
    let mut rows = statement.query([columns::signed(max as u64)])?;
    let mut holds = Vec::new();
    while let Some(row) = rows.next()? {
        let holder = CommandId(columns::uuid(row, 0)?);
        holds.push(Hold { holder, followers: columns::count(row, 1)?, cancellations: columns::count(row, 2)? });
    }
    Ok(holds)
}
