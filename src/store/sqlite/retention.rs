//! Retention: what is finished and old leaves the file.
//!
//! Enters: one call of a round. Leaves: fewer rows. Guarantees: rows are looked at in the order of their numbers
//! and each once a round; what later decisions need is kept in the thread's row before its command goes; a call
//! is small, for admissions wait behind it. Neighbours go together, so that a batch is a few range deletes.

use super::books::{Books, Placed};
use super::columns;
use super::listing::DISORDER;
use super::standing::{Place, Standing};
use crate::store::{Purge, PurgePlace, Purged, Result};

/// Messages, and events, removed by one call.
const REMOVED_MAX: usize = 250;
/// Messages, and events, looked at by one call.
const LOOKED_AT_MAX: i64 = 2_000;
/// Bytes of messages removed by one call. Long ones are many pages to free.
const BYTES_MAX: i64 = 8 << 20;

/// Where a walk over rows ended.
struct Walk {
    place: i64,
    ended: bool,
}

/// Rows without one between them that stays.
#[derive(Debug, Default, PartialEq, Eq)]
struct Runs(Vec<(i64, i64)>);

impl Runs {
    /// `joins`: no row between the one before and this one stays.
    fn add(&mut self, number: i64, joins: bool) {
        match self.0.last_mut() {
            Some((_, last)) if joins => *last = number,
            _ => self.0.push((number, number)),
        }
    }
}

/// What is looked at of a message.
struct OldMessage {
    number: i64,
    received_at: i64,
    commands: std::ops::Range<i64>,
    size: i64,
    is_refused: bool,
    is_finished: bool,
}

impl Books {
    pub(super) fn purge(&mut self, purge: &Purge) -> Result<Purged> {
        let mut purged = Purged { messages: 0, commands: 0, events: 0, next: None };
        let messages = self.purge_messages(purge, &mut purged)?;
        let events = self.purge_events(purge, &mut purged)?;
        if !(messages.ended && events.ended) {
            purged.next =
                Some(PurgePlace { message: messages.place.unsigned_abs(), event: events.place.unsigned_abs() });
        }
        Ok(purged)
    }

    fn purge_messages(&mut self, purge: &Purge, purged: &mut Purged) -> Result<Walk> {
        let mut walk = Walk { place: columns::signed(purge.from.message), ended: true };
        let Some(before) = purge.messages_before.map(jiff::Timestamp::as_microsecond) else { return Ok(walk) };
        let max = purge.max.min(REMOVED_MAX);
        let looked_at = self.messages_after(walk.place)?;
        walk.ended = columns::signed(looked_at.len() as u64) < LOOKED_AT_MAX;
        let (mut runs, mut commands) = (Runs::default(), Vec::<std::ops::Range<i64>>::new());
        let (mut count, mut bytes, mut joins) = (0, 0, false);
        for message in looked_at {
            if message.received_at >= before.saturating_add(DISORDER) {
                walk.ended = true;
                break;
            }
            if count == max || bytes >= BYTES_MAX {
                walk.ended = false;
                break;
            }
            walk.place = message.number;
            let goes = message.is_finished && message.received_at < before;
            if goes {
                if message.is_refused {
                    self.forget_control_id(message.number)?;
                }
                runs.add(message.number, joins);
                match commands.last_mut() {
                    Some(range) if joins => range.end = message.commands.end,
                    _ => commands.push(message.commands),
                }
                count += 1;
                bytes += message.size;
            }
            joins = goes;
        }
        for range in commands.into_iter().filter(|range| !range.is_empty()) {
            purged.commands += self.remove_commands(&range)?;
        }
        for (first, last) in runs.0 {
            purged.messages += self.remove_messages(first, last)?;
        }
        if purged.messages > 0 {
            self.keep_numbers()?;
        }
        Ok(walk)
    }

    fn messages_after(&self, number: i64) -> Result<Vec<OldMessage>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, received_at, first_command, commands, size, verdict = 'rejected' AND control_id IS NOT NULL,
                    NOT EXISTS (
                      SELECT 1 FROM command c
                      WHERE c.number >= m.first_command AND c.number < m.first_command + m.commands AND c.standing < ?3
                    )
             FROM message m WHERE number > ?1 ORDER BY number LIMIT ?2",
        )?;
        let messages = statement.query_map((number, LOOKED_AT_MAX, Standing::Completed.code()), |row| {
            let first: i64 = row.get(2)?;
            Ok(OldMessage {
                number: row.get(0)?,
                received_at: row.get(1)?,
                commands: first..first + row.get::<_, i64>(3)?,
                size: row.get(4)?,
                is_refused: row.get(5)?,
                is_finished: row.get(6)?,
            })
        })?;
        Ok(messages.collect::<rusqlite::Result<_>>()?)
    }

    /// A refused message is new when it comes again: nothing came of it.
    fn forget_control_id(&self, message: i64) -> Result<()> {
        self.connection
            .prepare_cached(
                "DELETE FROM dedup
                 WHERE source = (SELECT source FROM message WHERE number = ?1)
                   AND control_id = (SELECT control_id FROM message WHERE number = ?1)
                   AND message = (SELECT id FROM message WHERE number = ?1)",
            )?
            .execute([message])?;
        Ok(())
    }

    fn remove_commands(&mut self, range: &std::ops::Range<i64>) -> Result<u64> {
        let range = (range.start, range.end);
        self.keep_creators(range)?;
        for (place, count) in self.places_in(range)? {
            self.leave_all(place, count);
        }
        let mut removed = 0;
        for sql in [
            "DELETE FROM attempt WHERE command >= ?1 AND command < ?2",
            "DELETE FROM transition WHERE command >= ?1 AND command < ?2",
            "DELETE FROM command WHERE number >= ?1 AND number < ?2",
        ] {
            removed = self.connection.prepare_cached(sql)?.execute(range)?;
        }
        Ok(removed as u64)
    }

    /// Notes in their threads which of these commands made a referral, and with which digest.
    fn keep_creators(&self, range: (i64, i64)) -> Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE thread SET purged_creator = c.number, purged_creator_id = c.id, purged_creates = c.creates
                 FROM (
                   SELECT thread, min(number) AS number, id, creates FROM command
                   WHERE number >= ?1 AND number < ?2 AND creates IS NOT NULL AND standing = ?3 GROUP BY thread
                 ) c
                 WHERE thread.number = c.thread
                   AND (thread.purged_creator IS NULL OR thread.purged_creator > c.number)",
            )?
            .execute((range.0, range.1, Standing::Completed.code()))?;
        Ok(())
    }

    fn places_in(&self, range: (i64, i64)) -> Result<Vec<(Place, i64)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT max(number), max(thread), standing, class, source, count(*) FROM command
             WHERE number >= ?1 AND number < ?2 GROUP BY standing, class, source",
        )?;
        let mut rows = statement.query(range)?;
        let mut places = Vec::new();
        while let Some(row) = rows.next()? {
            places.push((Placed::of(row)?.place(), row.get(5)?));
        }
        Ok(places)
    }

    fn remove_messages(&self, first: i64, last: i64) -> Result<u64> {
        let mut removed = 0;
        for sql in [
            "DELETE FROM message_chunk WHERE message >= ?1 AND message <= ?2",
            "DELETE FROM document WHERE message >= ?1 AND message <= ?2",
            "DELETE FROM acknowledged WHERE message >= ?1 AND message <= ?2",
            "DELETE FROM message WHERE number >= ?1 AND number <= ?2",
        ] {
            removed = self.connection.prepare_cached(sql)?.execute((first, last))?;
        }
        Ok(removed as u64)
    }

    fn purge_events(&mut self, purge: &Purge, purged: &mut Purged) -> Result<Walk> {
        let mut walk = Walk { place: columns::signed(purge.from.event), ended: true };
        let Some(before) = purge.events_before.map(jiff::Timestamp::as_microsecond) else { return Ok(walk) };
        let max = purge.max.min(REMOVED_MAX);
        let looked_at = self.event_ages_after(walk.place)?;
        walk.ended = columns::signed(looked_at.len() as u64) < LOOKED_AT_MAX;
        let (mut runs, mut count, mut unconfirmed, mut joins) = (Runs::default(), 0, 0, false);
        for (position, at, is_confirmed) in looked_at {
            if at >= before.saturating_add(DISORDER) {
                walk.ended = true;
                break;
            }
            if count == max {
                walk.ended = false;
                break;
            }
            walk.place = position;
            let goes = at < before && (is_confirmed || !purge.keep_unconfirmed);
            if goes {
                runs.add(position, joins);
                count += 1;
                unconfirmed += i64::from(!is_confirmed);
            }
            joins = goes;
        }
        {
            let mut remove =
                self.connection.prepare_cached("DELETE FROM outbox WHERE position >= ?1 AND position <= ?2")?;
            for run in runs.0 {
                purged.events += remove.execute(run)? as u64;
            }
        }
        if unconfirmed > 0 {
            self.add_unconfirmed(-unconfirmed);
        }
        Ok(walk)
    }

    /// Position, time, and whether it is confirmed.
    fn event_ages_after(&self, position: i64) -> Result<Vec<(i64, i64, bool)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT position, at, confirmed_at IS NOT NULL FROM outbox WHERE position > ?1 ORDER BY position LIMIT ?2",
        )?;
        let events =
            statement.query_map((position, LOOKED_AT_MAX), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(events.collect::<rusqlite::Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_parts_the_runs() {
        let mut runs = Runs::default();
        for (number, joins) in [(1, false), (2, true), (5, true), (7, false), (8, true), (12, false)] {
            runs.add(number, joins);
        }
        assert_eq!(runs.0, [(1, 5), (7, 8), (12, 12)]);
    }
}
