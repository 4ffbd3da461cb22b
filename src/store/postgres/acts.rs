//! What a person does to a command: a transition and a row of the audit log in one commit.

use deadpool_postgres::ClientWrapper;
use serde_json::{Value, json};
use uuid::Uuid;

use super::audit;
use super::bulk;
use super::columns;
use super::failure::Failed;
use super::flight::Flight;
use super::read;
use super::workspace::Workspace;
use super::write::{Signature, write_and_commit};
use crate::command::{CommandId, Failure, Happened, State};
use crate::environment::Environment;
use crate::store::vault::Column;
use crate::store::{
    Act, Finding, Noted, Result, StoreError, UNREADABLE_IS_DISCARDED, Word, why_unreadable, with_finding,
};

/// The desk of what happens rarely, whoever does it.
pub(super) const COMMON_DESK: i32 = 0;

#[derive(Clone)]
pub(super) enum Deed {
    /// A failed command goes back to the queue. Its plan stays, so what is known done is skipped; its age limit
    /// goes, for a person has decided that it is to be sent. As part of a bulk replay: with its item, and only while that
    /// runs.
    Replay {
        bulk: Option<Uuid>,
    },
    Discard,
    Release,
    /// Not before it has begun to be sent.
    Hold(Failure),
    /// Whether what is in doubt was done.
    Decide(Finding),
    /// Of what is not carried out yet.
    Say(Word),
}

impl Deed {
    fn name(&self) -> &'static str {
        match self {
            Self::Replay { .. } => "replay",
            Self::Discard => "discard",
            Self::Release => "release",
            Self::Hold(_) => "hold",
            Self::Decide(_) => "decide",
            Self::Say(word) => word.act(),
        }
    }

    /// What was found goes to the history with the reason.
    fn told(&self, act: &Act) -> Act {
        match self {
            Self::Decide(finding) => Act { why: format!("{}: {}", finding.in_words(), act.why), ..act.clone() },
            Self::Say(word) => Act { why: word.in_words(&act.why), ..act.clone() },
            _ => act.clone(),
        }
    }

    /// The state that it brings about, where it is possible.
    fn after(&self, state: State, act: &Act) -> Option<State> {
        let happened = match self {
            Self::Decide(_) => Happened::LookedInVain { look_at: Some(act.at) },
            Self::Replay { .. } => Happened::Replayed,
            Self::Discard => Happened::Discarded,
            Self::Release => Happened::Released,
            Self::Hold(why) => Happened::Refused { why: why.clone() },
            Self::Say(word) => return word.after(&state),
        };
        state.after(happened).ok()
    }

    /// The plan with what is to stand in it.
    fn noted_in(&self, plan: Value, act: &Act) -> Option<Value> {
        match self {
            // It stays as it is.
            _ if why_unreadable(&plan).is_some() => None,
            Self::Decide(finding) => Some(with_finding(plan, finding)),
            Self::Say(word) => Some(word.noted_in(plan, act.at)),
            _ => None,
        }
    }
}

const PLAN: &str = "SELECT plan FROM command WHERE number = $1";

/// Does it in a transaction of its own. With the workspace that was written, for its bells.
pub(super) async fn act_on(
    client: &ClientWrapper,
    mut workspace: Workspace,
    id: CommandId,
    deed: &Deed,
    act: &Act,
    environment: &Environment,
) -> std::result::Result<Workspace, Failed> {
    let lock_threads = client.prepare_cached(read::LOCK_THREADS_OF).await?;
    let commands_and_theirs = client.prepare_cached(read::COMMANDS_AND_THEIRS).await?;
    let ids = vec![id.0];
    let mut flight = Flight::of(client);
    flight.run("BEGIN");
    flight.send(&lock_threads, [&ids]);
    flight.send(&commands_and_theirs, [&ids]);
    let [_, threads, commands] = flight.land_all().await?;
    if !workspace.take_rows(&threads, &commands)?.is_empty() {
        // Its thread was merged in this instant.
        return Err(Failed::Again(StoreError::Unavailable("the command is being moved".into())));
    }
    let bulk = match deed {
        Deed::Replay { bulk: Some(bulk) } => {
            bulk::require_running(client, *bulk).await?;
            Some((*bulk, id.0, act.at.as_microsecond()))
        }
        _ => None,
    };
    let act = &deed.told(act);
    let number = decide(&mut workspace, id, deed, act, environment)?;
    if let Deed::Decide(_) | Deed::Say(_) = deed {
        let row = client.query_one(PLAN, &[&number]).await?;
        let place = Column::CommandPlan.of_id(id.0);
        let plan = columns::sealed_json(&row, 0, &workspace.vault, place)?;
        if let (Deed::Decide(_), Some(_)) = (deed, why_unreadable(&plan)) {
            return Err(StoreError::Outdated(format!("{UNREADABLE_IS_DISCARDED} ({id})")).into());
        }
        let plan = deed.noted_in(plan, act);
        if let Some(plan) = plan {
            let plan = workspace.vault.seal_text(place, plan.to_string());
            let row = workspace.commands.get_mut(&number).ok_or(StoreError::NotFound)?;
            (row.plan, row.changed) = (Some(Some(plan)), true);
        }
    }
    let note = client.prepare_cached(audit::NOTE).await?;
    let noted = Noted { act: deed.name(), subject: format!("command {id}"), by: act.clone() };
    let replayed = client.prepare_cached(bulk::REPLAYED).await?;
    let rows = audit::following(client, &[noted], environment).await?;
    let mut flight = Flight::of(client);
    flight.send(&note, rows.parameters());
    if let Some((bulk, command, at)) = &bulk {
        flight.send(&replayed, [bulk, command, at]);
    }
    write_and_commit(client, &workspace, Signature { desk: COMMON_DESK, group: None }, flight).await?;
    Ok(workspace)
}

/// The number of the command.
fn decide(workspace: &mut Workspace, id: CommandId, deed: &Deed, act: &Act, environment: &Environment) -> Result<i64> {
    let row = workspace.commands.values().find(|row| row.id == id.0).ok_or(StoreError::NotFound)?;
    let (number, from) = (row.number, row.state.name());
    if let Deed::Replay { .. } = deed {
        refuse_second(workspace, number, id)?;
    }
    let state: State = workspace.commands[&number].state.clone();
    if let (Deed::Hold(_), State::Running { .. } | State::InDoubt { .. }) = (deed, &state) {
        return Err(StoreError::Outdated(format!("command {id} is on its way, so it cannot be held")));
    }
    let to = deed
        .after(state.clone(), act)
        .ok_or_else(|| StoreError::Outdated(format!("command {id} is {from}, so {} is not possible", deed.name())))?;
    workspace.raise_fence(number)?;
    if to != state || !matches!(deed, Deed::Say(_)) {
        workspace.change(number, &to, act.at, &act.why, &act.by)?;
    }
    if let Deed::Hold(why) = deed {
        let more = json!({ "code": why.code, "text": why.text });
        workspace.publish_about(number, "CommandFailed", act.at, more, environment)?;
    }
    if let (Deed::Replay { .. }, Some(row)) = (deed, workspace.commands.get_mut(&number)) {
        row.ageless = true;
        row.deferrals = 0;
    }
    if let Deed::Replay { bulk: Some(_) } = deed {
        workspace.stand_behind(number)?;
    }
    Ok(number)
}

/// Refused while another command of its thread makes (or made) the same referral: it would be made twice.
fn refuse_second(workspace: &Workspace, number: i64, id: CommandId) -> Result<()> {
    let row = workspace.commands.get(&number).ok_or(StoreError::NotFound)?;
    let maker = workspace.thread(row.thread)?.creator.filter(|maker| maker.command != number);
    match (row.creates, maker) {
        (Some(_), Some(maker)) => {
            let maker = CommandId(maker.id);
            Err(StoreError::Outdated(format!(
                "command {maker} makes the same referral, so replaying {id} would make a second one: discard it, or \
                 first the other one if that did not reach e-RS"
            )))
        }
        _ => Ok(()),
    }
}
