//! HL7 acknowledgements in words.

use std::path::Path;

use serde_json::{Value, json};

use crate::hl7::{AckCode, Message};

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
    let Ok(message) = Message::parse(&text) else { return unreadable(&text) };
    let mut codes = Vec::new();
    let mut control_ids = Vec::new();
    let mut reasons = Vec::new();
    let mut errors = Vec::new();
    for segment in message.segments() {
        let field = |number: u16| segment.field(number).map(|field| field.raw().to_owned()).unwrap_or_default();
        match segment.name() {
            "MSA" => {
                if !is_positive(&field(1)) && !field(3).is_empty() {
                    reasons.push(field(3));
                }
                codes.push(field(1));
                control_ids.push(field(2));
            }
            // From v2.5 on ERR-2 is the place, ERR-3 the code and ERR-8 the words; before, all is in ERR-1.
            "ERR" if field(3).is_empty() => errors.extend(field(1).split('~').map(eld_in_words)),
            "ERR" => errors.push(in_words(&place(&parts(&field(2), '^')), &parts(&field(3), '^'), &field(8))),
            _ => {}
        }
    }
    if codes.is_empty() {
        return unreadable(&text);
    }
    // MSA-3 only repeats what the ERR segments say in detail.
    if errors.is_empty() {
        errors = reasons;
    }
    let accepted = codes.iter().all(|code| is_positive(code));
    let code = codes.join(", ");
    let control_id = control_ids.join(", ");
    let mut words = format!("{code} {} {control_id}", if accepted { "accepted" } else { "refused" });
    for error in &errors {
        words.push_str("; ");
        words.push_str(error);
    }
    Verdict { accepted, code, control_id, errors, words }
}

fn is_positive(code: &str) -> bool {
    AckCode::parse(code.as_bytes()).is_some_and(AckCode::is_positive)
}

fn parts(field: &str, separator: char) -> Vec<String> {
    field.split(separator).map(str::to_owned).collect()
}

/// Segment, its ordinal, field, repetition, component: `PID-3.1`, `OBX(2)-5`.
fn place(location: &[String]) -> String {
    let part = |index: usize| location.get(index).map(String::as_str).unwrap_or_default();
    let mut place = part(0).to_owned();
    for (index, before, after) in [(1, "(", ")"), (2, "-", ""), (3, "(", ")"), (4, ".", "")] {
        // The first segment and the first repetition go without saying.
        let goes_without_saying = matches!(index, 1 | 3) && part(index) == "1";
        if !part(index).is_empty() && !goes_without_saying {
            place.extend([before, part(index), after]);
        }
    }
    place
}

/// ELD: segment, its ordinal, field, and the code as subcomponents.
fn eld_in_words(eld: &str) -> String {
    let components = parts(eld, '^');
    let code = components.get(3).map(|code| parts(code, '&')).unwrap_or_default();
    // A coding system after the text is followed by the alternate: here, the words in detail.
    let words = code.get(4).cloned().unwrap_or_default();
    in_words(&place(&components[..components.len().min(3)]), &code, &words)
}

fn in_words(place: &str, code: &[String], words: &str) -> String {
    // The words of this gateway begin with the code's own text; once is enough.
    if let [number, text, ..] = code
        && !text.is_empty()
        && words.starts_with(text.as_str())
    {
        return [place, &format!("{number} {words}")]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(": ");
    }
    let code = code.iter().take(2).filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ");
    [place, &code, words].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
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
                "AE refused E56; PID-3.1: 102 Data type error: NHS number check digit",
            ),
            (
                "MSH|^~\\&|G|G|A|B|20260316||ACK|1|P|2.5.1\rMSA|AE|E56\rERR||PID^1^3|102^Data type error|E||||Data type error, NHS number\r",
                false,
                "AE refused E56; PID-3: 102 Data type error, NHS number",
            ),
            (
                "MSH|^~\\&|G|G|A|B|20260316||ACK|1|P|2.3\rMSA|AR|E41\rERR|MSH^1^2^102&Data type error\r",
                false,
                "AR refused E41; MSH-2: 102 Data type error",
            ),
            ("HTTP/1.1 400 Bad Request", false, "the answer is not HL7 v2: HTTP/1.1 400 Bad Request"),
        ] {
            let verdict = read(answer.as_bytes());
            assert_eq!((verdict.accepted, verdict.words.as_str()), (accepted, words), "{answer}");
        }
    }
}
