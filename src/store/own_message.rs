//! Messages of the gateway itself: looks at worklists, what they find, and what follows a command.

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Admission, NewCommand, NewMessage, Transport};
use crate::command::{MessageId, Verdict};
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
}
