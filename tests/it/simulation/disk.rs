//! The disk under the gateway's store, and what it holds when a process has ended.
//!
//! What is replaced: nothing of SQLite, which writes real files (in memory where the machine has a place for that); this
//! is the layer of the *files as the next process finds them*. When a life ends, its database and its write-ahead log are
//! copied as they stand, without the goodbye that SQLite says when it is closed, and the next life opens the copy. If the
//! last thing that the life did was to write, the copy may end in the middle of that: a short write, at any byte of the
//! log, with garbage behind it or without; or a checkpoint of which only a part reached the database. Nobody was told of
//! such a write, because the life ended with it. Commits that fail while a life goes on, because the disk is full or
//! cannot be synced, are `failing`'s, a layer above.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::chance::Chance;
use super::story::Story;

/// Memory that looks like a disk, on most machines.
const IN_MEMORY: &str = "/dev/shm";
/// Of a short write, this much may be garbage.
const GARBAGE_BYTES: usize = 512;

pub struct Disk {
    folder: TempDir,
    life: u32,
    chance: Chance,
    story: Story,
    before: Option<Files>,
}

/// The database and its log.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Files {
    fn read(path: &Path) -> Self {
        // A life may end before it has made them. Closing a file here ends the locks that SQLite has on it in this process,
        // which keep out others: there are none.
        let read = |path: &Path| std::fs::read(path).unwrap_or_default();
        Self { database: read(path), log: read(&log_of(path)) }
    }

    fn write(&self, path: &Path) {
        for (path, bytes) in [(path, &self.database), (&log_of(path), &self.log)] {
            if !bytes.is_empty() {
                std::fs::write(path, bytes).expect("there is room for a small database");
            }
        }
    }
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

impl Disk {
    /// `first`: the database that is there at the beginning.
    pub fn new(first: &[u8], chance: Chance, story: Story) -> Self {
        let in_memory = tempfile::Builder::new().tempdir_in(IN_MEMORY);
        let folder = in_memory.or_else(|_| tempfile::tempdir()).expect("a folder for a small database");
        let disk = Self { folder, life: 0, chance, story, before: None };
        std::fs::write(disk.path(), first).expect("there is room for a small database");
        disk
    }

    /// Of the database, for the life of now.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(format!("life-{}.db", self.life))
    }

    /// The next poll may be the last: what is there before it is remembered.
    pub fn watch(&mut self) {
        self.before = Some(Files::read(&self.path()));
    }

    /// Since it was watched.
    pub fn has_changed(&self) -> bool {
        self.before.as_ref().is_some_and(|before| *before != Files::read(&self.path()))
    }

    /// The process is no more. What the next one finds is written down.
    pub fn power_off(&mut self) {
        let after = Files::read(&self.path());
        let found = match self.before.take() {
            Some(before) if before != after && self.chance.percent(60) => self.half_written(&before, after),
            _ => after,
        };
        self.life += 1;
        found.write(&self.path());
    }

    fn half_written(&self, before: &Files, after: Files) -> Files {
        if before.log == after.log {
            let database = self.short(&before.database, &after.database, false);
            self.story.tell("the disk has a part of a checkpoint");
            return Files { database, ..after };
        }
        let log = self.short(&before.log, &after.log, self.chance.percent(30));
        self.story.tell("the disk has a part of a commit");
        Files { database: before.database.clone(), log }
    }

    /// The beginning of a change, and the rest as it was.
    fn short(&self, before: &[u8], after: &[u8], with_garbage: bool) -> Vec<u8> {
        let same = before.iter().zip(after).take_while(|(one, other)| one == other).count();
        let cut = self.chance.number(same as u64..after.len() as u64 + 1) as usize;
        let mut bytes = after[..cut].to_vec();
        if with_garbage {
            bytes.resize(cut + GARBAGE_BYTES, 0xA5);
        }
        if let Some(rest) = before.get(bytes.len()..) {
            bytes.extend_from_slice(rest);
        }
        bytes
    }
}
