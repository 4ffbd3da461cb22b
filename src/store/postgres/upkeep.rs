//! Proof that a store is whole: references, order of threads, the audit chain, and the counts against what they count.

use deadpool_postgres::ClientWrapper;

use super::audit;
use crate::store::{Result, damaged};

/// Each finds rows that must not be there.
const CONTRADICTIONS: [(&str, &str); 7] = [
    (
        "a command has no message",
        "SELECT 1 FROM command c WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.id = c.message)",
    ),
    (
        "a command has no thread, or one that was merged",
        "SELECT 1 FROM command c LEFT JOIN thread t ON t.number = c.thread
         WHERE t.number IS NULL OR t.merged_into IS NOT NULL",
    ),
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
        "a command is ready behind another of its thread",
        "SELECT 1 FROM command c WHERE c.standing = 0 AND EXISTS (
           SELECT 1 FROM command o WHERE o.thread = c.thread AND o.standing < 7 AND o.number < c.number
         )",
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
pub(super) async fn verify(client: &ClientWrapper) -> Result<()> {
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0").await?;
    let verified = verify_snapshot(client).await;
    client.batch_execute("COMMIT").await?;
    verified
}

async fn verify_snapshot(client: &ClientWrapper) -> Result<()> {
    for (what, sql) in CONTRADICTIONS {
        if client.query_opt(&format!("{sql} LIMIT 1"), &[]).await?.is_some() {
            return Err(damaged(what));
        }
    }
    audit::verify(client).await
}
