//! Events of a transaction: each gets the next sequence of its thread.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Published, Workspace};
use crate::environment::Environment;
use crate::store::unreadable::if_whole;
use crate::store::vault::{Column, Sealer};
use crate::store::{NewEvent, Result};

/// An event's data, written out before the database is asked.
pub(in crate::store::postgres) struct EventText(String);

impl EventText {
    pub(in crate::store::postgres) fn of(event: &NewEvent, sealer: &Sealer<'_>) -> Self {
        Self(sealer.text(Column::EventData.of_id(event.id.0), event.data.to_string()))
    }
}

impl Workspace {
    pub(in crate::store::postgres) fn publish(
        &mut self,
        thread: i64,
        event: &NewEvent,
        text: &EventText,
    ) -> Result<()> {
        let row = self.thread_mut(thread)?;
        row.sequence += 1;
        row.changed = true;
        let (id, sequence) = (row.id, row.sequence);
        self.events.push(Published {
            id: event.id.0,
            name: event.name.clone(),
            at: event.at,
            source: event.source.clone(),
            subject: event.subject.clone(),
            thread: id,
            sequence,
            data: text.0.clone(),
        });
        self.bells.outbox = true;
        Ok(())
    }

    /// Publishes what the store itself decided about a command: which, whose, about which referral; nothing of
    /// the patient. `more`: what else `schemas/events/<name>.json` asks for.
    pub(in crate::store::postgres) fn publish_about(
        &mut self,
        command: i64,
        name: &str,
        at: Timestamp,
        more: Value,
        environment: &Environment,
    ) -> Result<()> {
        let row = self.command_mut(command)?.clone();
        let known = self.thread(row.thread)?.view(&self.vault)?.known;
        let mut data = Map::new();
        data.insert("command".into(), row.id.to_string().into());
        data.insert("commandName".into(), row.name.into());
        data.insert("message".into(), row.message.to_string().into());
        if let Some(local_id) = row.local_id {
            let local_id = self.vault.open_text(Column::CommandLocalId.of_id(row.id), &local_id);
            if let Some(local_id) = if_whole(local_id)? {
                data.insert("localId".into(), local_id.into_owned().into());
            }
        }
        if let Some(ubrn @ Value::String(_)) = known.get("ubrn") {
            data.insert("ubrn".into(), ubrn.clone());
        }
        if let Value::Object(more) = more {
            data.extend(more);
        }
        self.publish_of(command, name, at, data, environment)
    }

    /// Publishes an event of a command as it stands.
    pub(in crate::store::postgres) fn publish_of(
        &mut self,
        command: i64,
        name: &str,
        at: Timestamp,
        data: Map<String, Value>,
        environment: &Environment,
    ) -> Result<()> {
        let row = self.command_mut(command)?.clone();
        let event = NewEvent {
            id: crate::command::EventId(environment.new_id()),
            name: name.to_owned(),
            at,
            source: self.source_name(row.source)?.to_owned(),
            subject: row.id.to_string(),
            data: data.into(),
        };
        let text = EventText::of(&event, &self.vault.sealer());
        self.publish(row.thread, &event, &text)
    }
}
