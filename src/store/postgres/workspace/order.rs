//! Order within a thread: one command at a time is claimable, in arrival order.
//!
//! A thread's first unfinished command is its head. A queued head is ready and a waiting head is due at its
//! time, but only while no other command of the thread runs (after a merge, one may). All others are held.

use super::Workspace;
use crate::command::Class;
use crate::store::standing::Standing;
use crate::store::{Result, due};

impl Workspace {
    /// Makes the head claimable and nothing else. To be called whenever something of the thread changed.
    pub(super) fn arrange(&mut self, thread: i64) -> Result<()> {
        let numbers: Vec<i64> = self.unfinished.get(&thread).into_iter().flatten().copied().collect();
        let runs = |number: &i64| self.commands.get(number).is_some_and(|row| row.standing == Standing::Running);
        let claimable = numbers.first().copied().filter(|_| !numbers.iter().any(runs));
        for number in numbers {
            let is_claimable = claimable == Some(number);
            match self.command_mut(number)?.standing {
                Standing::Ready if !is_claimable => self.place(number, Standing::Held)?,
                Standing::Held if is_claimable => self.place(number, Standing::Ready)?,
                Standing::Waiting | Standing::InDoubt => self.set_due(number, is_claimable)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Moves a queued command between ready and held. No change of state, so no transition.
    fn place(&mut self, number: i64, standing: Standing) -> Result<()> {
        let row = self.command_mut(number)?;
        let from = row.place();
        row.standing = standing;
        row.changed = true;
        let to = row.place();
        self.leave(from);
        self.enter(to);
        Ok(())
    }

    fn set_due(&mut self, number: i64, claimable: bool) -> Result<()> {
        let row = self.command_mut(number)?;
        // What is in doubt is in somebody's hands while it is looked at.
        let wanted = due(&row.state).filter(|_| claimable && row.owner.is_none());
        if wanted != row.due {
            row.due = wanted;
            row.changed = true;
            self.bells.commands = true;
        }
        Ok(())
    }

    /// What is not urgent goes behind what comes in, unless something more urgent waits behind it.
    pub(in crate::store::postgres) fn stand_behind(&mut self, number: i64) -> Result<()> {
        let row = self.command_mut(number)?;
        let (from, thread, class) = (row.place(), row.thread, row.class.in_bulk());
        if class != row.class {
            row.class = class;
            row.changed = true;
            let to = row.place();
            self.leave(from);
            self.enter(to);
            self.raise(thread)?;
        }
        Ok(())
    }

    /// Gives every unfinished command that is in the way of a more urgent one of its thread that one's class
    /// (`design.md` section 8).
    pub(super) fn raise(&mut self, thread: i64) -> Result<()> {
        let numbers: Vec<i64> = self.unfinished.get(&thread).into_iter().flatten().rev().copied().collect();
        let mut most_urgent = Class::Bulk;
        for number in numbers {
            let row = self.command_mut(number)?;
            most_urgent = most_urgent.min(row.class);
            if most_urgent < row.class {
                let from = row.place();
                row.class = most_urgent;
                row.changed = true;
                let to = row.place();
                self.leave(from);
                self.enter(to);
            }
        }
        Ok(())
    }
}
