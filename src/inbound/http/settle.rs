//! Waiting for commands to come to rest, for a client that asked with `Prefer: wait`.

use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::HttpDeps;
use super::problem::ProblemDocument;
use crate::command::State;
use crate::environment::Environment;
use crate::store::{CommandView, Settled};

/// The store's bells may be missed (another instance did the work, or too many rang at once): the states
/// are read again at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Nothing happens to it any more without a person.
pub fn is_at_rest(state: &State) -> bool {
    state.is_final() || matches!(state, State::Failed { .. } | State::InDoubt { .. } | State::Unauthorised { .. })
}

/// A place at the bell, taken before the command is stored.
pub struct Settling {
    bell: Receiver<Settled>,
    deps: HttpDeps,
    shutdown: CancellationToken,
}

impl Settling {
    pub fn listen(deps: &HttpDeps, environment: &Environment) -> Self {
        let (bell, shutdown) = (deps.signals.settled.subscribe(), environment.shutdown().clone());
        Self { bell, deps: deps.clone(), shutdown }
    }

    /// Returns when all of `commands` are at rest, `wait` is over, or the gateway stops; as they are then.
    pub async fn wait(
        mut self,
        mut commands: Vec<CommandView>,
        wait: Duration,
    ) -> Result<Vec<CommandView>, ProblemDocument> {
        let deadline = Instant::now() + wait;
        loop {
            for command in commands.iter_mut().filter(|command| !is_at_rest(&command.state)) {
                if let Some(now) = self.deps.search.command(command.id).await? {
                    *command = now;
                }
            }
            let over = Instant::now() >= deadline || self.shutdown.is_cancelled();
            if over || commands.iter().all(|command| is_at_rest(&command.state)) {
                return Ok(commands);
            }
            let shutdown = self.shutdown.clone();
            tokio::select! {
                () = self.one_rings(&commands, deadline.min(Instant::now() + LOOK_EVERY)) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// Returns when one of `commands` settled, some bells were missed, or at `until`.
    async fn one_rings(&mut self, commands: &[CommandView], until: Instant) {
        while let Ok(Ok(settled)) = timeout_at(until, self.bell.recv()).await {
            if commands.iter().any(|command| command.id == settled.command) {
                return;
            }
        }
    }
}
