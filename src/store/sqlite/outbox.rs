//! Events: written with what they tell of, read in commit order, confirmed in batches.

use jiff::Timestamp;
use rusqlite::{Connection, Row};
use serde_json::{Map, Value};

use super::books::Books;
use super::columns;
use crate::command::EventId;
use crate::store::partition_key::partition_key;
use crate::store::vault::{Column, Sealer};
use crate::store::{NewEvent, OutboxDepth, Result, StoredEvent};

/// Events in one answer.
const EVENTS_MAX: usize = 10_000;

/// An event's data, written out before the writer is asked.
pub(super) struct EventText(String);

impl EventText {
    pub(super) fn of(event: &NewEvent, sealer: &Sealer<'_>) -> Self {
        Self(sealer.text(Column::EventData.of_id(event.id.0), event.data.to_string()))
    }
}

impl Books {
    /// Puts an event into the outbox with the next sequence of its thread.
    pub(super) fn publish(&mut self, thread: i64, event: &NewEvent, text: &EventText) -> Result<()> {
        let (sequence, id): (i64, [u8; 16]) = self
            .connection
            .prepare_cached("UPDATE thread SET sequence = sequence + 1 WHERE number = ?1 RETURNING sequence, id")?
            .query_row([thread], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.connection
            .prepare_cached(
                "INSERT INTO outbox (id, name, at, source, subject, thread, sequence, data)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute((
                event.id.0.into_bytes(),
                &event.name,
                event.at.as_microsecond(),
                &event.source,
                &event.subject,
                id,
                sequence,
                &text.0,
            ))?;
        self.add_unconfirmed(1);
        Ok(())
    }

    /// Publishes what the store itself decided about a command: which, whose, about which referral; nothing of
    /// the patient. `more`: what else `schemas/events/<name>.json` asks for.
    pub(super) fn publish_about(&mut self, command: i64, name: &str, at: Timestamp, more: Value) -> Result<()> {
        let mut data = {
            let mut statement = self.connection.prepare_cached(
                "SELECT c.id, c.name, c.message, opened_json('command.body', c.id, c.body),
                        opened_json('thread.known', t.id, t.known)
                 FROM command c JOIN thread t ON t.number = c.thread WHERE c.number = ?1",
            )?;
            let mut rows = statement.query([command])?;
            let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            let mut data = Map::new();
            data.insert("command".into(), columns::uuid(row, 0)?.to_string().into());
            data.insert("commandName".into(), row.get::<_, String>(1)?.into());
            data.insert("message".into(), columns::uuid(row, 2)?.to_string().into());
            for (name, column) in [("localId", 3), ("ubrn", 4)] {
                if let Some(text) = columns::sealed_json(row, column)?[name].as_str() {
                    data.insert(name.into(), text.into());
                }
            }
            data
        };
        if let Value::Object(more) = more {
            data.extend(more);
        }
        self.publish_of(command, name, at, data)
    }

    /// Publishes an event of a command as it stands.
    pub(super) fn publish_of(
        &mut self,
        command: i64,
        name: &str,
        at: Timestamp,
        data: Map<String, Value>,
    ) -> Result<()> {
        let (id, thread, source) = self
            .connection
            .prepare_cached("SELECT id, thread, source FROM command WHERE number = ?1")?
            .query_row([command], |row| Ok((columns::uuid(row, 0), row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))?;
        let event = NewEvent {
            id: EventId(self.environment.new_id()),
            name: name.to_owned(),
            at,
            source: self.source_name(source)?.to_owned(),
            subject: id?.to_string(),
            data: data.into(),
        };
        let text = EventText::of(&event, &self.vault.sealer());
        self.publish(thread, &event, &text)
    }

    /// Notes that the broker has these. Those confirmed before stay as they are.
    pub(super) fn confirm(&mut self, positions: &[u64], at: Timestamp) -> Result<()> {
        let mut confirmed = 0;
        {
            let mut statement = self
                .connection
                .prepare_cached("UPDATE outbox SET confirmed_at = ?2 WHERE position = ?1 AND confirmed_at IS NULL")?;
            for position in positions {
                confirmed += statement.execute((columns::signed(*position), at.as_microsecond()))?;
            }
        }
        if confirmed > 0 {
            self.add_unconfirmed(-columns::signed(confirmed as u64));
        }
        Ok(())
    }
}

pub(super) fn unconfirmed(connection: &Connection, after: u64, max: usize) -> Result<Vec<StoredEvent>> {
    events(
        connection,
        "SELECT position, id, name, at, source, subject, thread, sequence, opened_json('outbox.data', id, data) FROM outbox
         INDEXED BY outbox_unconfirmed
         WHERE confirmed_at IS NULL AND position > ?1 ORDER BY position LIMIT ?2",
        after,
        max,
    )
}

pub(super) fn events_after(connection: &Connection, after: u64, max: usize) -> Result<Vec<StoredEvent>> {
    events(
        connection,
        "SELECT position, id, name, at, source, subject, thread, sequence, opened_json('outbox.data', id, data) FROM outbox
         WHERE position > ?1 ORDER BY position LIMIT ?2",
        after,
        max,
    )
}

fn events(connection: &Connection, sql: &str, after: u64, max: usize) -> Result<Vec<StoredEvent>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((columns::signed(after), columns::signed(max.min(EVENTS_MAX) as u64)))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(event(row)?);
    }
    Ok(events)
}

fn event(row: &Row<'_>) -> Result<StoredEvent> {
    Ok(StoredEvent {
        position: columns::count(row, 0)?,
        id: EventId(columns::uuid(row, 1)?),
        name: row.get(2)?,
        at: columns::time(row, 3)?,
        source: row.get(4)?,
        subject: row.get(5)?,
        thread: partition_key(row.get(6)?),
        sequence: columns::count(row, 7)?,
        data: columns::sealed_json(row, 8)?,
    })
}

pub(super) fn last_position(connection: &Connection) -> Result<u64> {
    let mut statement =
        connection.prepare_cached("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)")?;
    let mut rows = statement.query([])?;
    rows.next()?.map_or(Ok(0), |row| columns::count(row, 0))
}

pub(super) fn depth(connection: &Connection) -> Result<OutboxDepth> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce((SELECT value FROM meta WHERE name = 'unconfirmed_events'), 0),
                (SELECT at FROM outbox INDEXED BY outbox_unconfirmed
                 WHERE confirmed_at IS NULL ORDER BY position LIMIT 1)",
    )?;
    let mut rows = statement.query([])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(OutboxDepth { count: columns::count(row, 0)?, oldest: columns::optional_time(row, 1)? })
}
