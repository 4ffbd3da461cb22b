//! Messages of the gateway itself: looks at worklists, what they find, and what follows a command.

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Admission, NewCommand, NewEvent, NewMessage, Transport};
use crate::command::{EventId, MessageId, Verdict};
use crate::environment::Environment;
use crate::keys::Keys;

impl Admission {
    /// A command that the gateway asks for itself. `control_id` names what it is for: the store knows a second one of it.
    pub fn own(
        (environment, keys): (&Environment, &Keys),
        source: &str,
        control_id: String,
        command: NewCommand,
    ) -> Self {
        let raw = Bytes::from(command.body.to_string());
        let patients = keys.patients_in(&raw);
        let message = NewMessage {
            id: MessageId(environment.new_id()),
            source: source.to_owned(),
            transport: Transport::Poll,
            control_id: Some(control_id),
            received_at: environment.now(),
            sha256: Sha256::digest(&raw).into(),
            charset: "UTF-8".into(),
            kind: command.name.clone(),
            raw,
            problems: Value::Null,
        };
        Self {
            message,
            verdict: Verdict::Accepted,
            acknowledgement: Bytes::new(),
            commands: vec![command],
            documents: Vec::new(),
            events: Vec::new(),
            patients,
            taken_again: None,
        }
    }

    /// An event of the gateway itself, about no referral. `control_id` names it: the store knows a second one of it.
    pub fn own_event(
        (environment, keys): (&Environment, &Keys),
        (source, control_id): (&str, String),
        name: &str,
        mut data: Value,
    ) -> Self {
        let (id, now) = (MessageId(environment.new_id()), environment.now());
        let raw = Bytes::from(data.to_string());
        if let Some(data) = data.as_object_mut() {
            data.insert("message".into(), id.to_string().into());
        }
        let event = NewEvent {
            id: EventId(environment.new_id()),
            name: name.to_owned(),
            at: now,
            source: source.to_owned(),
            subject: id.to_string(),
            data,
        };
        let message = NewMessage {
            id,
            source: source.to_owned(),
            transport: Transport::Poll,
            control_id: Some(control_id),
            received_at: now,
            sha256: Sha256::digest(&raw).into(),
            charset: "UTF-8".into(),
            kind: name.to_owned(),
            raw,
            problems: Value::Null,
        };
        Self {
            patients: keys.patients_in(&message.raw),
            message,
            verdict: Verdict::Notice,
            acknowledgement: Bytes::new(),
            commands: Vec::new(),
            documents: Vec::new(),
            events: vec![event],
            taken_again: None,
        }
    }
}
