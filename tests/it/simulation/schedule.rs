//! Who goes on: the world, and in it one life of the gateway after the other.
//!
//! Every poll of every task asks here first. Now and then one that is ready waits for the others, so the same seed gives
//! the same order and another seed another one. A life counts its polls and ends with the one that was drawn, as a
//! process does that is killed: between two instructions, with nothing said to anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ers_gateway::environment::{Scheduler, Turn};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::chance::Chance;
use super::disk::Disk;

/// Of those that are ready, so many in a hundred wait for the others once more.
const LATER_PERCENT: u32 = 25;

/// The world outside of the gateway, which never ends.
pub struct Outside {
    pub chance: Chance,
}

impl Scheduler for Outside {
    fn turn(&self) -> Turn {
        if self.chance.percent(LATER_PERCENT) { Turn::Later } else { Turn::Now }
    }

    fn ended(&self) {}
}

/// When a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Not by itself.
    Never,
    /// After so many polls.
    Poll(u64),
    /// With the first poll that writes, after so many.
    Write(u64),
}

/// One process of the gateway.
pub struct Life {
    chance: Chance,
    disk: Arc<Mutex<Disk>>,
    polls: AtomicU64,
    last: Last,
    may_end: AtomicBool,
    has_ended: AtomicBool,
    end: Notify,
}

impl Life {
    pub fn new(chance: Chance, disk: Arc<Mutex<Disk>>, last: Last) -> Arc<Self> {
        Arc::new(Self {
            chance,
            disk,
            polls: AtomicU64::new(0),
            last,
            may_end: AtomicBool::new(true),
            has_ended: AtomicBool::new(false),
            end: Notify::new(),
        })
    }

    pub fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Returns when it was killed, or at once if it was.
    pub async fn ended(&self) {
        if !self.has_ended() {
            self.end.notified().await;
        }
    }

    /// It is not to be killed any more. False if it was.
    pub fn goes_on(&self) -> bool {
        self.may_end.store(false, Ordering::Relaxed);
        !self.has_ended()
    }

    pub fn may_end(&self) -> bool {
        self.may_end.load(Ordering::Relaxed)
    }

    /// At this moment, between two polls, unless it is to go on.
    pub fn kill(&self) {
        if self.may_end() && !self.has_ended.swap(true, Ordering::Relaxed) {
            self.disk.lock().power_off();
            self.end.notify_one();
        }
    }
}

impl Scheduler for Life {
    fn turn(&self) -> Turn {
        if self.has_ended() {
            return Turn::Never;
        }
        if self.chance.percent(LATER_PERCENT) {
            return Turn::Later;
        }
        let poll = self.polls.fetch_add(1, Ordering::Relaxed) + 1;
        match self.last {
            Last::Poll(last) if poll == last => self.disk.lock().watch(),
            Last::Write(last) if poll >= last => self.disk.lock().watch(),
            _ => {}
        }
        Turn::Now
    }

    fn ended(&self) {
        let is_last = match self.last {
            Last::Never => false,
            Last::Poll(last) => self.polls() >= last,
            Last::Write(last) => self.polls() >= last && self.disk.lock().has_changed(),
        };
        if is_last {
            self.kill();
        }
    }
}
