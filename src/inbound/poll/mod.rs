//! Worklists of e-RS looked at by themselves: e-RS tells nobody what is new.
//!
//! Enters: the times of the settings. Leaves: a command for each look, in the store. Guarantees: one instance at a time
//! makes them, and each look is made once, whatever restarts: its control id names its time. A look that is not done
//! yet is not followed by another; how often e-RS may be asked without a user is counted where the call leaves.

mod schedule;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::{IntCounterVec, Opts};
use serde_json::{Value, json};

use crate::command::{Class, CommandId, State};
use crate::config::{FirstSight, Mode, Watch};
use crate::environment::Environment;
use crate::instances::Duty;
use crate::keys::Keys;
use crate::mapping::MappingSets;
use crate::metrics::Registry;
use crate::store::{Act, Admission, Admitted, Alias, AliasKind, CommandView, MessageFilter, NewCommand, Result, Store};

/// How often the clock is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The command of a look.
const COMMAND: &str = "WatchWorklist";

pub struct Poll {
    pub watches: Vec<Watch>,
    pub store: Arc<dyn Store>,
    pub keys: Keys,
    pub mappings: Arc<MappingSets>,
    pub duty: Duty,
    pub looks: IntCounterVec,
    pub environment: Environment,
}

/// `gateway_watch_looks_total`.
pub fn metrics(registry: &Registry) -> prometheus::Result<IntCounterVec> {
    let looks = Opts::new(
        "gateway_watch_looks_total",
        "Looks at worklists: asked, or still_busy where the one before was not done",
    );
    let looks = IntCounterVec::new(looks, &["watch", "outcome"])?;
    registry.register(Box::new(looks.clone()))?;
    Ok(looks)
}

/// The last look at a list, by watch and service.
type Looks = HashMap<(String, String), (Timestamp, CommandId)>;

impl Poll {
    pub fn start(self) {
        if self.watches.is_empty() {
            return;
        }
        let environment = self.environment.clone();
        environment.spawn(self.run());
    }

    async fn run(self) {
        while !self.environment.shutdown().is_cancelled() {
            let Some(held) = self.duty.hold().await else { return };
            tokio::select! {
                () = self.watch() => {}
                () = held.lost() => {}
            }
            held.leave().await;
        }
    }

    /// Until the gateway stops.
    async fn watch(&self) {
        let mut looks = Looks::new();
        loop {
            let now = self.environment.now();
            for watch in self.watches.iter().filter(|watch| watch.mode != Mode::Paused) {
                let whole = [String::new()];
                let services = if watch.services.is_empty() { &whole[..] } else { &watch.services };
                let Some(due) = schedule::due(watch, now) else { continue };
                for service in services {
                    let key = (watch.name.clone(), service.clone());
                    if looks.get(&key).is_some_and(|(at, _)| *at >= due) {
                        continue;
                    }
                    match self.look(watch, service, due, looks.get(&key).map(|(_, command)| *command)).await {
                        Ok(command) => drop(looks.insert(key, (due, command))),
                        Err(error) => {
                            tracing::warn!(watch = watch.name, %error, "a look at a worklist cannot be asked for now");
                        }
                    }
                }
            }
            tokio::select! {
                () = self.environment.sleep(LOOK_EVERY) => {}
                () = self.environment.shutdown().cancelled() => return,
            }
        }
    }

    /// The command that looks at this time: a new one, or the one before where that is not done.
    async fn look(&self, watch: &Watch, service: &str, due: Timestamp, before: Option<CommandId>) -> Result<CommandId> {
        let before = self.unfinished(watch, service, before).await?;
        let act = |why: &str| Act::of_gateway(why, self.environment.now());
        let mut failed = None;
        match before {
            None => {}
            Some(before) if matches!(before.state, State::Failed { .. }) => failed = Some(before.id),
            Some(before) => {
                if matches!(before.state, State::Unauthorised { .. }) {
                    // Somebody may have signed in since.
                    self.store.release(before.id, act("the next look is due")).await?;
                }
                self.looks.with_label_values(&[watch.name.as_str(), "still_busy"]).inc();
                return Ok(before.id);
            }
        }
        let admission = self.admission(watch, service, due);
        let command = admission.commands[0].id;
        match self.store.admit(admission).await? {
            Admitted::New { .. } => {
                self.looks.with_label_values(&[watch.name.as_str(), "asked"]).inc();
                if let Some(failed) = failed {
                    self.store.discard(failed, act("the next look takes its place")).await?;
                }
                Ok(command)
            }
            // Before a restart, or by another instance.
            Admitted::Resend { message, .. } => {
                let commands = self.store.commands_of(message).await?;
                Ok(commands.first().map_or(command, |view| view.id))
            }
            Admitted::ControlIdReused { .. } => Ok(command),
        }
    }

    /// A look that is not at its end.
    async fn unfinished(&self, watch: &Watch, service: &str, before: Option<CommandId>) -> Result<Option<CommandView>> {
        let is_open = |view: &CommandView| !matches!(view.state, State::Completed | State::Discarded | State::Shadowed);
        if let Some(before) = before {
            return Ok(self.store.command(before).await?.filter(is_open));
        }
        for state in ["queued", "running", "waiting", "unauthorised", "failed"] {
            let filter = MessageFilter {
                source: Some(watch.name.clone()),
                state: Some(state.into()),
                max: 50,
                ..MessageFilter::default()
            };
            for message in self.store.messages(filter).await?.iter().filter(|message| message.kind == COMMAND) {
                let of_service = |view: &CommandView| {
                    view.body.get("service").and_then(Value::as_str).unwrap_or_default() == service
                };
                let commands = self.store.commands_of(message.id).await?;
                if let Some(view) = commands.into_iter().find(|view| of_service(view) && is_open(view)) {
                    return Ok(Some(view));
                }
            }
        }
        Ok(None)
    }

    fn admission(&self, watch: &Watch, service: &str, due: Timestamp) -> Admission {
        let mut body = json!({ "watch": watch.name, "list": watch.list });
        if !service.is_empty() {
            body["service"] = service.into();
        }
        if watch.first == FirstSight::Remember {
            body["remember"] = true.into();
        }
        let id = CommandId(self.environment.new_id());
        let kind = AliasKind::Command;
        let command = NewCommand {
            id,
            name: COMMAND.into(),
            body,
            class: Class::Poll,
            aliases: vec![Alias { kind, digest: self.keys.alias_digest(kind, &[&id.to_string()]) }],
            creates: None,
            mapping_set: self.mappings.current().digest().to_owned(),
            state: State::Queued,
            plan: if watch.mode == Mode::Shadow { json!({ "shadow": true }) } else { Value::Null },
            not_after: None,
        };
        Admission::own((&self.environment, &self.keys), &watch.name, format!("look:{service}:{due}"), command)
    }
}
