//! A command changes its state: the row, its transition, the counts, and the order of its thread.

use jiff::Timestamp;
use serde_json::json;

use super::{Command, Creator, Transition, Workspace};
use crate::command::{CommandId, MessageId, State};
use crate::environment::Environment;
use crate::store::standing::Standing;
use crate::store::{GATEWAY, Result, Settled, due, leased};

impl Workspace {
    /// Puts a new command into its thread's queue. `makes`: it is the one that makes the thread's referral.
    pub(in crate::store::postgres) fn arrive(&mut self, mut command: Command, makes: bool) -> Result<()> {
        let is_behind = self.is_busy(command.thread);
        if command.standing == Standing::Held && !is_behind {
            command.standing = Standing::Ready;
        }
        let (number, thread, standing) = (command.number, command.thread, command.standing);
        let creates = command.creates.filter(|_| makes && standing != Standing::Shadowed);
        let creator = creates.map(|digest| Creator { command: number, id: command.id, digest });
        let settled = Settled { message: MessageId(command.message), command: CommandId(command.id) };
        self.enter(command.place());
        self.take_command(command);
        if standing.is_at_rest() {
            self.bells.settled.push(settled);
        }
        if is_behind && !standing.is_final() {
            self.raise(thread)?;
        }
        if creator.is_some() {
            let row = self.thread_mut(thread)?;
            row.creator = creator;
            row.changed = true;
        }
        Ok(())
    }

    /// Takes a command to another state. `by`: the gateway or a person.
    pub(in crate::store::postgres) fn change(
        &mut self,
        number: i64,
        to: &State,
        at: Timestamp,
        why: &str,
        by: &str,
    ) -> Result<()> {
        let row = self.command_mut(number)?;
        let (from, standing, thread) = (row.place(), Standing::of(to), row.thread);
        row.state = to.clone();
        row.changed_at = at;
        row.changed = true;
        if standing == Standing::Running && from.standing == Standing::Running {
            // The next step of the same run: told by its attempts, not a transition.
            return Ok(());
        }
        row.standing = standing;
        row.due = due(to);
        row.deferrals += i32::from(standing == Standing::Waiting);
        row.changes += 1;
        row.owner = None;
        row.lease_until = None;
        row.lease = None;
        let transition = Transition {
            command: number,
            number: row.changes,
            at,
            from: Some(from.standing.state_name()),
            to: standing.state_name(),
            why: why.to_owned(),
            by: by.to_owned(),
        };
        let settled = Settled { message: MessageId(row.message), command: CommandId(row.id) };
        let place = row.place();
        self.transitions.push(transition);
        self.leave(from);
        self.enter(place);
        if standing.is_final() {
            self.unfinished.entry(thread).or_default().remove(&number);
        }
        let thread_row = self.thread_mut(thread)?;
        let was_creator = thread_row.creator.is_some_and(|creator| creator.command == number);
        if was_creator && matches!(standing, Standing::Discarded | Standing::Shadowed) {
            thread_row.creator = None;
            thread_row.changed = true;
            self.orphans.insert(thread);
        }
        if standing.is_at_rest() {
            self.bells.settled.push(settled);
        }
        self.arrange(thread)
    }

    /// Says why a command is failed that was so when it came.
    pub(in crate::store::postgres) fn refuse_at_arrival(
        &mut self,
        number: i64,
        at: Timestamp,
        environment: &Environment,
    ) -> Result<()> {
        let State::Failed { why } = self.command_mut(number)?.state.clone() else { return Ok(()) };
        self.transitions.push(Transition {
            command: number,
            number: 1,
            at,
            from: None,
            to: Standing::Failed.state_name(),
            why: why.text.clone(),
            by: GATEWAY.into(),
        });
        self.publish_about(number, "CommandFailed", at, json!({ "code": why.code, "text": why.text }), environment)
    }

    /// Leases a command to an instance.
    pub(in crate::store::postgres) fn lease(&mut self, number: i64, lease: Lease<'_>) -> Result<()> {
        let row = self.command_mut(number)?;
        let from = row.place();
        row.state = leased(&row.state);
        row.standing = Standing::of(&row.state);
        row.changed_at = lease.at;
        row.due = None;
        row.changes += 1;
        // Never one that was given before. A claim that a crash of the database lost is not there to count on from.
        row.fence = lease.from.max(row.fence + 1);
        row.owner = Some(lease.owner.to_owned());
        row.lease = Some(lease.micros);
        row.lease_until = Some(lease.from + lease.micros);
        row.changed = true;
        let to = row.place();
        let transition = Transition {
            command: number,
            number: row.changes,
            at: lease.at,
            from: Some(from.standing.state_name()),
            to: to.standing.state_name(),
            why: "claimed".into(),
            by: lease.owner.to_owned(),
        };
        self.transitions.push(transition);
        self.leave(from);
        self.enter(to);
        Ok(())
    }

    /// What is in doubt and was being looked at, by a task that is gone: it is looked at again. False if it is not in doubt.
    pub(in crate::store::postgres) fn put_back_look(&mut self, number: i64) -> Result<bool> {
        let row = self.command_mut(number)?;
        if row.standing != Standing::InDoubt {
            return Ok(false);
        }
        (row.owner, row.lease_until, row.lease) = (None, None, None);
        row.changed = true;
        let thread = row.thread;
        self.arrange(thread)?;
        Ok(true)
    }

    /// Whoever holds the old fence is refused from now on.
    pub(in crate::store::postgres) fn raise_fence(&mut self, number: i64) -> Result<()> {
        let row = self.command_mut(number)?;
        row.fence += 1;
        row.changed = true;
        Ok(())
    }
}

/// For how long a command is one instance's.
#[derive(Clone, Copy)]
pub(in crate::store::postgres) struct Lease<'a> {
    pub(in crate::store::postgres) owner: &'a str,
    pub(in crate::store::postgres) at: Timestamp,
    /// Now, by the clock of the database.
    pub(in crate::store::postgres) from: i64,
    pub(in crate::store::postgres) micros: i64,
}
