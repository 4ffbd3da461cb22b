//! People: those who work in e-RS beside the gateway, and those who look after the gateway.
//!
//! The first hold records open, change them, and end everybody's session tokens. The second replay what failed, or set it
//! aside, and release what waited for a user. Nobody decides what is in doubt, and nobody sets a referral aside that is still to
//! be made: what came of that would be theirs.

use std::sync::Arc;
use std::time::Duration;

use ers_gateway::command::{CommandId, State};
use ers_gateway::environment::Environment;
use ers_gateway::simulator::SimulatorHandle;
use ers_gateway::store::{Act, MessageFilter, Store};
use tokio::sync::{oneshot, watch};

use super::chance::Chance;
use super::gateway::Door;
use super::story::Story;

const PAUSE_MILLIS: std::ops::Range<u64> = 200..3_000;
const OPEN_MILLIS: std::ops::Range<u64> = 100..2_500;
const PATIENCE: Duration = Duration::from_secs(5);

pub struct People {
    pub environment: Environment,
    pub chance: Chance,
    pub story: Story,
    pub ers: Arc<SimulatorHandle>,
    pub doors: watch::Receiver<Option<Door>>,
}

impl People {
    /// Until somebody tells them to stop.
    pub async fn work(self) {
        loop {
            self.environment.sleep(self.chance.millis(PAUSE_MILLIS)).await;
            match self.chance.number(0..10) {
                0..4 => self.use_ers().await,
                4 => self.ers.revoke_tokens(),
                _ => self.look_after().await,
            }
        }
    }

    async fn use_ers(&self) {
        let referrals = self.ers.referrals();
        if referrals.is_empty() {
            return;
        }
        let ubrn = referrals[self.chance.number(0..referrals.len() as u64) as usize].ubrn.clone();
        if self.chance.percent(50) {
            self.story.tell(format!("somebody changes {ubrn}"));
            self.ers.touch(&ubrn);
        } else {
            self.story.tell(format!("somebody has {ubrn} open"));
            self.ers.lock(&ubrn);
            self.environment.sleep(self.chance.millis(OPEN_MILLIS)).await;
            self.ers.unlock(&ubrn);
        }
    }

    /// Through the gateway of now, which may end meanwhile.
    async fn look_after(&self) {
        let Some(door) = self.doors.borrow().clone() else { return };
        let (now, chance, story) = (self.environment.now(), self.chance.clone(), self.story.clone());
        let (tell, told) = oneshot::channel();
        door.environment.spawn(async move {
            let act = Act::of_person("somebody", "the simulation", "seen to", now);
            if let Some((command, does)) = what_waits(&*door.store, &chance).await {
                story.tell(format!("somebody does {does:?} to {command}"));
                let done = match does {
                    Does::Replay => door.store.replay(command, act).await,
                    Does::Discard => door.store.discard(command, act).await,
                    Does::Release => door.store.release(command, act).await,
                };
                if let Err(error) = done {
                    story.tell(format!("{does:?}: {error}"));
                }
            }
            // Nobody may be there to hear it.
            let _ = tell.send(());
        });
        self.environment.within(PATIENCE, told).await;
    }
}

#[derive(Clone, Copy, Debug)]
enum Does {
    Replay,
    Discard,
    Release,
}

async fn what_waits(store: &dyn Store, chance: &Chance) -> Option<(CommandId, Does)> {
    let filter = MessageFilter { max: 20, ..MessageFilter::default() };
    for message in store.messages(filter).await.ok()? {
        for command in store.commands_of(message.id).await.ok()? {
            match command.state {
                State::Failed { .. } if command.name != "CreateReferral" && chance.percent(30) => {
                    return Some((command.id, Does::Discard));
                }
                State::Failed { .. } => return Some((command.id, Does::Replay)),
                State::Unauthorised { .. } => return Some((command.id, Does::Release)),
                _ => {}
            }
        }
    }
    None
}
