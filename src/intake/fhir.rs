//! FHIR through the door (HTTP, AMQP): JSON, resources, mapping, commit.
//!
//! A message names itself by the identifier of its Bundle or the id of its MessageHeader, so that a resend is answered
//! from the record; an `Idempotency-Key` goes before that, an AMQP message id behind it.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::admission::{Decision, Received, key_reused};
use super::answer::{Answer, Outcome};
use super::fhir_reading::{FhirReading, read_fhir};
use super::keeping::Kept;
use super::sources::KnownSource;
use super::{Inbound, Intake};
use crate::config::ControlIdReuse;
use crate::mapping::{Location, Problem, hex};
use crate::store::{StoreError, Transport};

/// Of a control id; a longer one is known by its digest.
const CONTROL_ID_CHARS_MAX: usize = 200;

impl Intake {
    pub(super) async fn receive_fhir(&self, inbound: &Inbound, bytes: Bytes, key: Option<String>) -> Answer {
        let Some(source) = inbound.source.as_ref().and_then(|name| self.sources.named(name)) else {
            let text = "no configured source: name one that the gateway knows";
            return Answer::bare(Outcome::UnknownSource, vec![Problem::new(Location::Message, 207, text)]);
        };
        if bytes.len() > source.config.message_bytes_max {
            let text = format!("the message is larger than {} bytes", source.config.message_bytes_max);
            return Answer::bare(Outcome::TooLarge, vec![Problem::new(Location::Message, 104, text)]);
        }
        let FhirReading { decision, kind, places, own_id, is_unreadable, unused } =
            read_fhir(&self.mappings.current(), source, &bytes);
        for element in &unused {
            self.metrics.unused_element(&source.config.name, element);
        }
        let control_id = match inbound.transport {
            Transport::Amqp => own_id.or(key),
            _ => key.or(own_id),
        };
        let received = Received {
            inbound,
            source,
            sha256: Sha256::digest(&bytes).into(),
            raw: bytes,
            charset: encoding_rs::UTF_8.name(),
            control_id: control_id.map(short),
            kind,
            places,
            expected: None,
        };
        let answer = self.keep_fhir(received, decision).await.unwrap_or_else(|error| {
            tracing::error!(source = %source.config.name, %error, "a message could not be stored and was not accepted");
            Answer::bare(Outcome::Unavailable, Vec::new())
        });
        let refused_as_it_is = is_unreadable && answer.outcome == Outcome::Rejected;
        Answer { outcome: if refused_as_it_is { Outcome::Unreadable } else { answer.outcome }, ..answer }
    }

    /// A control id that was used for other content is refused, or taken by setting, as in HL7 v2.
    async fn keep_fhir(&self, mut received: Received<'_>, decision: Decision) -> Result<Answer, StoreError> {
        let earlier = match self.keep(&received, decision).await? {
            Kept::Answered(answer) => return Ok(answer),
            Kept::KeyReused { earlier, .. } => earlier,
        };
        tracing::warn!(first.message.id = %earlier, "a control id came again with other content");
        if received.source.config.same_control_id_other_content == ControlIdReuse::Accept {
            // Known from now on by its control id and its content together.
            let digest = hex(&Sha256::digest(&received.raw)[..4]);
            received.control_id = received.control_id.map(|id| format!("{id} ({digest})"));
            let decision = self.read_again(received.source, &received.raw);
            if let Kept::Answered(answer) = self.keep(&received, decision).await? {
                return Ok(answer);
            }
        }
        received.control_id = None;
        let problems = vec![key_reused(Location::Message)];
        match self.keep(&received, Decision::Refuse(problems.clone())).await? {
            Kept::Answered(answer) => Ok(answer),
            Kept::KeyReused { .. } => Ok(Answer::bare(Outcome::Rejected, problems)),
        }
    }

    fn read_again(&self, source: &KnownSource, bytes: &Bytes) -> Decision {
        read_fhir(&self.mappings.current(), source, bytes).decision
    }
}

fn short(id: String) -> String {
    if id.chars().count() <= CONTROL_ID_CHARS_MAX { id } else { format!("sha256:{}", hex(&Sha256::digest(id))) }
}
