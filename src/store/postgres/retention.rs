//! Retention: what is finished and old leaves the database.
//!
//! Enters: one call of a round. Leaves: fewer rows. Guarantees: rows are looked at in the order of their numbers and
//! each once a round; nothing that is not finished is touched; which command made a referral, and with which digest,
//! stands in its thread's row before it goes.

use std::collections::BTreeMap;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;

use super::acts::COMMON_DESK;
use super::bulk::{FORGET_ITEMS, FORGET_REPLAYS};
use super::columns;
use super::failure::Failed;
use super::flight::{BEGIN_BY_KEYS, Flight};
use super::patient;
use super::problems::FORGET_CAUSES;
use super::write::{ADD_TO_TALLY, UNCONFIRMED};
use crate::store::patient::{IS_THEIRS, THREADS_OF_EVENTS};
use crate::store::{Purge, PurgePlace, Purged, Result};

/// Messages, and events, removed by one call.
const REMOVED_MAX: usize = 1_000;
/// Messages, and events, looked at by one call, as a multiple of those that it may remove.
const LOOK_BEYOND: usize = 4;
/// Bytes of messages removed by one call.
const BYTES_MAX: i64 = 32 << 20;
/// Times of receipt are in the order of numbers but for this.
const DISORDER: i64 = 60_000_000;

/// `OFFSET 0`: the commands are found by their numbers first. Otherwise everything unfinished may be passed for each
/// message, for the planner thinks that there is little of it.
fn messages_sql(is_any_held: bool) -> String {
    let (held, is_held) = match is_any_held {
        true => (patient::held(), patient::here(IS_THEIRS)),
        false => (String::new(), "false".to_owned()),
    };
    format!(
        "{held} SELECT m.number, m.received_at, m.size, m.commands, EXISTS (
           SELECT 1 FROM (
             SELECT standing FROM command c WHERE c.number > m.number AND c.number <= m.number + m.commands OFFSET 0
           ) its WHERE its.standing < 7
         ) OR {is_held} FROM message m WHERE m.number > $1 ORDER BY m.number LIMIT $2"
    )
}

fn events_sql(is_any_held: bool) -> String {
    let (held, is_held) = match is_any_held {
        true => (patient::held(), format!("thread IN ({THREADS_OF_EVENTS})")),
        false => (String::new(), "false".to_owned()),
    };
    format!(
        "{held} SELECT position, at, confirmed_at IS NOT NULL, {is_held} FROM outbox
         WHERE position > $1 AND position <= $3 ORDER BY position LIMIT $2"
    )
}

/// A refused message is new when it comes again: nothing came of it.
const FORGET_REFUSED: &str =
    "DELETE FROM dedup d USING unnest($1::bigint[]) AS u (number) JOIN message m USING (number)
     WHERE m.verdict = 'rejected'
       AND d.source = m.source AND d.control_id = m.control_id AND d.message = m.id";

/// `$1`: numbers of commands. Notes in their threads which of these commands made a referral, and with which digest.
const KEEP_CREATORS: &str = "UPDATE thread t SET purged_creator = c.number, purged_creator_id = c.id,
       purged_creates = c.creates
     FROM (
       SELECT DISTINCT ON (c.thread) c.thread, c.number, c.id, c.creates
       FROM unnest($1::bigint[]) AS u (number) JOIN command c USING (number)
       WHERE c.creates IS NOT NULL AND c.standing = 7 ORDER BY c.thread, c.number
     ) c
     WHERE t.number = c.thread AND (t.purged_creator IS NULL OR t.purged_creator > c.number)";

/// The newest position must be known when its event is gone.
const KEEP_POSITION: &str =
    "INSERT INTO meta (name, value) SELECT 'purged_position', max(p) FROM unnest($1::bigint[]) p
     HAVING max(p) IS NOT NULL
     ON CONFLICT (name) DO UPDATE SET value = greatest(meta.value, excluded.value)";

const REMOVE_COMMANDS: &str = "DELETE FROM command WHERE number = ANY ($1) RETURNING standing, class, source";
const REMOVE_ATTEMPTS: &str = "DELETE FROM attempt WHERE command = ANY ($1)";
const REMOVE_FETCHED: &str = "DELETE FROM fetched WHERE command = ANY ($1)";
const REMOVE_TRANSITIONS: &str = "DELETE FROM transition WHERE command = ANY ($1)";
const REMOVE_MENTIONS: &str = "DELETE FROM mention WHERE message = ANY ($1)";
const REMOVE_BLAME: &str = "DELETE FROM blame WHERE message = ANY ($1)";
const REMOVE_CHUNKS: &str = "DELETE FROM message_chunk WHERE message = ANY ($1)";
const REMOVE_DOCUMENTS: &str = "DELETE FROM document WHERE message = ANY ($1)";
const REMOVE_ACKNOWLEDGED: &str = "DELETE FROM acknowledged WHERE message = ANY ($1)";
const REMOVE_MESSAGES: &str = "DELETE FROM message WHERE number = ANY ($1)";
const REMOVE_EVENTS: &str = "DELETE FROM outbox WHERE position = ANY ($1) RETURNING confirmed_at IS NULL";

/// Where a walk over rows ended, and what of them goes.
struct Walk {
    place: i64,
    ended: bool,
    goes: Vec<i64>,
    /// Commands of messages that go: they have the numbers that follow.
    commands: Vec<i64>,
}

/// What a row says of itself.
struct Candidate {
    may_go: bool,
    bytes: i64,
    commands: i64,
}

/// How far a walk may go.
struct Limits {
    before: i64,
    removed_max: usize,
    looked_at_max: i64,
    bytes_max: i64,
}

impl Walk {
    fn nowhere(place: u64) -> Self {
        Self { place: columns::signed(place), ended: true, goes: Vec::new(), commands: Vec::new() }
    }

    /// Over rows of `(number, time, …)`.
    fn over(from: u64, rows: &[Row], limits: &Limits, of: impl Fn(&Row) -> Result<Candidate>) -> Result<Self> {
        let mut walk = Self::nowhere(from);
        let mut bytes = 0;
        for row in rows {
            let at: i64 = row.try_get(1)?;
            if at >= limits.before.saturating_add(DISORDER) {
                return Ok(walk);
            }
            if walk.goes.len() == limits.removed_max || bytes >= limits.bytes_max {
                walk.ended = false;
                return Ok(walk);
            }
            walk.place = row.try_get(0)?;
            let candidate = of(row)?;
            if candidate.may_go && at < limits.before {
                walk.goes.push(walk.place);
                walk.commands.extend(walk.place + 1..=walk.place + candidate.commands);
                bytes += candidate.bytes;
            }
        }
        walk.ended = columns::signed(rows.len() as u64) < limits.looked_at_max;
        Ok(walk)
    }
}

/// One call of a round, in a transaction of its own that does not wait for the disk: what a crash of the database
/// brings back is removed again. A legal hold comes before it or waits for its end.
pub(super) async fn purge(client: &ClientWrapper, purge: &Purge) -> std::result::Result<Purged, Failed> {
    client.batch_execute(BEGIN_BY_KEYS).await?;
    // What is held is found in the order of the statement: from the few.
    client.batch_execute("LOCK TABLE legal_hold IN SHARE MODE; SET LOCAL join_collapse_limit = 1").await?;
    let (messages, events) = look(client, purge).await?;
    let mut purged = Purged { messages: 0, commands: 0, events: 0, next: None };
    if !(messages.ended && events.ended) {
        purged.next = Some(PurgePlace { message: messages.place.unsigned_abs(), event: events.place.unsigned_abs() });
    } else if let Some(before) = purge.messages_before {
        let forget_causes = client.prepare_cached(FORGET_CAUSES).await?;
        client.execute(&forget_causes, &[&columns::micros(before)]).await?;
        for sql in [FORGET_ITEMS, FORGET_REPLAYS] {
            client.execute(&client.prepare_cached(sql).await?, &[&columns::micros(before)]).await?;
        }
    }
    if messages.goes.is_empty() && events.goes.is_empty() {
        client.batch_execute("COMMIT").await?;
        return Ok(purged);
    }
    let of_commands = [REMOVE_ATTEMPTS, REMOVE_FETCHED, REMOVE_TRANSITIONS];
    let of_messages = [
        FORGET_REFUSED,
        REMOVE_MENTIONS,
        REMOVE_BLAME,
        REMOVE_CHUNKS,
        REMOVE_DOCUMENTS,
        REMOVE_ACKNOWLEDGED,
        REMOVE_MESSAGES,
    ];
    let mut prepared = Vec::with_capacity(of_commands.len() + of_messages.len());
    for (statements, numbers) in [(&of_commands[..], &messages.commands), (&of_messages, &messages.goes)] {
        for sql in statements {
            prepared.push((client.prepare_cached(sql).await?, numbers));
        }
    }
    let keep_creators = client.prepare_cached(KEEP_CREATORS).await?;
    let keep_position = client.prepare_cached(KEEP_POSITION).await?;
    let remove_commands = client.prepare_cached(REMOVE_COMMANDS).await?;
    let remove_events = client.prepare_cached(REMOVE_EVENTS).await?;
    let add_to_tally = client.prepare_cached(ADD_TO_TALLY).await?;
    let mut flight = Flight::of(client);
    flight.send(&keep_creators, [&messages.commands]);
    flight.send(&keep_position, [&events.goes]);
    flight.send(&remove_commands, [&messages.commands]);
    flight.send(&remove_events, [&events.goes]);
    for (statement, numbers) in &prepared {
        flight.send(statement, [*numbers]);
    }
    let answers = flight.land().await?;
    let (commands, outbox) = (&answers[2], &answers[3]);
    purged.messages = messages.goes.len() as u64;
    purged.commands = commands.len() as u64;
    purged.events = outbox.len() as u64;
    let counts = Counts::of(commands, outbox)?;
    let mut flight = Flight::of(client);
    flight.send_if(
        !counts.counts.is_empty(),
        &add_to_tally,
        [&COMMON_DESK, &counts.standings, &counts.classes, &counts.sources, &counts.counts],
    );
    flight.run("COMMIT");
    flight.land().await?;
    Ok(purged)
}

async fn look(client: &ClientWrapper, purge: &Purge) -> std::result::Result<(Walk, Walk), Failed> {
    let removed_max = purge.max.clamp(1, REMOVED_MAX);
    let looked_at_max = columns::signed((removed_max * LOOK_BEYOND) as u64);
    let (mut messages, mut events) = (Walk::nowhere(purge.from.message), Walk::nowhere(purge.from.event));
    let is_any_held = patient::is_any_held(client).await?;
    if let Some(before) = purge.messages_before.map(columns::micros) {
        let look = client.prepare_cached(&messages_sql(is_any_held)).await?;
        let rows = client.query(&look, &[&messages.place, &looked_at_max]).await?;
        let limits = Limits { before, removed_max, looked_at_max, bytes_max: BYTES_MAX };
        messages = Walk::over(purge.from.message, &rows, &limits, |row| {
            let (bytes, commands, stays): (i64, i32, bool) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            Ok(Candidate { may_go: !stays, bytes, commands: commands.into() })
        })?;
    }
    if let Some(before) = purge.events_before.map(columns::micros) {
        let look = client.prepare_cached(&events_sql(is_any_held)).await?;
        let told_up_to = columns::signed(purge.told_up_to);
        let rows = client.query(&look, &[&events.place, &looked_at_max, &told_up_to]).await?;
        let limits = Limits { before, removed_max, looked_at_max, bytes_max: i64::MAX };
        events = Walk::over(purge.from.event, &rows, &limits, |row| {
            let (is_confirmed, is_held): (bool, bool) = (row.try_get(2)?, row.try_get(3)?);
            let may_go = (is_confirmed || !purge.keep_unconfirmed) && !is_held;
            Ok(Candidate { may_go, bytes: 0, commands: 0 })
        })?;
    }
    Ok((messages, events))
}

/// What the counts lose.
#[derive(Default)]
struct Counts {
    standings: Vec<i16>,
    classes: Vec<i16>,
    sources: Vec<i32>,
    counts: Vec<i64>,
}

impl Counts {
    fn of(commands: &[Row], events: &[Row]) -> Result<Self> {
        let mut lost: BTreeMap<(i16, i16, i32), i64> = BTreeMap::new();
        for row in commands {
            *lost.entry((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)).or_default() += 1;
        }
        for row in events {
            if row.try_get(0)? {
                *lost.entry((UNCONFIRMED, 0, 0)).or_default() += 1;
            }
        }
        let mut counts = Self::default();
        for ((standing, class, source), count) in lost {
            counts.standings.push(standing);
            counts.classes.push(class);
            counts.sources.push(source);
            counts.counts.push(-count);
        }
        Ok(counts)
    }
}
