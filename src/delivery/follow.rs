//! Commands that a finished plan has carried out next, each with a message and a thread of its own.
//!
//! Enters: what the plan asks for when all its calls are done. Leaves: messages in the store, before the command is
//! completed. Guarantees: each is there once, whatever happens in between: its control id names the command that it
//! follows, and the store knows a resend.

use serde_json::Value;

use super::ledger::Abandoned;
use super::run::{Flow, Run};
use crate::command::{Class, CommandId, State};
use crate::mapping::FollowUp;
use crate::store::{Admission, Alias, AliasKind, NewCommand, StoreError};

impl Run {
    pub(super) async fn follow(&mut self, follow: Vec<FollowUp>) -> Result<Flow, Abandoned> {
        if follow.is_empty() {
            return Ok(Flow::On);
        }
        // What was answered is on disk before anything is made of it.
        self.ledger.commit().await?;
        for (number, next) in follow.into_iter().enumerate() {
            let violations = self.schema_violations(&next);
            if !violations.is_empty() {
                let text = format!("{} would follow, and is not what its schema asks for: {violations}", next.command);
                return self.fail("MAPPING", &text).await;
            }
            match self.shared.store.admit(self.admission(number, next)).await {
                Ok(_) => {}
                Err(StoreError::Unavailable(_)) => return self.give_back("the store is away").await,
                Err(error) => return self.fail("FOLLOW_UP", &format!("what follows cannot be stored: {error}")).await,
            }
        }
        Ok(Flow::On)
    }

    fn schema_violations(&self, next: &FollowUp) -> String {
        let Some(ground) = &self.ground else { return String::new() };
        let problems = ground.set.mappings.schemas().violations(&next.command, &next.body);
        problems.iter().map(|one| format!("{} {}", one.pointer, one.text)).collect::<Vec<_>>().join(", ")
    }

    /// Whose the command is that it follows, its own is; and it is for the same services.
    fn plan_of_follower(&self) -> Value {
        let mut plan = serde_json::Map::new();
        plan.extend(self.author().map(|author| ("author".to_owned(), author.into())));
        let services = self.services();
        if !services.is_empty() {
            plan.insert("services".to_owned(), services.into());
        }
        if plan.is_empty() { Value::Null } else { plan.into() }
    }

    fn admission(&self, number: usize, next: FollowUp) -> Admission {
        let environment = &self.shared.environment;
        let id = CommandId(environment.new_id());
        let kind = AliasKind::Command;
        let command = NewCommand {
            id,
            name: next.command,
            body: next.body,
            class: Class::Poll,
            aliases: vec![Alias { kind, digest: self.shared.keys.alias_digest(kind, &[&id.to_string()]) }],
            creates: None,
            mapping_set: self.command.mapping_set.clone(),
            state: State::Queued,
            plan: self.plan_of_follower(),
            not_after: None,
        };
        let control_id = format!("follow-{number}:{}", self.command.id);
        Admission::own((environment, &self.shared.keys), &self.command.source, control_id, command)
    }
}
