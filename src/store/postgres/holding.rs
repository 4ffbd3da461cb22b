//! Commands that hold others of their thread, those first that hold a cancellation.

use deadpool_postgres::ClientWrapper;

use super::columns;
use crate::command::CommandId;
use crate::store::{Hold, Result};

/// Heads of threads that are not claimable, with what is held behind them.
const HOLDS: &str = "SELECT h.id, count(*), count(*) FILTER (WHERE f.name LIKE 'Cancel%') AS cancellations
     FROM command h JOIN command f ON f.thread = h.thread AND f.standing = 1 AND f.number > h.number
     WHERE h.standing IN (3, 4, 5, 6) AND h.standing <> 7 AND NOT EXISTS (
       SELECT 1 FROM command e WHERE e.thread = h.thread AND e.standing < 7 AND e.number < h.number
     )
     GROUP BY h.number, h.id, h.class
     ORDER BY (count(*) FILTER (WHERE f.name LIKE 'Cancel%') > 0) DESC, h.class, h.number LIMIT $1";

pub(super) async fn holds(client: &ClientWrapper, max: usize) -> Result<Vec<Hold>> {
    let statement = client.prepare_cached(HOLDS).await?;
    let rows = client.query(&statement, &[&columns::signed(max as u64)]).await?;
    let hold = |row: &tokio_postgres::Row| -> Result<Hold> {
        let count = |at| -> Result<u64> { Ok(u64::try_from(row.try_get::<_, i64>(at)?).unwrap_or_default()) };
        Ok(Hold { holder: CommandId(row.try_get(0)?), followers: count(1)?, cancellations: count(2)? })
    };
    rows.iter().map(hold).collect()
}
