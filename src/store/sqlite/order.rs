//! Order within a thread: one command at a time is claimable, in arrival order.
//!
//! A thread's first unfinished command is its head. A queued head is ready and a waiting head is due at its
//! time, but only while no other command of the thread runs (after a merge, one may). All others are held.

use jiff::Timestamp;

use super::books::{Books, Placed};
use super::columns;
use crate::command::Class;
use crate::store::standing::Standing;
use crate::store::{Result, due};

impl Books {
    /// Makes the head claimable and nothing else. To be called whenever something of the thread changed.
    pub(super) fn arrange(&mut self, thread: i64) -> Result<()> {
        let head = self.head(thread)?;
        let running = self.first(thread, Standing::Running)?.is_some();
        let claimable = head.filter(|_| !running);
        for ready in self.numbers(thread, Standing::Ready)? {
            if claimable != Some(ready) {
                self.place(ready, Standing::Held)?;
            }
        }
        for standing in [Standing::Waiting, Standing::InDoubt] {
            for number in self.numbers(thread, standing)? {
                self.set_due(number, claimable == Some(number))?;
            }
        }
        if let Some(head) = claimable
            && self.first(thread, Standing::Held)? == Some(head)
        {
            self.place(head, Standing::Ready)?;
        }
        Ok(())
    }

    /// The first unfinished command: seven probes of an index, however long the thread is.
    pub(super) fn head(&self, thread: i64) -> Result<Option<i64>> {
        let mut head = None;
        for standing in Standing::ALL.into_iter().filter(|standing| !standing.is_final()) {
            let first = self.first(thread, standing)?;
            head = match (head, first) {
                (Some(head), Some(first)) => Some(std::cmp::min::<i64>(head, first)),
                (head, first) => head.or(first),
            };
        }
        Ok(head)
    }

    fn first(&self, thread: i64, standing: Standing) -> Result<Option<i64>> {
        Ok(self
            .connection
            .prepare_cached("SELECT min(number) FROM command WHERE thread = ?1 AND standing = ?2")?
            .query_row((thread, standing.code()), |row| row.get(0))?)
    }

    fn numbers(&self, thread: i64, standing: Standing) -> Result<Vec<i64>> {
        let mut statement =
            self.connection.prepare_cached("SELECT number FROM command WHERE thread = ?1 AND standing = ?2")?;
        let numbers = statement.query_map((thread, standing.code()), |row| row.get(0))?;
        Ok(numbers.collect::<rusqlite::Result<_>>()?)
    }

    /// Moves a queued command between ready and held. No change of state, so no transition.
    fn place(&mut self, number: i64, standing: Standing) -> Result<()> {
        let placed = self.placed(number)?;
        self.leave(placed.place());
        self.connection
            .prepare_cached("UPDATE command SET standing = ?2 WHERE number = ?1")?
            .execute((number, standing.code()))?;
        self.enter(placed.at(standing));
        Ok(())
    }

    fn set_due(&mut self, number: i64, claimable: bool) -> Result<()> {
        let (wanted, found) = {
            let mut statement =
                self.connection.prepare_cached("SELECT state, due, owner IS NULL FROM command WHERE number = ?1")?;
            let mut rows = statement.query([number])?;
            let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            // What is in doubt is in somebody's hands while it is looked at.
            let free: bool = row.get(2)?;
            (due(&columns::state(row, 0)?).filter(|_| claimable && free), columns::optional_time(row, 1)?)
        };
        if wanted != found {
            self.connection
                .prepare_cached("UPDATE command SET due = ?2 WHERE number = ?1")?
                .execute((number, wanted.map(Timestamp::as_microsecond)))?;
            self.a_command_may_be_claimable();
        }
        Ok(())
    }

    pub(super) fn placed(&self, number: i64) -> Result<Placed> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT number, thread, standing, class, source FROM command WHERE number = ?1")?;
        let mut rows = statement.query([number])?;
        Placed::of(rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?)
    }

    /// Gives every unfinished command that is in the way of a more urgent one of its thread that one's class
    /// (`design.md` section 8).
    pub(super) fn raise(&mut self, thread: i64) -> Result<()> {
        let mut unfinished = Vec::new();
        for standing in Standing::ALL.into_iter().filter(|standing| !standing.is_final()) {
            for number in self.numbers(thread, standing)? {
                unfinished.push(self.placed(number)?);
            }
        }
        unfinished.sort_by_key(|placed| std::cmp::Reverse(placed.number));
        let mut most_urgent = Class::Bulk;
        for placed in unfinished {
            most_urgent = most_urgent.min(placed.class);
            if most_urgent < placed.class {
                self.leave(placed.place());
                self.connection
                    .prepare_cached("UPDATE command SET class = ?2 WHERE number = ?1")?
                    .execute((placed.number, most_urgent.rank()))?;
                self.enter(Placed { class: most_urgent, ..placed }.place());
            }
        }
        Ok(())
    }
}
