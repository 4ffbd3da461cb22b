//! Rows into a workspace: threads under their locks, and the commands of these.

use tokio_postgres::Row;

use super::columns;
use super::failure::Failed;
use super::workspace::{Command, Creator, Thread, Workspace};
use crate::store::{Alias, AliasKind, Result, StoreError, damaged};

macro_rules! thread_columns {
    () => {
        "number, id, sequence, created_by, created_by_id, created_by_digest, purged_creator, purged_creator_id,
         purged_creates, known, merged_into"
    };
}
pub(super) use thread_columns;

/// `$1`: numbers of threads. In the order of their numbers, so that two transactions that want the same ones wait
/// for each other and never in a circle.
pub(super) const LOCK_THREADS: &str =
    concat!("SELECT ", thread_columns!(), " FROM thread WHERE number = ANY($1) ORDER BY number FOR UPDATE");

/// As `LOCK_THREADS`, but those that another transaction has are left out.
pub(super) const LOCK_FREE_THREADS: &str =
    concat!("SELECT ", thread_columns!(), " FROM thread WHERE number = ANY($1) ORDER BY number FOR UPDATE SKIP LOCKED");

/// `$1`: identifiers of commands, whose threads are locked.
pub(super) const LOCK_THREADS_OF: &str = concat!(
    "SELECT ",
    thread_columns!(),
    " FROM thread WHERE number IN (SELECT thread FROM command WHERE id = ANY($1)) ORDER BY number FOR UPDATE"
);

macro_rules! command_columns {
    () => {
        "c.number, c.id, c.message, c.thread, c.source, c.name, c.class, c.standing, c.state, c.changed_at, c.due,
         c.deferrals, c.changes, c.fence, c.owner, c.lease_until, c.lease, c.creates, c.local_id"
    };
}

/// `$1`: numbers of threads that are locked by now: a statement sees what was committed when it begins.
pub(super) const UNFINISHED: &str =
    concat!("SELECT ", command_columns!(), " FROM command c WHERE c.thread = ANY($1) AND c.standing < 7");

/// `$1`: identifiers of commands: they, and what is unfinished of their threads.
pub(super) const COMMANDS_AND_THEIRS: &str = concat!(
    "SELECT ",
    command_columns!(),
    " FROM command c WHERE c.id = ANY($1) UNION SELECT ",
    command_columns!(),
    " FROM command c WHERE c.thread IN (SELECT thread FROM command WHERE id = ANY($1)) AND c.standing < 7"
);

/// `$1`, `$2`: digests and kinds of aliases.
pub(super) const ALIASES: &str =
    "SELECT a.digest, a.kind, a.thread FROM unnest($1::bytea[], $2::smallint[]) AS u (digest, kind)
     JOIN alias a ON a.digest = u.digest AND a.kind = u.kind";

/// The database's clock, in microseconds.
pub(super) const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

pub(super) fn thread(row: &Row) -> Result<Thread> {
    Ok(Thread {
        number: row.try_get(0)?,
        id: row.try_get(1)?,
        sequence: row.try_get(2)?,
        creator: creator(row, 3)?,
        purged: creator(row, 6)?,
        known: row.try_get(9)?,
        merged_into: row.try_get(10)?,
        is_new: false,
        changed: false,
    })
}

/// From three columns that are all there or all `NULL`.
fn creator(row: &Row, first: usize) -> Result<Option<Creator>> {
    match (row.try_get(first)?, row.try_get(first + 1)?, columns::optional_digest(row, first + 2)?) {
        (Some(command), Some(id), Some(digest)) => Ok(Some(Creator { command, id, digest })),
        (None, None, None) => Ok(None),
        _ => Err(damaged("half of a thread's creator")),
    }
}

pub(super) fn command(row: &Row) -> Result<Command> {
    Ok(Command {
        number: row.try_get(0)?,
        id: row.try_get(1)?,
        message: row.try_get(2)?,
        thread: row.try_get(3)?,
        source: row.try_get(4)?,
        name: row.try_get(5)?,
        class: columns::class(row, 6)?,
        standing: columns::standing(row, 7)?,
        state: columns::read(row.try_get(8)?)?,
        changed_at: columns::time(row, 9)?,
        due: columns::optional_time(row, 10)?,
        deferrals: row.try_get(11)?,
        changes: row.try_get(12)?,
        fence: row.try_get(13)?,
        owner: row.try_get(14)?,
        lease_until: row.try_get(15)?,
        lease: row.try_get(16)?,
        creates: columns::optional_digest(row, 17)?,
        local_id: row.try_get(18)?,
        plan: None,
        ageless: false,
        arrival: None,
        changed: false,
    })
}

pub(super) fn alias(row: &Row) -> Result<(Alias, i64)> {
    const KINDS: [AliasKind; 5] =
        [AliasKind::LocalId, AliasKind::Ubrn, AliasKind::Appointment, AliasKind::Document, AliasKind::Command];
    let kind: i16 = row.try_get(1)?;
    let kind = KINDS.into_iter().find(|one| columns::alias_kind(*one) == kind);
    let kind = kind.ok_or_else(|| damaged("an unknown kind of alias"))?;
    Ok((Alias { kind, digest: columns::digest(row.try_get(0)?)? }, row.try_get(2)?))
}

/// Digests and kinds of aliases, sorted, each once.
pub(super) fn alias_keys<'a>(aliases: impl Iterator<Item = &'a Alias>) -> (Vec<&'a [u8]>, Vec<i16>) {
    let mut keys: Vec<_> = aliases.map(|alias| (&alias.digest[..], columns::alias_kind(alias.kind))).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().unzip()
}

impl Workspace {
    /// Takes in locked threads and their commands. Returns threads that must be locked as well: those that one of
    /// these was merged into.
    pub(super) fn take_rows(&mut self, threads: &[Row], commands: &[Row]) -> Result<Vec<i64>> {
        for row in threads {
            self.take_thread(thread(row)?);
        }
        for row in commands {
            self.take_command(command(row)?);
        }
        Ok(self.unlocked())
    }

    /// Takes in those threads that could be locked, of several that were asked for, and their commands alone.
    pub(super) fn take_locked(&mut self, threads: &[Row], commands: &[Row]) -> Result<()> {
        for row in threads {
            self.take_thread(thread(row)?);
        }
        for row in commands {
            if self.threads.contains_key(&row.try_get(3)?) {
                self.take_command(command(row)?);
            }
        }
        Ok(())
    }

    /// Fails, to be done again, if one of the commands is of a source that another instance met first.
    pub(super) fn know_sources(&self) -> std::result::Result<(), Failed> {
        match self.commands.values().all(|row| self.source_names.contains_key(&row.source)) {
            true => Ok(()),
            false => Err(Failed::Again(StoreError::Unavailable("a source is new".into()))),
        }
    }

    /// Threads that are spoken of and not locked yet.
    fn unlocked(&self) -> Vec<i64> {
        let merged = self.threads.values().filter_map(|thread| thread.merged_into);
        let of_commands = self.commands.values().map(|command| command.thread);
        let mut missing: Vec<i64> =
            merged.chain(of_commands).filter(|number| !self.threads.contains_key(number)).collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }
}
