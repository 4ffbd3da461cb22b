//! The writer's connection, and what it remembers between transactions.
//!
//! Enters: one intention at a time, inside a transaction that the writer opened. Leaves: rows, and the
//! bells to ring once they are committed. Guarantees: what is remembered is what is committed; after a
//! rollback everything is read again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::columns;
use crate::command::Class;
use crate::environment::Environment;
use crate::store::damaged;
use crate::store::standing::{Place, Standing};
use crate::store::vault::Vault;
use crate::store::{Result, Settled, Signals};

/// Statements that the writer keeps prepared: all of them.
const PREPARED_STATEMENTS: usize = 160;

const UNCONFIRMED_EVENTS: &str = "unconfirmed_events";
/// The highest numbers ever given, once rows were purged: none is given twice.
const MESSAGES_NUMBERED: &str = "messages_numbered";
const COMMANDS_NUMBERED: &str = "commands_numbered";

pub(super) struct Books {
    pub(super) connection: Connection,
    pub(super) environment: Environment,
    pub(super) vault: Vault,
    /// Which claim takes the oldest instead of the most urgent.
    pub(super) turns: u32,
    pub(super) leases_checked: Timestamp,
    sources: HashMap<String, i64>,
    source_names: HashMap<i64, String>,
    next_message: i64,
    next_command: i64,
    tallies: BTreeMap<Place, i64>,
    changed_tallies: BTreeSet<Place>,
    unconfirmed: i64,
    unconfirmed_changed: bool,
    /// The newest message whose rows of `mention` are made.
    pub(super) mentions_made: i64,
    bells: Bells,
    /// What is remembered may not be what is committed.
    stale: bool,
}

/// What to ring after the commit.
#[derive(Default)]
pub(super) struct Bells {
    commands: bool,
    outbox: bool,
    settled: Vec<Settled>,
}

impl Bells {
    /// Wakes who waits now, and leaves a permit for who is about to.
    pub(super) fn ring(self, signals: &Signals) {
        for (rings, bell) in [(self.commands, &signals.commands), (self.outbox, &signals.outbox)] {
            if rings {
                bell.notify_waiters();
                bell.notify_one();
            }
        }
        for settled in self.settled {
            // An error only says that nobody listens.
            let _ = signals.settled.send(settled);
        }
    }
}

impl Books {
    pub(super) fn open(connection: Connection, environment: Environment, vault: Vault) -> Result<Self> {
        connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
        let mut books = Self {
            connection,
            environment,
            vault,
            turns: 0,
            leases_checked: Timestamp::UNIX_EPOCH,
            sources: HashMap::new(),
            source_names: HashMap::new(),
            next_message: 1,
            next_command: 1,
            tallies: BTreeMap::new(),
            changed_tallies: BTreeSet::new(),
            unconfirmed: 0,
            unconfirmed_changed: false,
            mentions_made: 0,
            bells: Bells::default(),
            stale: true,
        };
        books.know_what_is_committed()?;
        Ok(books)
    }

    /// The number that the next message gets.
    pub(super) fn next_message(&self) -> i64 {
        self.next_message
    }

    /// To be called when a transaction was not committed.
    pub(super) fn forget(&mut self) {
        self.bells = Bells::default();
        self.stale = true;
    }

    /// Reads what is committed, if that is not what is remembered: a few small tables.
    pub(super) fn know_what_is_committed(&mut self) -> Result<()> {
        if self.stale {
            self.read_again()?;
            self.stale = false;
        }
        Ok(())
    }

    fn read_again(&mut self) -> Result<()> {
        self.changed_tallies.clear();
        self.unconfirmed_changed = false;
        self.next_message =
            1 + self.highest("SELECT coalesce(max(number), 0) FROM message")?.max(self.noted(MESSAGES_NUMBERED)?);
        self.next_command =
            1 + self.highest("SELECT coalesce(max(number), 0) FROM command")?.max(self.noted(COMMANDS_NUMBERED)?);
        self.mentions_made = self.highest("SELECT coalesce(max(message), 0) FROM mention")?;
        self.sources.clear();
        self.source_names.clear();
        let mut statement = self.connection.prepare_cached("SELECT number, name FROM source")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (number, name): (i64, String) = (row.get(0)?, row.get(1)?);
            self.sources.insert(name.clone(), number);
            self.source_names.insert(number, name);
        }
        self.tallies.clear();
        let mut statement = self.connection.prepare_cached("SELECT standing, class, source, count FROM tally")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let place = Place {
                standing: Standing::from_code(row.get(0)?)?,
                class: columns::class(row, 1)?,
                source: row.get(2)?,
            };
            self.tallies.insert(place, row.get(3)?);
        }
        self.unconfirmed = self.noted(UNCONFIRMED_EVENTS)?;
        Ok(())
    }

    /// A number kept by name; 0 if there is none.
    fn noted(&self, name: &str) -> Result<i64> {
        let value = self
            .connection
            .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        Ok(value.unwrap_or(0))
    }

    pub(super) fn note(&self, name: &str, value: i64) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO meta (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )?
            .execute((name, value))?;
        Ok(())
    }

    /// Keeps the highest numbers given, for the rows that have them may be gone.
    pub(super) fn keep_numbers(&self) -> Result<()> {
        self.note(MESSAGES_NUMBERED, self.next_message - 1)?;
        self.note(COMMANDS_NUMBERED, self.next_command - 1)
    }

    fn highest(&self, sql: &str) -> Result<i64> {
        Ok(self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
    }

    /// Writes the counts that this transaction changed. Last before its commit.
    pub(super) fn write_counts(&mut self) -> Result<()> {
        if !self.changed_tallies.is_empty() {
            let mut statement = self.connection.prepare_cached(
                "INSERT INTO tally (standing, class, source, count) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (standing, class, source) DO UPDATE SET count = excluded.count",
            )?;
            for place in std::mem::take(&mut self.changed_tallies) {
                let count = self.tallies.get(&place).copied().unwrap_or(0);
                statement.execute((place.standing.code(), place.class.rank(), place.source, count))?;
            }
        }
        if std::mem::take(&mut self.unconfirmed_changed) {
            self.note(UNCONFIRMED_EVENTS, self.unconfirmed)?;
        }
        Ok(())
    }

    /// The bells of the transaction that was just committed.
    pub(super) fn take_bells(&mut self) -> Bells {
        std::mem::take(&mut self.bells)
    }

    pub(super) fn take_message_number(&mut self) -> i64 {
        self.next_message += 1;
        self.next_message - 1
    }

    pub(super) fn take_command_number(&mut self) -> i64 {
        self.next_command += 1;
        self.next_command - 1
    }

    /// The number that the next command gets.
    pub(super) fn next_command_number(&self) -> i64 {
        self.next_command
    }

    /// The number of a source, given to it when its first message comes.
    pub(super) fn source_number(&mut self, name: &str) -> Result<i64> {
        if let Some(number) = self.sources.get(name) {
            return Ok(*number);
        }
        let number = self.connection.prepare_cached("INSERT INTO source (name) VALUES (?1)")?.insert([name])?;
        self.sources.insert(name.to_owned(), number);
        self.source_names.insert(number, name.to_owned());
        Ok(number)
    }

    /// The number of a source, if any message ever came from it.
    pub(super) fn known_source(&self, name: &str) -> Option<i64> {
        self.sources.get(name).copied()
    }

    pub(super) fn source_name(&self, number: i64) -> Result<&str> {
        self.source_names.get(&number).map(String::as_str).ok_or_else(|| damaged("a command of an unknown source"))
    }

    /// Places with at least one command.
    pub(super) fn taken_places(&self) -> impl Iterator<Item = Place> + '_ {
        self.tallies.iter().filter(|(_, count)| **count > 0).map(|(place, _)| *place)
    }

    pub(super) fn enter(&mut self, place: Place) {
        self.add(place, 1);
        if place.standing == Standing::Ready {
            self.bells.commands = true;
        }
    }

    pub(super) fn leave(&mut self, place: Place) {
        self.add(place, -1);
    }

    /// `count` commands left the store.
    pub(super) fn leave_all(&mut self, place: Place, count: i64) {
        self.add(place, -count);
    }

    fn add(&mut self, place: Place, by: i64) {
        *self.tallies.entry(place).or_insert(0) += by;
        self.changed_tallies.insert(place);
    }

    pub(super) fn add_unconfirmed(&mut self, by: i64) {
        self.unconfirmed += by;
        self.unconfirmed_changed = true;
        self.bells.outbox |= by > 0;
    }

    pub(super) fn a_command_may_be_claimable(&mut self) {
        self.bells.commands = true;
    }

    /// A command came to rest.
    pub(super) fn settled(&mut self, settled: Settled) {
        self.bells.settled.push(settled);
    }
}

/// A command on its way to another place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) number: i64,
    pub(super) thread: i64,
    pub(super) standing: Standing,
    pub(super) class: Class,
    pub(super) source: i64,
}

impl Placed {
    /// From `number, thread, standing, class, source`, a row's first columns.
    pub(super) fn of(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            thread: row.get(1)?,
            standing: Standing::from_code(row.get(2)?)?,
            class: columns::class(row, 3)?,
            source: row.get(4)?,
        })
    }

    pub(super) fn place(&self) -> Place {
        Place { standing: self.standing, class: self.class, source: self.source }
    }

    pub(super) fn at(&self, standing: Standing) -> Place {
        Place { standing, ..self.place() }
    }
}
