//! Threads and their commands as one transaction has them: read under their locks, changed in memory, written back.
//!
//! Enters: rows of threads that the transaction has locked, and what is to happen. Leaves: the rows that changed.
//! Guarantees: the rules of order (`design.md` sections 4 and 6) are those of the other store, kept here as plain
//! functions; nothing is changed of a thread that is not locked.
//!
//! A group of intentions is carried out on one workspace, one after the other, so that each sees what those before
//! it did, and the database is asked a handful of times for all of them.

mod commands;
mod order;
mod outbox;
mod threads;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use parking_lot::RwLock;
use uuid::Uuid;

use super::bells::Bells;
use super::sources::Sources;
use crate::command::{Class, State};
use crate::store::standing::{Place, Standing};
use crate::store::vault::Vault;
use crate::store::{Alias, Result, damaged};

pub(super) use commands::Lease;
pub(super) use outbox::EventText;

/// Everything about one referral, locked or new.
pub(super) struct Thread {
    pub(super) number: i64,
    pub(super) id: Uuid,
    pub(super) sequence: i64,
    pub(super) creator: Option<Creator>,
    /// One that was purged.
    pub(super) purged: Option<Creator>,
    /// As it is stored.
    pub(super) known: Option<String>,
    pub(super) merged_into: Option<i64>,
    pub(super) is_new: bool,
    pub(super) changed: bool,
}

/// The command that made (or will make) the referral of a thread.
#[derive(Clone, Copy)]
pub(super) struct Creator {
    pub(super) command: i64,
    pub(super) id: Uuid,
    pub(super) digest: [u8; 32],
}

/// What is needed of a command to change it.
#[derive(Clone)]
pub(super) struct Command {
    pub(super) number: i64,
    pub(super) id: Uuid,
    pub(super) message: Uuid,
    pub(super) thread: i64,
    pub(super) source: i32,
    pub(super) name: String,
    pub(super) class: Class,
    pub(super) standing: Standing,
    pub(super) state: State,
    pub(super) changed_at: Timestamp,
    pub(super) due: Option<Timestamp>,
    pub(super) deferrals: i32,
    pub(super) changes: i32,
    pub(super) fence: i64,
    pub(super) owner: Option<String>,
    /// By the clock of the database, and for how long it is renewed; microseconds.
    pub(super) lease_until: Option<i64>,
    pub(super) lease: Option<i64>,
    pub(super) creates: Option<[u8; 32]>,
    /// As it is stored.
    pub(super) local_id: Option<String>,
    /// To be written, if it changed.
    pub(super) plan: Option<Option<String>>,
    /// A person decided that it is to be sent, whatever its age.
    pub(super) ageless: bool,
    /// Only in a command that was not there before.
    pub(super) arrival: Option<Arrival>,
    pub(super) changed: bool,
}

/// What never changes of a command.
#[derive(Clone)]
pub(super) struct Arrival {
    pub(super) received_at: Timestamp,
    pub(super) not_after: Option<Timestamp>,
    pub(super) mapping_set: String,
    pub(super) body: String,
}

impl Command {
    fn place(&self) -> Place {
        Place { standing: self.standing, class: self.class, source: i64::from(self.source) }
    }
}

/// A change of state.
pub(super) struct Transition {
    pub(super) command: i64,
    pub(super) number: i32,
    pub(super) at: Timestamp,
    pub(super) from: Option<&'static str>,
    pub(super) to: &'static str,
    pub(super) why: String,
    pub(super) by: String,
}

/// An event with its thread and sequence.
pub(super) struct Published {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) at: Timestamp,
    pub(super) source: String,
    pub(super) subject: String,
    pub(super) thread: Uuid,
    pub(super) sequence: i64,
    pub(super) data: String,
}

pub(super) struct Workspace {
    pub(super) vault: Vault,
    pub(super) threads: BTreeMap<i64, Thread>,
    pub(super) commands: BTreeMap<i64, Command>,
    /// The unfinished commands of each thread.
    unfinished: HashMap<i64, BTreeSet<i64>>,
    /// Where the aliases lead that this transaction asked for.
    aliases: HashMap<Alias, i64>,
    /// Aliases that are new, or lead elsewhere now.
    pub(super) named: BTreeMap<(Vec<u8>, i16), Named>,
    /// Numbers for threads that begin.
    pub(super) thread_numbers: Vec<i64>,
    pub(super) source_names: HashMap<i32, String>,
    pub(super) transitions: Vec<Transition>,
    pub(super) events: Vec<Published>,
    pub(super) tallies: BTreeMap<Place, i64>,
    /// Threads whose creator is no more, and who is to be found among what is stored.
    pub(super) orphans: BTreeSet<i64>,
    /// Threads that were merged, and into which: what of theirs is finished moves too.
    pub(super) absorbed: Vec<(i64, i64)>,
    pub(super) bells: Bells,
}

/// Where an alias leads from now on.
#[derive(Clone, Copy)]
pub(super) struct Named {
    pub(super) thread: i64,
    /// It led nowhere before: if it does when this is written, another instance was quicker.
    pub(super) is_new: bool,
}

impl Workspace {
    pub(super) fn new(sources: &RwLock<Sources>, vault: &Vault) -> Self {
        Self {
            vault: vault.clone(),
            source_names: sources.read().names().clone(),
            threads: BTreeMap::new(),
            commands: BTreeMap::new(),
            unfinished: HashMap::new(),
            aliases: HashMap::new(),
            named: BTreeMap::new(),
            thread_numbers: Vec::new(),
            transitions: Vec::new(),
            events: Vec::new(),
            tallies: BTreeMap::new(),
            orphans: BTreeSet::new(),
            absorbed: Vec::new(),
            bells: Bells::default(),
        }
    }

    /// Takes in a locked thread. Its commands follow.
    pub(super) fn take_thread(&mut self, thread: Thread) {
        self.threads.insert(thread.number, thread);
    }

    /// Takes in a command of a locked thread, as it is stored.
    pub(super) fn take_command(&mut self, command: Command) {
        if !command.standing.is_final() {
            self.unfinished.entry(command.thread).or_default().insert(command.number);
        }
        self.commands.entry(command.number).or_insert(command);
    }

    /// Where an alias leads, as it is stored.
    pub(super) fn take_alias(&mut self, alias: Alias, thread: i64) {
        self.aliases.insert(alias, thread);
    }

    pub(super) fn source_name(&self, number: i32) -> Result<&str> {
        self.source_names.get(&number).map(String::as_str).ok_or_else(|| damaged("a command of an unknown source"))
    }

    fn enter(&mut self, place: Place) {
        *self.tallies.entry(place).or_insert(0) += 1;
        if place.standing == Standing::Ready {
            self.bells.commands = true;
        }
    }

    fn leave(&mut self, place: Place) {
        *self.tallies.entry(place).or_insert(0) -= 1;
    }

    fn command_mut(&mut self, number: i64) -> Result<&mut Command> {
        self.commands.get_mut(&number).ok_or_else(|| damaged("a command is missing"))
    }

    fn thread_mut(&mut self, number: i64) -> Result<&mut Thread> {
        self.threads.get_mut(&number).ok_or_else(|| damaged("a thread is missing"))
    }

    pub(super) fn thread(&self, number: i64) -> Result<&Thread> {
        self.threads.get(&number).ok_or_else(|| damaged("a thread is missing"))
    }
}
