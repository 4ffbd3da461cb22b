//! Bulk replays: their rows, the items that they came to, and what they would come to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::books::{Books, Placed};
use super::columns;
use crate::command::{CommandId, MessageId};
use crate::store::bulk::subject;
use crate::store::{
    Act, BulkReplay, NewBulkReplay, Noted, ReplayCandidate, ReplayCandidates, ReplayItem, ReplayOf, ReplayOutcome,
    ReplayStanding, Result, Share, StoreError, damaged,
};

/// Of one reason.
const WHY_CHARS_MAX: usize = 300;

impl Books {
    pub(super) fn begin_replay(&mut self, replay: &NewBulkReplay, act: &Act) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO bulk_replay (id, filter, share, overtaken, standing, by, place, why, created_at, changed_at,
                   at)
                 VALUES (?1, ?2, ?3, ?4, 'running', ?5, ?6, ?7, ?8, ?8, 0)",
            )?
            .execute(params![
                replay.id.into_bytes(),
                columns::text(&replay.filter),
                replay.share.thousandths(),
                replay.overtaken,
                act.by,
                act.place,
                act.why,
                act.at.as_microsecond(),
            ])?;
        self.note_act(&Noted { act: NewBulkReplay::BEGUN, subject: subject(replay.id), by: act.clone() })
    }

    pub(super) fn replay_in_bulk(&mut self, id: Uuid, candidate: &ReplayCandidate, act: &Act) -> Result<()> {
        if standing(&self.connection, id)? != ReplayStanding::Running {
            return Err(StoreError::Outdated("the bulk replay does not run any more".into()));
        }
        let command = candidate.command.ok_or(StoreError::NotFound)?;
        let number = self.replay(command, act)?;
        self.stand_behind(number)?;
        let item = ReplayItem::of(candidate, ReplayOutcome::Sent, "");
        self.note_replayed(id, &[item], act.at)
    }

    /// What is not urgent goes behind what comes in, unless something more urgent waits behind it.
    fn stand_behind(&mut self, number: i64) -> Result<()> {
        let placed = self.placed(number)?;
        let behind = Placed { class: placed.class.in_bulk(), ..placed };
        if behind.class != placed.class {
            self.leave(placed.place());
            self.connection
                .prepare_cached("UPDATE command SET class = ?2 WHERE number = ?1")?
                .execute((number, behind.class.rank()))?;
            self.enter(behind.place());
            self.raise(placed.thread)?;
        }
        Ok(())
    }

    pub(super) fn note_replayed(&mut self, id: Uuid, items: &[ReplayItem], at: Timestamp) -> Result<()> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO replay_item (replay, subject, message, command, made, outcome, why, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?;
        for item in items {
            insert.execute(params![
                id.into_bytes(),
                item.subject().into_bytes(),
                item.message.0.into_bytes(),
                item.command.map(|command| command.0.into_bytes()),
                item.made.map(|made| made.0.into_bytes()),
                item.outcome.name(),
                item.why.chars().take(WHY_CHARS_MAX).collect::<String>(),
                at.as_microsecond(),
            ])?;
        }
        Ok(())
    }

    pub(super) fn settle_replayed(&mut self, id: Uuid, settled: &[(Uuid, ReplayOutcome)]) -> Result<()> {
        let mut settle = self.connection.prepare_cached(
            "UPDATE replay_item SET outcome = ?3 WHERE replay = ?1 AND subject = ?2 AND outcome IN ('sent', 'in_doubt')",
        )?;
        for (subject, outcome) in settled {
            settle.execute((id.into_bytes(), subject.into_bytes(), outcome.name()))?;
        }
        Ok(())
    }

    pub(super) fn advance_replay(&mut self, id: Uuid, at: u64) -> Result<()> {
        self.connection
            .prepare_cached("UPDATE bulk_replay SET at = max(at, ?2) WHERE id = ?1")?
            .execute((id.into_bytes(), columns::signed(at)))?;
        Ok(())
    }

    pub(super) fn stand_replay(&mut self, id: Uuid, to: ReplayStanding, act: &Act) -> Result<()> {
        let from = standing(&self.connection, id)?;
        if !from.may_become(to) {
            return Err(StoreError::Outdated(format!("it is {}, so it cannot be {}", from.name(), to.name())));
        }
        self.connection
            .prepare_cached("UPDATE bulk_replay SET standing = ?2, changed_at = ?3 WHERE id = ?1")?
            .execute((id.into_bytes(), to.name(), act.at.as_microsecond()))?;
        self.note_act(&Noted { act: to.act(), subject: subject(id), by: act.clone() })
    }

    /// Those that have ended before a time, with their items.
    pub(super) fn forget_replays(&self, before: Timestamp) -> Result<()> {
        const OLD: &str = "SELECT id FROM bulk_replay WHERE standing IN ('done', 'cancelled') AND changed_at < ?1";
        for sql in [
            format!("DELETE FROM replay_item WHERE replay IN ({OLD})"),
            format!("DELETE FROM bulk_replay WHERE id IN ({OLD})"),
        ] {
            self.connection.prepare_cached(&sql)?.execute([before.as_microsecond()])?;
        }
        Ok(())
    }
}

fn standing(connection: &Connection, id: Uuid) -> Result<ReplayStanding> {
    let name: String = connection
        .prepare_cached("SELECT standing FROM bulk_replay WHERE id = ?1")?
        .query_row([id.into_bytes()], |row| row.get(0))?;
    named(&name)
}

fn named(name: &str) -> Result<ReplayStanding> {
    let found = ReplayStanding::ALL.into_iter().find(|standing| standing.name() == name);
    found.ok_or_else(|| damaged("an unknown standing of a replay"))
}

const COLUMNS: &str = "id, filter, share, overtaken, standing, by, place, why, created_at, changed_at, at";

pub(super) fn bulk_replay(connection: &Connection, id: Uuid) -> Result<Option<BulkReplay>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM bulk_replay WHERE id = ?1"))?;
    let mut rows = statement.query([id.into_bytes()])?;
    rows.next()?.map(|row| view(connection, row)).transpose()
}

pub(super) fn bulk_replays(
    connection: &Connection,
    only: Option<ReplayStanding>,
    max: usize,
) -> Result<Vec<BulkReplay>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM bulk_replay WHERE ?1 IS NULL OR standing = ?1 ORDER BY created_at DESC, id LIMIT ?2"
    ))?;
    let mut rows = statement.query((only.map(ReplayStanding::name), columns::signed(max as u64)))?;
    let mut replays = Vec::new();
    while let Some(row) = rows.next()? {
        replays.push(view(connection, row)?);
    }
    Ok(replays)
}

fn view(connection: &Connection, row: &Row<'_>) -> Result<BulkReplay> {
    let id = columns::uuid(row, 0)?;
    let filter: String = row.get(1)?;
    let standing: String = row.get(4)?;
    Ok(BulkReplay {
        id,
        filter: serde_json::from_str(&filter).map_err(|_| damaged("the filter of a replay cannot be read"))?,
        share: Share::of_row(row.get(2)?)?,
        overtaken: row.get(3)?,
        standing: named(&standing)?,
        by: row.get(5)?,
        place: row.get(6)?,
        why: row.get(7)?,
        created_at: columns::time(row, 8)?,
        changed_at: columns::time(row, 9)?,
        at: columns::count(row, 10)?,
        counts: counts(connection, id)?,
    })
}

fn counts(connection: &Connection, id: Uuid) -> Result<BTreeMap<ReplayOutcome, u64>> {
    let mut statement = connection.prepare_cached(
        "SELECT outcome, count(*) FROM replay_item INDEXED BY replay_outcome WHERE replay = ?1 GROUP BY outcome",
    )?;
    let mut rows = statement.query([id.into_bytes()])?;
    let mut counts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        counts.insert(ReplayOutcome::named(&row.get::<_, String>(0)?)?, columns::count(row, 1)?);
    }
    Ok(counts)
}

pub(super) fn on_their_way(connection: &Connection, id: Uuid, max: usize) -> Result<Vec<ReplayItem>> {
    let mut statement = connection.prepare_cached(
        "SELECT message, command, made, outcome, why FROM replay_item INDEXED BY replay_outcome
         WHERE replay = ?1 AND outcome IN ('sent', 'in_doubt') ORDER BY subject LIMIT ?2",
    )?;
    items(statement.query((id.into_bytes(), columns::signed(max as u64)))?)
}

pub(super) fn replay_items(
    connection: &Connection,
    id: Uuid,
    after: Option<Uuid>,
    max: usize,
) -> Result<Vec<ReplayItem>> {
    let mut statement = connection.prepare_cached(
        "SELECT message, command, made, outcome, why FROM replay_item
         WHERE replay = ?1 AND subject > ?2 ORDER BY subject LIMIT ?3",
    )?;
    items(statement.query((id.into_bytes(), after.unwrap_or_default().into_bytes(), columns::signed(max as u64)))?)
}

fn items(mut rows: rusqlite::Rows<'_>) -> Result<Vec<ReplayItem>> {
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let id = |column| -> Result<Option<Uuid>> { Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(Uuid::from_bytes)) };
        items.push(ReplayItem {
            message: MessageId(columns::uuid(row, 0)?),
            command: id(1)?.map(CommandId),
            made: id(2)?.map(MessageId),
            outcome: ReplayOutcome::named(&row.get::<_, String>(3)?)?,
            why: row.get(4)?,
        });
    }
    Ok(items)
}

const OF_COMMANDS: &str = "SELECT c.number, c.message, c.id, c.name, c.mapping_set,
       EXISTS (SELECT 1 FROM command l WHERE l.thread = c.thread AND l.standing = 7 AND l.number > c.number),
       EXISTS (SELECT 1 FROM attempt a WHERE a.command = c.number AND a.is_write AND a.status >= 200 AND a.status < 300)
     FROM command c";
const OF_MESSAGES: &str = "SELECT m.number, m.id, NULL, m.kind, '', 0, 0 FROM";
/// The parts of every question: `x` is `c` or `m`.
const BOUNDS: &str = "x.number > ?1 AND (?2 IS NULL OR x.became_at <= ?2)
     AND (?3 IS NULL OR x.source = (SELECT number FROM source WHERE name = ?3))
     AND (?4 IS NULL OR x.received_at >= ?4) AND (?5 IS NULL OR x.received_at < ?5)
     AND NOT EXISTS (SELECT 1 FROM replay_item i WHERE i.replay = ?6 AND i.subject = x.id)";

fn bounds(of: &str, became_at: &str) -> String {
    BOUNDS.replace("x.", of).replace("became_at", became_at)
}

/// Place by place from the index, or from that of the cause: what is finished is never passed.
pub(super) fn candidates(connection: &Connection, asked: &ReplayCandidates) -> Result<Vec<ReplayCandidate>> {
    let filter = &asked.filter;
    let (bounds_of_commands, bounds_of_messages) = (bounds("c.", "changed_at"), bounds("m.", "received_at"));
    let sql = match (filter.of, filter.cause) {
        (ReplayOf::Failed, Some(_)) => format!(
            "{OF_COMMANDS} INDEXED BY command_cause
             WHERE c.cause = ?9 AND c.cause IS NOT NULL AND c.standing IN (3, 4, 5, 6) AND c.standing = 6
               AND {bounds_of_commands} AND (?8 IS NULL OR c.name = ?8) ORDER BY c.number LIMIT ?7"
        ),
        (ReplayOf::Failed, None) => format!(
            "{OF_COMMANDS} INDEXED BY command_queue
             WHERE c.standing = 6 AND c.standing <> 7 AND c.class = ?9 AND c.source = ?10
               AND {bounds_of_commands} AND (?8 IS NULL OR c.name = ?8) ORDER BY c.number LIMIT ?7"
        ),
        (ReplayOf::Rejected, Some(_)) => format!(
            "{OF_MESSAGES} blame b CROSS JOIN message m ON m.number = b.message
             WHERE b.cause = ?9 AND b.message > ?1 AND {bounds_of_messages} AND ?8 IS ?8 ORDER BY b.message LIMIT ?7"
        ),
        (ReplayOf::Rejected, None) => format!(
            "{OF_MESSAGES} message m INDEXED BY message_place
             WHERE m.source = ?9 AND m.verdict = 'rejected' AND {bounds_of_messages} AND ?8 IS ?8
               AND EXISTS (SELECT 1 FROM blame b WHERE b.message = m.number) ORDER BY m.number LIMIT ?7"
        ),
    };
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = Vec::new();
    for (first, second) in places(connection, asked)? {
        let micros = |at: Timestamp| at.as_microsecond();
        let common = params![
            columns::signed(asked.after),
            asked.until.map(micros),
            filter.source,
            filter.since.map(micros),
            filter.until.map(micros),
            asked.except.map(Uuid::into_bytes),
            columns::signed(asked.max as u64),
            filter.command,
            first,
            second,
        ];
        let wanted = statement.parameter_count();
        let mut rows = statement.query(&common[..wanted])?;
        while let Some(row) = rows.next()? {
            found.push(candidate(row)?);
        }
    }
    found.sort_by_key(|candidate: &ReplayCandidate| candidate.number);
    found.truncate(asked.max);
    Ok(found)
}

/// What the last parameters stand for: a cause; a class and a source; or a source.
fn places(connection: &Connection, asked: &ReplayCandidates) -> Result<Vec<(i64, i64)>> {
    if let Some(cause) = asked.filter.cause {
        return Ok(vec![(cause.number(), 0)]);
    }
    let sql = match asked.filter.of {
        ReplayOf::Failed => "SELECT class, source FROM tally WHERE standing = 6 AND count > 0",
        ReplayOf::Rejected => "SELECT number, 0 FROM source",
    };
    let mut statement = connection.prepare_cached(sql)?;
    let places = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(places.collect::<rusqlite::Result<_>>()?)
}

fn candidate(row: &Row<'_>) -> Result<ReplayCandidate> {
    Ok(ReplayCandidate {
        number: columns::count(row, 0)?,
        message: MessageId(columns::uuid(row, 1)?),
        command: row.get::<_, Option<[u8; 16]>>(2)?.map(|id| CommandId(Uuid::from_bytes(id))),
        name: row.get(3)?,
        mapping_set: row.get(4)?,
        overtaken: row.get(5)?,
        begun: row.get(6)?,
    })
}
