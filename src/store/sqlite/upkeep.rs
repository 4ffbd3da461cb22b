//! What operators do to the file: prove it whole, and copy it while the gateway runs.

use std::path::Path;

use rusqlite::Connection;

use super::audit;
use crate::store::contradictions::{CONTRADICTIONS, PAIRS, illegal};
use crate::store::{Result, StoreError};

const STATE: &str = "json_extract(c.state, '$.state')";
const ID_AS_TEXT: &str =
    "lower(substr(hex(c.id), 1, 8) || '-' || substr(hex(c.id), 9, 4) || '-' || substr(hex(c.id), 13, 4)
   || '-' || substr(hex(c.id), 17, 4) || '-' || substr(hex(c.id), 21))";

/// Checks pages and indexes, references, the history of every command, the audit chain, and the counts against what they
/// count.
pub(super) fn verify(connection: &Connection) -> Result<()> {
    let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
    let found: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    if found != ["ok"] {
        return Err(StoreError::Damaged(found.join("; ")));
    }
    if connection.prepare("PRAGMA foreign_key_check")?.exists([])? {
        return Err(StoreError::Damaged("a row refers to one that is missing".into()));
    }
    audit::verify(connection)?;
    for (what, sql) in CONTRADICTIONS {
        let sql = sql.replace("{state}", STATE).replace("{text}", ID_AS_TEXT).replace("{first}", "m.first_command");
        if connection.prepare(&sql)?.exists([])? {
            return Err(StoreError::Damaged(what.into()));
        }
    }
    let mut statement = connection.prepare(PAIRS)?;
    let pairs = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<Vec<_>>>()?;
    if let Some(wrong) = illegal(pairs) {
        return Err(StoreError::Damaged(wrong));
    }
    let miscounted = connection
        .prepare(
            "WITH counted AS (SELECT standing, class, source, count(*) AS count FROM command GROUP BY 1, 2, 3)
             SELECT * FROM (SELECT * FROM counted EXCEPT SELECT * FROM tally)
             UNION ALL
             SELECT * FROM (SELECT * FROM tally WHERE count <> 0 EXCEPT SELECT * FROM counted)",
        )?
        .exists([])?;
    let unconfirmed = connection.query_row(
        "SELECT (SELECT count(*) FROM outbox WHERE confirmed_at IS NULL)
              = coalesce((SELECT value FROM meta WHERE name = 'unconfirmed_events'), 0)",
        [],
        |row| row.get::<_, bool>(0),
    )?;
    if miscounted || !unconfirmed {
        return Err(StoreError::Damaged("the counts of the queue or the outbox are not what they count".into()));
    }
    Ok(())
}

/// Writes a copy of one committed moment to a new file, synced when this returns. A gateway may have the file.
pub(super) fn backup(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        return Err(StoreError::Outdated(format!("{} exists; a backup never overwrites", to.display())));
    }
    let target = to.to_str().ok_or_else(|| StoreError::Outdated("the path is not valid Unicode".into()))?;
    super::files::create_private(to)?;
    let connection = Connection::open(from)?;
    connection.execute("VACUUM INTO ?1", [target])?;
    super::files::sync(to)
}
