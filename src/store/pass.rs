//! A command goes past what holds it: a cancellation behind a step that failed must not wait for its repair.

use super::{Act, OperatorStore, Result, SearchStore, StoreError};
use crate::command::{CommandId, State};

/// A thread is never so long.
const PASSED_MAX: usize = 1_000;

/// Sets aside what holds a command, one after another, until nothing does: each is an act of its own, with its row in
/// the audit log. Nothing that may have reached e-RS is set aside: `Outdated` says what it is.
pub async fn pass(
    search: &dyn SearchStore,
    operator: &dyn OperatorStore,
    command: CommandId,
    act: Act,
) -> Result<Vec<CommandId>> {
    let mut passed = Vec::new();
    while passed.len() < PASSED_MAX {
        let view = search.command(command).await?.ok_or(StoreError::NotFound)?;
        let Some(holder) = view.held_by else { break };
        let held_by = search.command(holder).await?.ok_or(StoreError::NotFound)?;
        match held_by.state {
            State::Running { .. } => {
                return Err(StoreError::Outdated(format!("command {holder} is on its way: try again in a moment")));
            }
            State::InDoubt { .. } => {
                return Err(StoreError::Outdated(format!(
                    "command {holder} is in doubt: look in e-RS whether it happened, and discard it by itself"
                )));
            }
            _ => operator.discard(holder, act.clone()).await?,
        }
        passed.push(holder);
    }
    if passed.is_empty() {
        return Err(StoreError::Outdated(format!("nothing holds command {command}")));
    }
    Ok(passed)
}
