//! Proof that a store is whole: references, order of threads, the audit chain, and the counts against what they count.

use deadpool_postgres::ClientWrapper;

use super::{audit, renewal};
use crate::store::contradictions::{CONTRADICTIONS, PAIRS, illegal};
use crate::store::vault::Vault;
use crate::store::{Result, StoreError, damaged};

const STATE: &str = "(c.state::json ->> 'state')";
const ID_AS_TEXT: &str = "c.id::text";

/// Each finds rows that must not be there: what SQLite proves by itself, and the counts.
const OWN: [(&str, &str); 4] = [
    (
        "an alias leads nowhere",
        "SELECT 1 FROM alias a WHERE NOT EXISTS (SELECT 1 FROM thread t WHERE t.number = a.thread)",
    ),
    (
        "an attempt, a document of one or a transition has no command",
        "SELECT 1 FROM (SELECT command FROM attempt UNION ALL SELECT command FROM fetched
                        UNION ALL SELECT command FROM transition) x
         WHERE NOT EXISTS (SELECT 1 FROM command c WHERE c.number = x.command)",
    ),
    (
        "the counts of the queue are not what they count",
        "SELECT 1 FROM (SELECT standing, class, source, count(*) AS count FROM command GROUP BY 1, 2, 3) c
         FULL JOIN (SELECT standing, class, source, sum(count) AS count FROM tally WHERE standing >= 0
                    GROUP BY 1, 2, 3) t USING (standing, class, source)
         WHERE coalesce(c.count, 0) <> coalesce(t.count, 0)",
    ),
    (
        "the count of the outbox is not what it counts",
        "SELECT 1 WHERE (SELECT count(*) FROM outbox WHERE confirmed_at IS NULL)
                     <> coalesce((SELECT sum(count) FROM tally WHERE standing = -1), 0)",
    ),
];

/// In one snapshot, so gateways may go on meanwhile.
pub(super) async fn verify(client: &ClientWrapper, vault: Option<&Vault>) -> Result<()> {
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0").await?;
    let verified = match (verify_snapshot(client).await, vault) {
        (Ok(()), Some(vault)) => renewal::prove(client, vault).await,
        (verified, _) => verified,
    };
    client.batch_execute("COMMIT").await?;
    verified
}

async fn verify_snapshot(client: &ClientWrapper) -> Result<()> {
    for (what, sql) in OWN.into_iter().chain(CONTRADICTIONS) {
        let sql = sql.replace("{state}", STATE).replace("{text}", ID_AS_TEXT).replace("{first}", "(m.number + 1)");
        if client.query_opt(&format!("{sql} LIMIT 1"), &[]).await?.is_some() {
            return Err(damaged(what));
        }
    }
    let pairs = client.query(PAIRS, &[]).await?;
    let pairs = pairs.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<Vec<_>>>()?;
    if let Some(wrong) = illegal(pairs) {
        return Err(StoreError::Damaged(wrong));
    }
    audit::verify(client).await
}
