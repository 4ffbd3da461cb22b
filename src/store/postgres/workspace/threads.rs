//! Threads: found by alias, and merged when two aliases turn out to mean the same referral.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Creator, Named, Thread, Workspace};
use crate::command::{CommandId, ThreadId};
use crate::store::postgres::columns;
use crate::store::unreadable::read_json;
use crate::store::vault::{Column, Vault};
use crate::store::{Alias, Result, ThreadView, damaged};

impl Thread {
    pub(in crate::store::postgres) fn view(&self, vault: &Vault) -> Result<ThreadView> {
        let place = Column::ThreadKnown.of_id(self.id);
        let known = self.known.as_deref().map(|known| read_json(vault.open_text(place, known))).transpose()?;
        Ok(ThreadView {
            id: ThreadId(self.id),
            known: known.unwrap_or(Value::Null),
            created_by: self.creator.map(|creator| CommandId(creator.id)),
        })
    }

    /// Where it cannot be read, that it cannot: two threads of which one is so are one in which nothing is sent.
    fn known(&self, vault: &Vault) -> Result<Option<Map<String, Value>>> {
        let place = Column::ThreadKnown.of_id(self.id);
        let known = self.known.as_deref().map(|known| read_json(vault.open_text(place, known))).transpose()?;
        Ok(known.and_then(|known| match known {
            Value::Object(known) => Some(known),
            _ => None,
        }))
    }

    fn keep_known(&mut self, known: Map<String, Value>, vault: &Vault) {
        let text = Value::Object(known).to_string();
        self.known = Some(vault.seal_text(Column::ThreadKnown.of_id(self.id), text));
    }
}

impl Workspace {
    /// The thread that the aliases name: found, merged if they lead to several, or new with the identifier `id`.
    /// All of them lead to it afterwards.
    pub(in crate::store::postgres) fn thread_of(&mut self, aliases: &[Alias], id: Uuid) -> Result<i64> {
        let mut thread = None;
        for alias in aliases {
            let Some(other) = self.find(alias)? else { continue };
            thread = Some(match thread {
                None => other,
                Some(thread) => self.merge(self.surviving(thread)?, other)?,
            });
        }
        let thread = match thread {
            Some(thread) => thread,
            None => self.begin_thread(id)?,
        };
        for alias in aliases {
            if self.aliases.get(alias) != Some(&thread) {
                self.name(thread, alias);
            }
        }
        Ok(thread)
    }

    fn find(&self, alias: &Alias) -> Result<Option<i64>> {
        self.aliases.get(alias).map(|thread| self.surviving(*thread)).transpose()
    }

    /// What became of a thread by merges.
    pub(in crate::store::postgres) fn surviving(&self, mut thread: i64) -> Result<i64> {
        for _ in 0..=self.threads.len() {
            match self.thread(thread)?.merged_into {
                Some(into) => thread = into,
                None => return Ok(thread),
            }
        }
        Err(damaged("threads are merged in a circle"))
    }

    pub(in crate::store::postgres) fn begin_thread(&mut self, id: Uuid) -> Result<i64> {
        let number = self.thread_numbers.pop().ok_or_else(|| damaged("too few numbers for threads were drawn"))?;
        self.take_thread(Thread {
            number,
            id,
            sequence: 0,
            creator: None,
            purged: None,
            known: None,
            merged_into: None,
            is_new: true,
            changed: false,
        });
        Ok(number)
    }

    /// Adds aliases to a thread, merging it with those that they already name. Returns what it became.
    pub(in crate::store::postgres) fn add_aliases(&mut self, mut thread: i64, aliases: &[Alias]) -> Result<i64> {
        for alias in aliases {
            match self.find(alias)? {
                Some(other) => thread = self.merge(thread, other)?,
                None => self.name(thread, alias),
            }
        }
        Ok(thread)
    }

    fn name(&mut self, thread: i64, alias: &Alias) {
        let key = (alias.digest.to_vec(), columns::alias_kind(alias.kind));
        let is_new = match self.named.get(&key) {
            Some(named) => named.is_new,
            None => !self.aliases.contains_key(alias),
        };
        self.named.insert(key, Named { thread, is_new });
        self.aliases.insert(alias.clone(), thread);
    }

    /// Makes one thread of two; the older one survives. What both know is kept, the survivor's where they
    /// disagree; its next event follows the highest sequence of either.
    fn merge(&mut self, one: i64, other: i64) -> Result<i64> {
        if one == other {
            return Ok(one);
        }
        let (survivor, absorbed) = (one.min(other), one.max(other));
        let moved = self.unfinished.remove(&absorbed).unwrap_or_default();
        for number in &moved {
            let command = self.command_mut(*number)?;
            command.thread = survivor;
            command.changed = true;
        }
        self.unfinished.entry(survivor).or_default().extend(moved);
        let vault = self.vault.clone();
        let (sequence, creator, purged, news) = {
            let absorbed = self.thread_mut(absorbed)?;
            absorbed.merged_into = Some(survivor);
            absorbed.changed = true;
            (absorbed.sequence, absorbed.creator.take(), absorbed.purged.take(), absorbed.known(&vault)?)
        };
        self.thread_mut(absorbed)?.known = None;
        let survivor_row = self.thread_mut(survivor)?;
        if let Some(mut known) = news {
            known.extend(survivor_row.known(&vault)?.unwrap_or_default());
            survivor_row.keep_known(known, &vault);
        }
        survivor_row.sequence = survivor_row.sequence.max(sequence);
        survivor_row.creator = earlier(survivor_row.creator, creator);
        survivor_row.purged = earlier(survivor_row.purged, purged);
        survivor_row.changed = true;
        // Finished ones move with it too, for `creates` is looked for by thread.
        self.absorbed.push((absorbed, survivor));
        self.raise(survivor)?;
        self.arrange(survivor)?;
        Ok(survivor)
    }

    /// Merges `news` into what is known of a thread, key by key.
    pub(in crate::store::postgres) fn learn(&mut self, thread: i64, news: &Value) -> Result<()> {
        let Value::Object(news) = news else { return Ok(()) };
        let vault = self.vault.clone();
        let row = self.thread_mut(thread)?;
        let mut known = row.known(&vault)?.unwrap_or_default();
        known.extend(news.clone());
        row.keep_known(known, &vault);
        row.changed = true;
        Ok(())
    }

    /// True if anything of the thread is unfinished.
    pub(in crate::store::postgres) fn is_busy(&self, thread: i64) -> bool {
        self.unfinished.get(&thread).is_some_and(|numbers| !numbers.is_empty())
    }
}

fn earlier(one: Option<Creator>, other: Option<Creator>) -> Option<Creator> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.command <= other.command { one } else { other }),
        (one, other) => one.or(other),
    }
}
