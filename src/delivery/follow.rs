//! Commands that a finished plan has carried out next, each with a message and a thread of its own.
//!
//! Enters: what the plan asks for when all its calls are done. Leaves: messages in the store, before the command is
//! completed. Guarantees: each is there once, whatever happens in between: its control id names the command that it
//! follows, and the store knows a resend.

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::ledger::Abandoned;
use super::run::{Flow, Run};
use crate::command::{Class, CommandId, MessageId, State, Verdict};
use crate::mapping::FollowUp;
use crate::store::{Admission, Alias, AliasKind, NewCommand, NewMessage, StoreError, Transport};

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

    fn admission(&self, number: usize, next: FollowUp) -> Admission {
        let environment = &self.shared.environment;
        let raw = Bytes::from(next.body.to_string());
        let id = CommandId(environment.new_id());
        let kind = AliasKind::Command;
        let command = NewCommand {
            id,
            name: next.command.clone(),
            body: next.body,
            class: Class::Poll,
            aliases: vec![Alias { kind, digest: self.shared.keys.alias_digest(kind, &[&id.to_string()]) }],
            creates: None,
            mapping_set: self.command.mapping_set.clone(),
            state: State::Queued,
            plan: Value::Null,
            not_after: None,
        };
        let message = NewMessage {
            id: MessageId(environment.new_id()),
            source: self.command.source.clone(),
            transport: Transport::Poll,
            control_id: Some(format!("follow-{number}:{}", self.command.id)),
            received_at: environment.now(),
            sha256: Sha256::digest(&raw).into(),
            charset: "UTF-8".into(),
            kind: next.command,
            raw,
            problems: Value::Null,
        };
        Admission {
            message,
            verdict: Verdict::Accepted,
            acknowledgement: Bytes::new(),
            commands: vec![command],
            documents: Vec::new(),
            events: Vec::new(),
            taken_again: None,
        }
    }
}
