//! HL7 acknowledgements in words.

use std::path::Path;

use serde_json::{Value, json};

use crate::hl7::Receipt;

/// What the receiver said.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    pub accepted: bool,
    /// `AA`, `CE`, `HTTP 202`, or `none`
    pub code: String,
    pub control_id: String,
    pub errors: Vec<String>,
    pub words: String,
}

impl Verdict {
    /// No answer by design: the message asked for none.
    pub fn silence() -> Self {
        Self {
            accepted: true,
            code: "none".to_owned(),
            control_id: String::new(),
            errors: Vec::new(),
            words: "taken; the message wants no answer".to_owned(),
        }
    }

    /// The answers to raw bytes, in their order; none is no refusal, since nobody said how many there would be.
    pub fn of_several(verdicts: &[Self]) -> Self {
        let together = |part: fn(&Self) -> &str| verdicts.iter().map(part).collect::<Vec<_>>().join(", ");
        Self {
            accepted: verdicts.iter().all(|verdict| verdict.accepted),
            code: if verdicts.is_empty() { "none".to_owned() } else { together(|verdict| &verdict.code) },
            control_id: together(|verdict| &verdict.control_id),
            errors: verdicts.iter().flat_map(|verdict| verdict.errors.clone()).collect(),
            words: if verdicts.is_empty() { "no answer".to_owned() } else { together(|verdict| &verdict.words) },
        }
    }

    pub fn json(&self, file: &Path, milliseconds: u128) -> Value {
        json!({
            "file": file.display().to_string(),
            "code": self.code,
            "accepted": self.accepted,
            "controlId": self.control_id,
            "errors": self.errors,
            "milliseconds": milliseconds,
        })
    }
}

/// Reads the MSA and ERR segments of one answer, or of every answer in a batch reply.
pub fn read(answer: &[u8]) -> Verdict {
    let Receipt { accepted, code, control_id, errors, words, .. } = Receipt::read(answer);
    Verdict { accepted, code, control_id, errors, words }
}
