//! A day's counts, from the rows of the messages that were received then and of their commands.
//!
//! Guarantees: of events, those of the day are read, and those of the minutes in which something of it ended later; more only
//! before it is said that no event tells of something.

use std::pin::pin;

use deadpool_postgres::ClientWrapper;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::acts::COMMON_DESK;
use super::columns::{self, micros};
use super::failure::Failed;
use super::flight::Flight;
use super::listing::{DISORDER, first_received_at};
use super::workspace::{EventText, Workspace};
use super::write::{Signature, write_and_commit};
use crate::store::report::{Ending, Stretch, Unheard};
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

    fn parameters_with<'a>(&'a self, events: &'a Events) -> [&'a (dyn ToSql + Sync); 6] {
        [&self.first, &self.end, &self.from, &self.to, &events.first, &events.end]
    }
}

/// Events in a row.
struct Events {
    first: i64,
    end: i64,
}

const EVENTS: &str = "SELECT subject, name FROM outbox WHERE position >= $1 AND position < $2";

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
    let events = events(client, (from.saturating_sub(DISORDER), to.saturating_add(DISORDER))).await?;
    let mut unheard = Unheard::default();
    messages(client, &span, &events, &mut day, &mut unheard).await?;
    commands(client, &span, &events, &mut day, &mut unheard).await?;
    for stretch in unheard.endings() {
        hear(client, stretch, &mut unheard).await?;
    }
    if let Some(stretch) = unheard.everywhere(from) {
        hear(client, stretch, &mut unheard).await?;
    }
    unheard.count(&mut day);
    day.causes = causes(client, &span).await?;
    Ok(day)
}

async fn events(client: &ClientWrapper, (from, to): Stretch) -> Result<Events> {
    let first = first_event_at(client, from).await?;
    Ok(Events { first, end: first_event_at(client, to.saturating_add(1)).await? })
}

/// The position of the first event of then or later, by halving, as [`first_received_at`].
async fn first_event_at(client: &ClientWrapper, at: i64) -> Result<i64> {
    let ends =
        client.prepare_cached("SELECT coalesce(min(position), 0), coalesce(max(position), 0) + 1 FROM outbox").await?;
    let row = client.query_one(&ends, &[]).await?;
    let (mut low, mut high): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let probe =
        client.prepare_cached("SELECT position, at FROM outbox WHERE position >= $1 ORDER BY position LIMIT 1").await?;
    while low < high {
        let middle = low + (high - low) / 2;
        match client.query_opt(&probe, &[&middle]).await? {
            Some(row) if row.try_get::<_, i64>(1)? < at => low = row.try_get::<_, i64>(0)? + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

async fn hear(client: &ClientWrapper, stretch: Stretch, unheard: &mut Unheard) -> Result<()> {
    let Events { first, end } = events(client, stretch).await?;
    let statement = client.prepare_cached(EVENTS).await?;
    let mut rows = pin!(client.query_raw(&statement, [first, end]).await?);
    while let Some(row) = rows.next().await {
        let row = row?;
        unheard.hear(row.try_get(0)?, row.try_get(1)?);
    }
    Ok(())
}

macro_rules! of_span {
    () => {
        "m.number >= $1 AND m.number < $2 AND m.received_at >= $3 AND m.received_at < $4"
    };
}

/// What events of the day tell of, a row for each: `$5` is the first of them, `$6` the first behind them.
macro_rules! told {
    () => {
        "SELECT subject, bool_or(name = 'MessageRejected') AS rejected, bool_or(name = 'CommandFailed') AS failed
         FROM outbox WHERE position >= $5 AND position < $6 GROUP BY subject"
    };
}

async fn messages(
    client: &ClientWrapper,
    span: &Span,
    events: &Events,
    day: &mut Day,
    unheard: &mut Unheard,
) -> Result<()> {
    let received = concat!(
        "SELECT s.name, count(*) FROM message m JOIN source s ON s.number = m.source WHERE ",
        of_span!(),
        " GROUP BY s.name"
    );
    for row in client.query(&client.prepare_cached(received).await?, &span.parameters()).await? {
        day.sources.entry(row.try_get(0)?).or_default().received = columns::count(&row, 1)?;
    }
    let decided = concat!(
        "SELECT s.name, m.verdict, count(*), sum(m.commands)::bigint,
           count((SELECT at FROM acknowledged a WHERE a.message = m.number)),
           array_agg(m.id) FILTER (WHERE m.verdict = 'rejected' AND t.rejected IS NOT TRUE),
           array_agg(m.received_at) FILTER (WHERE m.verdict = 'rejected' AND t.rejected IS NOT TRUE)
         FROM message m JOIN source s ON s.number = m.source LEFT JOIN (",
        told!(),
        ") t ON m.verdict = 'rejected' AND t.subject = m.id::text WHERE ",
        of_span!(),
        " GROUP BY s.name, m.verdict"
    );
    let statement = client.prepare_cached(decided).await?;
    for row in client.query(&statement, &span.parameters_with(events)).await? {
        let name: &str = row.try_get(0)?;
        add(&row, 5, name, Ending::Rejected, unheard)?;
        let counts = day.sources.entry(name.to_owned()).or_default();
        counts.verdicts.insert(row.try_get(1)?, columns::count(&row, 2)?);
        counts.made += columns::count(&row, 3)?;
        counts.answered += columns::count(&row, 4)?;
    }
    Ok(())
}

/// Identifiers, and in the next column the times that belong to them.
fn add(row: &Row, column: usize, source: &str, how: Ending, unheard: &mut Unheard) -> Result<()> {
    let ids: Option<Vec<Uuid>> = row.try_get(column)?;
    let times: Option<Vec<i64>> = row.try_get(column + 1)?;
    for (id, at) in ids.into_iter().flatten().zip(times.into_iter().flatten()) {
        unheard.add(source, how, id, at);
    }
    Ok(())
}

/// The commands of the last message have the numbers behind it, up to where another message would be.
async fn commands(
    client: &ClientWrapper,
    span: &Span,
    events: &Events,
    day: &mut Day,
    unheard: &mut Unheard,
) -> Result<()> {
    let sql = concat!(
        "WITH of_day AS MATERIALIZED (
           SELECT c.id, c.source, c.standing, c.changed_at, EXISTS (
             SELECT 1 FROM attempt a WHERE a.command = c.number AND a.is_write AND a.status >= 200 AND a.status < 300
           ) AS wrote
           FROM command c
           WHERE c.number >= $1 AND c.number < ($2::bigint + 4095) / 4096 * 4096 AND c.received_at >= $3 AND c.received_at < $4
         ), ended AS (
           SELECT d.*, d.standing = 6 AND t.failed IS NOT TRUE AS untold_failed,
             d.standing = 7 AND d.wrote AND t.subject IS NULL AS untold_completed
           FROM of_day d LEFT JOIN (",
        told!(),
        ") t ON t.subject = d.id::text
         )
         SELECT s.name, d.standing, count(*), count(*) FILTER (WHERE d.wrote),
           array_agg(d.id) FILTER (WHERE d.untold_failed), array_agg(d.changed_at) FILTER (WHERE d.untold_failed),
           array_agg(d.id) FILTER (WHERE d.untold_completed), array_agg(d.changed_at) FILTER (WHERE d.untold_completed)
         FROM ended d JOIN source s ON s.number = d.source GROUP BY s.name, d.standing"
    );
    let statement = client.prepare_cached(sql).await?;
    for row in client.query(&statement, &span.parameters_with(events)).await? {
        let standing = columns::standing(&row, 1)?;
        let name: &str = row.try_get(0)?;
        add(&row, 4, name, Ending::Failed, unheard)?;
        add(&row, 6, name, Ending::Completed, unheard)?;
        let counts = day.sources.entry(name.to_owned()).or_default();
        *counts.states.entry(standing.state_name().to_owned()).or_default() += columns::count(&row, 2)?;
        let wrote = columns::count(&row, 3)?;
        counts.written += wrote;
        if standing != Standing::Completed {
            counts.written_and_open += wrote;
        }
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
