//! The queue as a whole: counts from the tally, and the oldest of each place from the queue's index.

use jiff::Timestamp;
use rusqlite::Connection;

use super::columns;
use crate::command::{Class, CommandId};
use crate::store::queue::{shares, told_standing};
use crate::store::{Queue, QueuePlace, QueueStanding, QueuedCommand, Result};

struct Taken {
    standing: i64,
    class: Class,
    source: i64,
    source_name: String,
    count: u64,
    newest: Option<Timestamp>,
}

pub(super) fn queue(connection: &Connection, max: u64) -> Result<Queue> {
    let taken = taken(connection)?;
    let counts: Vec<u64> = taken.iter().map(|place| place.count).collect();
    let mut queue = Queue::default();
    for (place, share) in taken.into_iter().zip(shares(&counts, max)) {
        let commands = oldest(connection, &place, share)?;
        queue.places.push(QueuePlace {
            standing: told_standing(place.standing)?,
            class: place.class,
            source: place.source_name,
            count: place.count,
            newest: place.newest.unwrap_or(Timestamp::UNIX_EPOCH),
            commands,
        });
    }
    Ok(queue)
}

fn taken(connection: &Connection) -> Result<Vec<Taken>> {
    let mut statement = connection.prepare_cached(
        "SELECT standing, class, source, (SELECT name FROM source WHERE number = tally.source), count, (
           SELECT received_at FROM command INDEXED BY command_queue
           WHERE standing = tally.standing AND standing <> 7 AND class = tally.class AND source = tally.source
           ORDER BY number DESC LIMIT 1
         )
         FROM tally WHERE standing < ?1 AND count > 0",
    )?;
    let mut rows = statement.query([QueueStanding::CODES_BELOW])?;
    let mut taken = Vec::new();
    while let Some(row) = rows.next()? {
        taken.push(Taken {
            standing: row.get(0)?,
            class: columns::class(row, 1)?,
            source: row.get(2)?,
            source_name: row.get(3)?,
            count: columns::count(row, 4)?,
            newest: columns::optional_time(row, 5)?,
        });
    }
    Ok(taken)
}

fn oldest(connection: &Connection, place: &Taken, max: u64) -> Result<Vec<QueuedCommand>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, number, thread, name, received_at, due FROM command INDEXED BY command_queue
         WHERE standing = ?1 AND standing <> 7 AND class = ?2 AND source = ?3 ORDER BY number LIMIT ?4",
    )?;
    let mut rows = statement.query((place.standing, place.class.rank(), place.source, columns::signed(max)))?;
    let mut commands = Vec::new();
    while let Some(row) = rows.next()? {
        commands.push(QueuedCommand {
            id: CommandId(columns::uuid(row, 0)?),
            number: row.get(1)?,
            thread: row.get(2)?,
            name: row.get(3)?,
            received_at: columns::time(row, 4)?,
            due: columns::optional_time(row, 5)?,
        });
    }
    Ok(commands)
}
