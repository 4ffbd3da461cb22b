//! The HL7 v2 messages that one destination is told of an event, with the documents that go along.

use std::sync::Arc;

use serde_json::{Value, json};

use super::addressee::Addressee;
use super::telling::{Planned, Telling};
use crate::environment::Environment;
use crate::given::Given;
use crate::mapping::OutboundDialect;
use crate::store::{DueDispatch, Made, NewDispatch, Result, Store, StoredEvent, document_at};

/// Of a document that goes along, before base64.
const DOCUMENT_BYTES_MAX: usize = 24 * 1024 * 1024;

pub(super) struct Messages {
    pub addressee: Addressee,
    pub store: Arc<dyn Store>,
    pub given: Given,
    pub environment: Environment,
}

impl Messages {
    pub async fn dispatches(&self, event: &StoredEvent, dialect: &OutboundDialect) -> Result<Vec<NewDispatch>> {
        let telling = Telling::new(&self.addressee, event, &self.given);
        let mut dispatches = Vec::new();
        for planned in telling.plan(dialect) {
            dispatches.push(NewDispatch {
                id: self.given.dispatch_id(&telling.which(&planned)),
                subject: format!("event {}", event.id),
                event: Some(event.position),
                at: self.environment.now(),
                made: self.make(&telling, &planned).await?,
            });
        }
        Ok(dispatches)
    }

    async fn make(&self, telling: &Telling<'_>, planned: &Planned<'_>) -> Result<Made> {
        let document = match planned.document() {
            None => Value::Null,
            Some(href) => match document_at(self.store.as_ref(), href).await? {
                Ok(found) if found.bytes.len() > DOCUMENT_BYTES_MAX => {
                    return Ok(Made::Unmade("the document is too large for a message".to_owned()));
                }
                Ok(found) => json!({ "contentType": found.content_type, "base64": found.base64() }),
                Err(why) => return Ok(Made::Unmade(why.to_owned())),
            },
        };
        Ok(telling.make(planned, document, self.environment.now()))
    }

    /// One that could not be made, once more by the files of now.
    pub async fn make_anew(
        &self,
        dispatch: &DueDispatch,
        event: &StoredEvent,
        dialect: Option<&OutboundDialect>,
    ) -> Result<Made> {
        let Some(dialect) = dialect else {
            return Ok(Made::Unmade(format!("there is no mappings/outbound/{}", self.addressee.dialect)));
        };
        let telling = Telling::new(&self.addressee, event, &self.given);
        let planned = telling.plan(dialect);
        match planned.iter().find(|planned| self.given.dispatch_id(&telling.which(planned)) == dispatch.id) {
            None => Ok(Made::Unmade("no mapping file makes it of its event now: see by the event whether something is still to be told, then discard it".to_owned())),
            Some(planned) => self.make(&telling, planned).await,
        }
    }
}
