//! HL7 acknowledgements in words.

use std::path::Path;

use serde_json::{Value, json};

use crate::hl7::Message;

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
    let text = String::from_utf8_lossy(answer);
    let mut codes = Vec::new();
    let mut control_ids = Vec::new();
    let mut errors = Vec::new();
    let Ok(message) = Message::parse(&text) else {
        return unreadable(&text);
    };
    for segment in message.segments() {
        let field = |number: u16| segment.field(number).map(|field| field.raw().to_owned()).unwrap_or_default();
        match segment.name() {
            "MSA" => {
                codes.push(field(1));
                control_ids.push(field(2));
                let text = field(3);
                if !text.is_empty() {
                    errors.push(text);
                }
            }
            "ERR" => errors.push(error_in_words(&field(1), &field(2), &field(3), &field(8))),
            _ => {}
        }
    }
    if codes.is_empty() {
        return unreadable(&text);
    }
    let accepted = codes.iter().all(|code| matches!(code.as_str(), "AA" | "CA"));
    let code = codes.join(", ");
    let control_id = control_ids.join(", ");
    let mut words = format!("{code} {} {control_id}", if accepted { "accepted" } else { "refused" });
    for error in &errors {
        words.push_str("; ");
        words.push_str(error);
    }
    Verdict { accepted, code, control_id, errors, words }
}

/// From v2.5 on ERR-2 is the place, ERR-3 the code and ERR-8 the words; before, all is in ERR-1.
fn error_in_words(eld: &str, place: &str, code: &str, words: &str) -> String {
    let spaced = |field: &str| field.split(['^', '&']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    if place.is_empty() && code.is_empty() {
        return spaced(eld);
    }
    [spaced(place), spaced(code), words.to_owned()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

fn unreadable(text: &str) -> Verdict {
    let start: String = text.chars().take(80).filter(|c| !c.is_control()).collect();
    Verdict {
        accepted: false,
        code: "unreadable".to_owned(),
        control_id: String::new(),
        errors: vec![format!("the answer is not HL7 v2: {start}")],
        words: format!("the answer is not HL7 v2: {start}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_in_words() {
        for (answer, accepted, words) in [
            ("MSH|^~\\&|G|G|A|B|20260316||ACK|1|P|2.4\rMSA|AA|E40\r", true, "AA accepted E40"),
            (
                "MSH|^~\\&|G|G|A|B|20260316||ACK|1|P|2.5.1\rMSA|AE|E56\rERR||PID^1^3^1^1|102^Data type error|E||||NHS number check digit\r",
                false,
                "AE refused E56; PID 1 3 1 1, 102 Data type error, NHS number check digit",
            ),
            (
                "MSH|^~\\&|G|G|A|B|20260316||ACK|1|P|2.3\rMSA|AR|E41\rERR|MSH^1^2^102&Data type error\r",
                false,
                "AR refused E41; MSH 1 2 102 Data type error",
            ),
            ("HTTP/1.1 400 Bad Request", false, "the answer is not HL7 v2: HTTP/1.1 400 Bad Request"),
        ] {
            let verdict = read(answer.as_bytes());
            assert_eq!((verdict.accepted, verdict.words.as_str()), (accepted, words), "{answer}");
        }
    }
}
