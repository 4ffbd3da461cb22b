//! Threads: found by alias, and merged when two aliases turn out to mean the same referral.

use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value};

use super::books::Books;
use super::columns;
use crate::command::{CommandId, ThreadId};
use crate::store::damaged;
use crate::store::standing::Standing;
use crate::store::vault::Column;
use crate::store::{Alias, AliasKind, Result, ThreadView};

/// How often a thread may have been merged into another before it is damaged data.
const MERGES_MAX: usize = 10_000;

/// The number of an alias' kind in its row.
fn kind_code(kind: AliasKind) -> i64 {
    match kind {
        AliasKind::LocalId => 1,
        AliasKind::Ubrn => 2,
        AliasKind::Appointment => 3,
        AliasKind::Document => 4,
        AliasKind::Command => 5,
    }
}

/// The thread that an alias leads to, merges followed.
pub(super) fn find(connection: &Connection, alias: &Alias) -> Result<Option<i64>> {
    let thread = connection
        .prepare_cached("SELECT thread FROM alias WHERE digest = ?1 AND kind = ?2")?
        .query_row((alias.digest, kind_code(alias.kind)), |row| row.get(0))
        .optional()?;
    thread.map(|thread| follow_merges(connection, thread)).transpose()
}

fn follow_merges(connection: &Connection, mut thread: i64) -> Result<i64> {
    let mut statement = connection.prepare_cached("SELECT merged_into FROM thread WHERE number = ?1")?;
    for _ in 0..MERGES_MAX {
        match statement.query_row([thread], |row| row.get::<_, Option<i64>>(0))? {
            Some(into) => thread = into,
            None => return Ok(thread),
        }
    }
    Err(damaged("threads are merged in a circle"))
}

pub(super) fn view(connection: &Connection, thread: i64) -> Result<ThreadView> {
    let mut statement = connection.prepare_cached(
        "SELECT t.id, opened_json('thread.known', t.id, t.known), coalesce(c.id, t.purged_creator_id)
         FROM thread t LEFT JOIN command c ON c.number = t.created_by WHERE t.number = ?1",
    )?;
    let mut rows = statement.query([thread])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(ThreadView {
        id: ThreadId(columns::uuid(row, 0)?),
        known: columns::sealed_json(row, 1)?,
        created_by: row.get::<_, Option<[u8; 16]>>(2)?.map(|id| CommandId(uuid::Uuid::from_bytes(id))),
    })
}

impl Books {
    /// The thread that the aliases name: found, merged if they lead to several, or new with the identifier
    /// `id` (that of what begins it, so that no other is needed). All of them lead to it afterwards.
    pub(super) fn thread_of(&mut self, aliases: &[Alias], id: uuid::Uuid) -> Result<i64> {
        let mut found = Vec::with_capacity(aliases.len());
        for alias in aliases {
            found.push(find(&self.connection, alias)?);
        }
        let mut thread = None;
        for other in found.iter().flatten().copied() {
            thread = Some(match thread {
                None => other,
                Some(thread) if thread == other => thread,
                // `other` may be what an earlier pair of this loop merged.
                Some(thread) => self.merge(thread, self.surviving(other)?)?,
            });
        }
        let thread = match thread {
            Some(thread) => thread,
            None => self.begin_thread(id)?,
        };
        for (alias, found) in aliases.iter().zip(found) {
            if found != Some(thread) {
                self.name(thread, alias)?;
            }
        }
        Ok(thread)
    }

    /// What became of a thread by merges.
    pub(super) fn surviving(&self, thread: i64) -> Result<i64> {
        follow_merges(&self.connection, thread)
    }

    /// A thread that nothing names, for the events of a message without commands.
    pub(super) fn begin_thread(&mut self, id: uuid::Uuid) -> Result<i64> {
        Ok(self
            .connection
            .prepare_cached("INSERT INTO thread (id, sequence) VALUES (?1, 0)")?
            .insert([id.into_bytes()])?)
    }

    /// Adds aliases to a thread, merging it with those that they already name. Returns what it became.
    pub(super) fn add_aliases(&mut self, mut thread: i64, aliases: &[Alias]) -> Result<i64> {
        for alias in aliases {
            match find(&self.connection, alias)? {
                Some(other) => thread = self.merge(thread, other)?,
                None => self.name(thread, alias)?,
            }
        }
        Ok(thread)
    }

    fn name(&self, thread: i64, alias: &Alias) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO alias (digest, kind, thread) VALUES (?1, ?2, ?3)
                 ON CONFLICT (digest, kind) DO UPDATE SET thread = excluded.thread",
            )?
            .execute((alias.digest, kind_code(alias.kind), thread))?;
        Ok(())
    }

    /// Makes one thread of two; the older one survives. What both know is kept, the survivor's where they
    /// disagree; its next event follows the highest sequence of either.
    fn merge(&mut self, one: i64, other: i64) -> Result<i64> {
        if one == other {
            return Ok(one);
        }
        let (survivor, absorbed) = (one.min(other), one.max(other));
        let (_, mut known) = self.known(absorbed)?;
        let (id, survivors) = self.known(survivor)?;
        known.extend(survivors);
        let known = if known.is_empty() { None } else { Some(self.sealed_known(id, known)) };
        self.connection
            .prepare_cached("UPDATE command SET thread = ?1 WHERE thread = ?2")?
            .execute((survivor, absorbed))?;
        self.connection
            .prepare_cached(
                "UPDATE thread SET
                   sequence = max(sequence, (SELECT sequence FROM thread WHERE number = ?2)),
                   known = ?3
                 WHERE number = ?1",
            )?
            .execute((survivor, absorbed, known))?;
        self.connection
            .prepare_cached(
                "UPDATE thread SET purged_creator = other.purged_creator, purged_creator_id = other.purged_creator_id,
                   purged_creates = other.purged_creates
                 FROM thread other
                 WHERE thread.number = ?1 AND other.number = ?2
                   AND other.purged_creator < coalesce(thread.purged_creator, other.purged_creator + 1)",
            )?
            .execute((survivor, absorbed))?;
        self.connection
            .prepare_cached(
                "UPDATE thread SET merged_into = ?1, created_by = NULL, known = NULL, purged_creator = NULL,
                   purged_creator_id = NULL, purged_creates = NULL
                 WHERE number = ?2",
            )?
            .execute((survivor, absorbed))?;
        self.find_creator(survivor)?;
        self.raise(survivor)?;
        self.arrange(survivor)?;
        Ok(survivor)
    }

    /// Where it cannot be read, that it cannot: two threads of which one is so are one in which nothing is sent.
    fn known(&self, thread: i64) -> Result<(ThreadId, Map<String, Value>)> {
        let ThreadView { id, known, .. } = view(&self.connection, thread)?;
        match known {
            Value::Object(known) => Ok((id, known)),
            _ => Ok((id, Map::new())),
        }
    }

    fn sealed_known(&self, thread: ThreadId, known: Map<String, Value>) -> String {
        self.vault.seal_text(Column::ThreadKnown.of_id(thread.0), Value::Object(known).to_string())
    }

    /// Merges `news` into what is known of a thread, key by key.
    pub(super) fn learn(&mut self, thread: i64, news: &Value) -> Result<()> {
        let Value::Object(news) = news else { return Ok(()) };
        let (id, mut known) = self.known(thread)?;
        known.extend(news.clone());
        self.connection
            .prepare_cached("UPDATE thread SET known = ?2 WHERE number = ?1")?
            .execute((thread, self.sealed_known(id, known)))?;
        Ok(())
    }

    /// Notes which command makes the thread's referral: the first that would, and is neither discarded nor
    /// only shadowed; or one that did and was purged, if that came before.
    pub(super) fn find_creator(&mut self, thread: i64) -> Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE thread SET created_by = (
                   SELECT min(number) FROM (
                     SELECT number FROM command
                     WHERE thread = ?1 AND creates IS NOT NULL AND standing NOT IN (?2, ?3)
                     UNION ALL SELECT thread.purged_creator
                   )
                 ) WHERE number = ?1",
            )?
            .execute((thread, Standing::Discarded.code(), Standing::Shadowed.code()))?;
        Ok(())
    }

    /// True if anything of the thread is unfinished.
    pub(super) fn is_busy(&self, thread: i64) -> Result<bool> {
        Ok(self
            .connection
            .prepare_cached("SELECT 1 FROM command WHERE thread = ?1 AND standing < ?2 LIMIT 1")?
            .exists((thread, Standing::Completed.code()))?)
    }
}
