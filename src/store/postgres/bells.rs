//! Bells: rung in this process after a commit, and in the other instances by `NOTIFY`.
//!
//! Enters: what a committed transaction says may interest somebody. Leaves: permits of [`Signals`], here and in every
//! instance that listens. Guarantees: nothing depends on a bell. One that is missed costs a poll interval.
//!
//! `NOTIFY` inside a transaction would make all commits of the database wait for each other, so it has one of its
//! own, afterwards, for all that happened in a few milliseconds.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::command::{CommandId, MessageId};
use crate::environment::Environment;
use crate::store::{Settled, Signals};

/// Bells of so long are told to the others at once.
const GATHER: Duration = Duration::from_millis(5);
/// A notification holds 8,000 bytes (PostgreSQL manual, NOTIFY); two identifiers take 80.
const SETTLED_MAX: usize = 90;

/// What to ring after the commit.
#[derive(Default)]
pub(super) struct Bells {
    pub(super) commands: bool,
    pub(super) outbox: bool,
    pub(super) settled: Vec<Settled>,
}

impl Bells {
    /// Wakes who waits now, and leaves a permit for who is about to.
    fn ring_here(self, signals: &Signals) {
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

    fn is_silent(&self) -> bool {
        !self.commands && !self.outbox && self.settled.is_empty()
    }
}

/// What one instance tells the others.
#[derive(Serialize, Deserialize)]
struct Notice {
    /// Who rings: it has heard already.
    from: Uuid,
    #[serde(default)]
    commands: bool,
    #[serde(default)]
    outbox: bool,
    #[serde(default)]
    settled: Vec<(MessageId, CommandId)>,
}

/// Tells the others, and hears them.
pub(super) struct Ringer {
    signals: Signals,
    pool: Pool,
    environment: Environment,
    runtime: Handle,
    /// Of this opening of the store.
    identity: Uuid,
    channel: String,
    untold: Mutex<Untold>,
}

#[derive(Default)]
struct Untold {
    bells: Bells,
    telling: bool,
}

impl Ringer {
    pub(super) fn new(
        signals: Signals,
        pool: Pool,
        environment: Environment,
        runtime: Handle,
        identity: Uuid,
        schema: &str,
    ) -> Self {
        let channel = format!("ers_gateway_{schema}");
        Self { signals, pool, environment, runtime, identity, channel, untold: Mutex::default() }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// To be called when what the bells tell of is committed.
    pub(super) fn ring(self: &Arc<Self>, bells: Bells) {
        if bells.is_silent() {
            return;
        }
        {
            let mut untold = self.untold.lock();
            untold.bells.commands |= bells.commands;
            untold.bells.outbox |= bells.outbox;
            untold.bells.settled.extend(bells.settled.iter().cloned());
            if !std::mem::replace(&mut untold.telling, true) {
                let ringer = Arc::clone(self);
                self.environment.spawn_on(&self.runtime, async move { ringer.tell().await });
            }
        }
        bells.ring_here(&self.signals);
    }

    async fn tell(self: Arc<Self>) {
        loop {
            self.environment.sleep(GATHER).await;
            let bells = {
                let mut untold = self.untold.lock();
                let bells = std::mem::take(&mut untold.bells);
                if bells.is_silent() {
                    untold.telling = false;
                    return;
                }
                bells
            };
            if let Err(error) = self.notify(bells).await {
                tracing::debug!(%error, "other instances were not told; they look by themselves");
            }
        }
    }

    async fn notify(&self, bells: Bells) -> crate::store::Result<()> {
        let client = self.pool.get().await?;
        let statement = client.prepare_cached("SELECT pg_notify($1, $2)").await?;
        let settled: Vec<_> = bells.settled.iter().map(|settled| (settled.message, settled.command)).collect();
        let mut pages = settled.chunks(SETTLED_MAX);
        let mut first = true;
        loop {
            let page = pages.next();
            if page.is_none() && !first {
                return Ok(());
            }
            let notice = Notice {
                from: self.identity,
                commands: first && bells.commands,
                outbox: first && bells.outbox,
                settled: page.unwrap_or_default().to_vec(),
            };
            first = false;
            let text = serde_json::to_string(&notice).expect("plain data has a JSON form");
            client.execute(&statement, &[&self.channel, &text]).await?;
        }
    }

    /// Rings here what another instance told.
    pub(super) fn hear(&self, text: &str) {
        let Ok(notice) = serde_json::from_str::<Notice>(text) else {
            tracing::warn!("a notification of another version cannot be read; looking costs a poll interval");
            return;
        };
        if notice.from != self.identity {
            let settled = notice.settled.into_iter().map(|(message, command)| Settled { message, command }).collect();
            Bells { commands: notice.commands, outbox: notice.outbox, settled }.ring_here(&self.signals);
        }
    }

    /// Everybody looks: bells may have been missed while nobody listened.
    pub(super) fn ring_all(&self) {
        Bells { commands: true, outbox: true, settled: Vec::new() }.ring_here(&self.signals);
    }
}
