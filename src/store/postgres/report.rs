//! A day's counts, from the rows of the messages that were received then and of their commands.

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::acts::COMMON_DESK;
use super::columns::{self, micros};
use super::failure::Failed;
use super::flight::Flight;
use super::listing::{DISORDER, first_received_at};
use super::workspace::{EventText, Workspace};
use super::write::{Signature, write_and_commit};
use crate::store::standing::Standing;
use crate::store::{Cause, CauseId, Day, NewEvent, Result};

/// Publishes in a transaction of its own. With the workspace that was written, for its bells.
pub(super) async fn publish(
    client: &ClientWrapper,
    mut workspace: Workspace,
    day: &str,
    event: &NewEvent,
) -> std::result::Result<Option<Workspace>, Failed> {
    client.batch_execute("BEGIN").await?;
    let keep = "INSERT INTO day_report (day, at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    if client.execute(keep, &[&day, &micros(event.at)]).await? == 0 {
        client.batch_execute("ROLLBACK").await?;
        return Ok(None);
    }
    let drawn = client.query_one("SELECT nextval('thread_number')", &[]).await?;
    workspace.thread_numbers.push(drawn.try_get(0)?);
    let thread = workspace.begin_thread(event.id.0)?;
    let text = EventText::of(event, &workspace.vault.sealer());
    workspace.publish(thread, event, &text)?;
    write_and_commit(client, &workspace, Signature { desk: COMMON_DESK, group: None }, Flight::of(client)).await?;
    Ok(Some(workspace))
}

pub(super) async fn is_published(client: &ClientWrapper, day: &str) -> Result<bool> {
    Ok(client.query_opt("SELECT 1 FROM day_report WHERE day = $1", &[&day]).await?.is_some())
}

/// Messages in a row, and from when to when.
struct Span {
    first: i64,
    end: i64,
    from: i64,
    to: i64,
}

impl Span {
    fn parameters(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.first, &self.end, &self.from, &self.to]
    }
}

pub(super) async fn day(client: &ClientWrapper, from: Timestamp, to: Timestamp) -> Result<Day> {
    let (from, to) = (micros(from), micros(to));
    let first = first_received_at(client, from.saturating_sub(DISORDER)).await?;
    let end = first_received_at(client, to.saturating_add(DISORDER)).await?;
    let span = Span { first, end, from, to };
    let lowest = client.query_opt("SELECT position, at FROM outbox ORDER BY position LIMIT 1", &[]).await?;
    let events_are_kept = match lowest {
        Some(row) => row.try_get::<_, i64>(0)? <= 1 || row.try_get::<_, i64>(1)? <= from,
        None => true,
    };
    let mut day = Day { events_are_kept, ..Day::default() };
    messages(client, &span, &mut day).await?;
    commands(client, &span, &mut day).await?;
    day.causes = causes(client, &span).await?;
    Ok(day)
}

macro_rules! of_span {
    () => {
        "m.number >= $1 AND m.number < $2 AND m.received_at >= $3 AND m.received_at < $4"
    };
}

async fn messages(client: &ClientWrapper, span: &Span, day: &mut Day) -> Result<()> {
    let received = concat!(
        "SELECT s.name, count(*) FROM message m JOIN source s ON s.number = m.source WHERE ",
        of_span!(),
        " GROUP BY s.name"
    );
    for row in client.query(&client.prepare_cached(received).await?, &span.parameters()).await? {
        day.sources.entry(row.try_get(0)?).or_default().received = columns::count(&row, 1)?;
    }
    // Not correlated, so that what is told is read once.
    let decided = concat!(
        "WITH told AS MATERIALIZED (
           SELECT subject FROM outbox WHERE at >= $3::bigint - 60000000 AND name = 'MessageRejected'
         )
         SELECT s.name, m.verdict, count(*), sum(m.commands)::bigint,
           count((SELECT at FROM acknowledged a WHERE a.message = m.number)),
           count(*) FILTER (WHERE m.verdict = 'rejected' AND m.id::text NOT IN (SELECT subject FROM told))
         FROM message m JOIN source s ON s.number = m.source WHERE ",
        of_span!(),
        " GROUP BY s.name, m.verdict"
    );
    for row in client.query(&client.prepare_cached(decided).await?, &span.parameters()).await? {
        let counts = day.sources.entry(row.try_get(0)?).or_default();
        counts.verdicts.insert(row.try_get(1)?, columns::count(&row, 2)?);
        counts.made += columns::count(&row, 3)?;
        counts.answered += columns::count(&row, 4)?;
        counts.untold.rejected += columns::count(&row, 5)?;
    }
    Ok(())
}

/// The commands of the last message have the numbers behind it, up to where another message would be.
async fn commands(client: &ClientWrapper, span: &Span, day: &mut Day) -> Result<()> {
    let sql = "WITH of_day AS MATERIALIZED (
           SELECT c.id, c.source, c.standing, EXISTS (
             SELECT 1 FROM attempt a WHERE a.command = c.number AND a.is_write AND a.status >= 200 AND a.status < 300
           ) AS wrote
           FROM command c
           WHERE c.number >= $1 AND c.number < ($2::bigint + 4095) / 4096 * 4096 AND c.received_at >= $3 AND c.received_at < $4
         ), told AS MATERIALIZED (SELECT subject, name FROM outbox WHERE at >= $3::bigint - 60000000)
         SELECT s.name, d.standing, count(*), count(*) FILTER (WHERE d.wrote),
           count(*) FILTER (WHERE d.standing = 6
             AND d.id::text NOT IN (SELECT subject FROM told WHERE name = 'CommandFailed')),
           count(*) FILTER (WHERE d.standing = 7 AND d.wrote AND d.id::text NOT IN (SELECT subject FROM told))
         FROM of_day d JOIN source s ON s.number = d.source GROUP BY s.name, d.standing";
    for row in client.query(&client.prepare_cached(sql).await?, &span.parameters()).await? {
        let standing = columns::standing(&row, 1)?;
        let counts = day.sources.entry(row.try_get(0)?).or_default();
        *counts.states.entry(standing.state_name().to_owned()).or_default() += columns::count(&row, 2)?;
        let wrote = columns::count(&row, 3)?;
        counts.written += wrote;
        if standing != Standing::Completed {
            counts.written_and_open += wrote;
        }
        counts.untold.failed += columns::count(&row, 4)?;
        counts.untold.completed += columns::count(&row, 5)?;
    }
    Ok(())
}

async fn causes(client: &ClientWrapper, span: &Span) -> Result<Vec<(Cause, u64)>> {
    let sql = "WITH counted (cause, count) AS (
           SELECT b.cause, count(*) FROM blame b JOIN message m ON m.number = b.message
           WHERE b.message >= $1 AND b.message < $2 AND m.received_at >= $3 AND m.received_at < $4 GROUP BY b.cause
           UNION ALL
           SELECT cause, count(*) FROM command
           WHERE cause IS NOT NULL AND standing IN (3, 4, 5, 6) AND number >= $1
             AND number < ($2::bigint + 4095) / 4096 * 4096
             AND received_at >= $3 AND received_at < $4 GROUP BY cause
         )
         SELECT k.id, k.source, k.kind, k.state, k.code, k.place, k.text, n.count
         FROM counted n JOIN cause k ON k.id = n.cause ORDER BY n.count DESC, k.id";
    let rows = client.query(&client.prepare_cached(sql).await?, &span.parameters()).await?;
    rows.iter().map(|row| Ok((cause(row)?, columns::count(row, 7)?))).collect()
}

fn cause(row: &Row) -> Result<Cause> {
    Ok(Cause {
        id: CauseId::of_row(row.try_get(0)?),
        source: row.try_get(1)?,
        kind: row.try_get(2)?,
        state: row.try_get(3)?,
        code: row.try_get(4)?,
        place: row.try_get(5)?,
        text: row.try_get(6)?,
    })
}
