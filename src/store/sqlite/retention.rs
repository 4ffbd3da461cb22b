//! Retention: what is finished and old leaves the file.
//!
//! Enters: one call of a round. Leaves: fewer rows. Guarantees: rows are looked at in the order of their numbers
//! and each once a round; what later decisions need is kept in the thread's row before its command goes; a call
//! is small, for admissions wait behind it. Neighbours go together, so that a batch is a few range deletes.

use std::ops::Range;

use super::books::{Books, Placed};
use super::columns;
use super::listing::DISORDER;
use super::patient;
use crate::store::patient::{IS_THEIRS, THREADS_OF_EVENTS};
use crate::store::standing::{Place, Standing};
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

pub(super) fn messages_sql() -> String {
    format!(
        "{} SELECT number, received_at, first_command, first_command + commands, size,
                verdict = 'rejected' AND control_id IS NOT NULL,
                EXISTS (
                  SELECT 1 FROM command c
                  WHERE c.number >= m.first_command AND c.number < m.first_command + m.commands AND c.standing < ?3
                ) OR {}
         FROM message m WHERE number > ?1 ORDER BY number LIMIT ?2",
        patient::held(),
        patient::here(IS_THEIRS)
    )
}

pub(super) fn events_sql() -> String {
    format!(
        "{} SELECT position, at, confirmed_at IS NOT NULL, thread IN ({THREADS_OF_EVENTS})
         FROM outbox WHERE position > ?1 ORDER BY position LIMIT ?2",
        patient::held()
    )
}

/// Messages that go, and their commands: as many ranges as runs, some of them empty.
#[derive(Default)]
struct OldMessages {
    runs: Runs,
    commands: Vec<Range<i64>>,
    /// Those whose control ids go with them.
    refused: Vec<i64>,
}

impl Books {
    pub(super) fn purge(&mut self, purge: &Purge) -> Result<Purged> {
        let mut purged = Purged { messages: 0, commands: 0, events: 0, next: None };
        self.make_mentions()?;
        let messages = self.purge_messages(purge, &mut purged)?;
        let events = self.purge_events(purge, &mut purged)?;
        match purge.messages_before {
            _ if !(messages.ended && events.ended) => {
                let (message, event) = (messages.place.unsigned_abs(), events.place.unsigned_abs());
                purged.next = Some(PurgePlace { message, event });
            }
            Some(before) => {
                self.forget_causes(before)?;
                self.forget_replays(before)?;
            }
            None => {}
        }
        Ok(purged)
    }

    fn purge_messages(&mut self, purge: &Purge, purged: &mut Purged) -> Result<Walk> {
        let mut walk = Walk { place: columns::signed(purge.from.message), ended: true };
        let Some(before) = purge.messages_before.map(jiff::Timestamp::as_microsecond) else { return Ok(walk) };
        let old = self.old_messages(before, purge.max.clamp(1, REMOVED_MAX), &mut walk)?;
        for message in old.refused {
            self.forget_control_id(message)?;
        }
        for range in old.commands.into_iter().filter(|range| !range.is_empty()) {
            purged.commands += self.remove_commands(&range)?;
        }
        for (first, last) in old.runs.0 {
            purged.messages += self.remove_messages(first, last)?;
        }
        if purged.messages > 0 {
            self.keep_numbers()?;
        }
        Ok(walk)
    }

    /// Goes on from `walk` until there are enough.
    fn old_messages(&self, before: i64, max: usize, walk: &mut Walk) -> Result<OldMessages> {
        let mut statement = self.connection.prepare_cached(&messages_sql())?;
        let mut rows = statement.query((walk.place, LOOKED_AT_MAX, Standing::Completed.code()))?;
        let mut old = OldMessages::default();
        let (mut looked_at, mut found, mut bytes, mut joins) = (0, 0, 0, false);
        while let Some(row) = rows.next()? {
            let received_at: i64 = row.get(1)?;
            if received_at >= before.saturating_add(DISORDER) {
                return Ok(old);
            }
            if found == max || bytes >= BYTES_MAX {
                walk.ended = false;
                return Ok(old);
            }
            let number: i64 = row.get(0)?;
            let stays: bool = row.get(6)?;
            walk.place = number;
            looked_at += 1;
            let goes = received_at < before && !stays;
            if goes {
                let commands = row.get(2)?..row.get(3)?;
                match old.commands.last_mut() {
                    Some(range) if joins => range.end = commands.end,
                    _ => old.commands.push(commands),
                }
                old.runs.add(number, joins);
                if row.get(5)? {
                    old.refused.push(number);
                }
                found += 1;
                bytes += row.get::<_, i64>(4)?;
            }
            joins = goes;
        }
        walk.ended = looked_at < LOOKED_AT_MAX;
        Ok(old)
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

    fn remove_commands(&mut self, range: &Range<i64>) -> Result<u64> {
        let range = (range.start, range.end);
        self.keep_creators(range)?;
        for (place, count) in self.places_in(range)? {
            self.leave_all(place, count);
        }
        let mut removed = 0;
        for sql in [
            "DELETE FROM fetched WHERE command >= ?1 AND command < ?2",
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
            "DELETE FROM mention WHERE message >= ?1 AND message <= ?2",
            "DELETE FROM blame WHERE message >= ?1 AND message <= ?2",
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
        let max = purge.max.clamp(1, REMOVED_MAX);
        let (runs, unconfirmed) = self.old_events(purge, before, max, &mut walk)?;
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

    /// Goes on from `walk` until there are enough. Also how many of them no broker has confirmed.
    fn old_events(&self, purge: &Purge, before: i64, max: usize, walk: &mut Walk) -> Result<(Runs, i64)> {
        let told_up_to = columns::signed(purge.told_up_to);
        let mut statement = self.connection.prepare_cached(&events_sql())?;
        let mut rows = statement.query((walk.place, LOOKED_AT_MAX))?;
        let (mut runs, mut unconfirmed) = (Runs::default(), 0);
        let (mut looked_at, mut found, mut joins) = (0, 0, false);
        while let Some(row) = rows.next()? {
            let at: i64 = row.get(1)?;
            if at >= before.saturating_add(DISORDER) || row.get::<_, i64>(0)? > told_up_to {
                return Ok((runs, unconfirmed));
            }
            if found == max {
                walk.ended = false;
                return Ok((runs, unconfirmed));
            }
            walk.place = row.get(0)?;
            looked_at += 1;
            let is_confirmed: bool = row.get(2)?;
            let is_held: bool = row.get(3)?;
            let goes = at < before && (is_confirmed || !purge.keep_unconfirmed) && !is_held;
            if goes {
                runs.add(walk.place, joins);
                found += 1;
                unconfirmed += i64::from(!is_confirmed);
            }
            joins = goes;
        }
        walk.ended = looked_at < LOOKED_AT_MAX;
        Ok((runs, unconfirmed))
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
