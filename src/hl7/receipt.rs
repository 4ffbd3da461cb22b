//! Acknowledgements read: what the receiver of a message said, by MSA and ERR.
//!
//! Enters: the bytes of an answer. Leaves: its codes, what it answers, and every error in words. Guarantees: whatever the
//! bytes are, there is a receipt.

use super::{AckCode, Message};

/// What the receiver said.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    pub accepted: bool,
    /// MSA-1, of a batch reply those of all; `unreadable` where there is none.
    pub code: String,
    /// MSA-2.
    pub control_id: String,
    /// Table 0357, as far as the errors name codes of it.
    pub error_codes: Vec<u16>,
    pub errors: Vec<String>,
    pub words: String,
}

impl Receipt {
    /// Of one answer, or of every answer in a batch reply.
    pub fn read(answer: &[u8]) -> Self {
        read(answer)
    }
}

fn read(answer: &[u8]) -> Receipt {
    let text = String::from_utf8_lossy(answer);
    let Ok(message) = Message::parse(&text) else { return unreadable(&text) };
    let mut codes = Vec::new();
    let mut control_ids = Vec::new();
    let mut reasons = Vec::new();
    let (mut errors, mut error_codes) = (Vec::new(), Vec::new());
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
            "ERR" if field(3).is_empty() => {
                for eld in field(1).split('~') {
                    error_codes.extend(eld.split('^').nth(3).and_then(first_number));
                    errors.push(eld_in_words(eld));
                }
            }
            "ERR" => {
                error_codes.extend(first_number(&field(3)));
                errors.push(in_words(&place(&parts(&field(2), '^')), &parts(&field(3), '^'), &field(8)));
            }
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
    Receipt { accepted, code, control_id, error_codes, errors, words }
}

/// `207` of `207^Application internal error`, or of `207&Application internal error`.
fn first_number(code: &str) -> Option<u16> {
    code.split(['^', '&']).next()?.trim().parse().ok()
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

fn unreadable(text: &str) -> Receipt {
    let start: String = text.chars().take(80).filter(|c| !c.is_control()).collect();
    Receipt {
        accepted: false,
        code: "unreadable".to_owned(),
        control_id: String::new(),
        error_codes: Vec::new(),
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
            let receipt = Receipt::read(answer.as_bytes());
            assert_eq!((receipt.accepted, receipt.words.as_str()), (accepted, words), "{answer}");
        }
    }

    #[test]
    fn codes_of_table_0357_are_read_in_either_shape() {
        for (err, codes) in [
            ("ERR|||207^Application internal error\rERR|||101\r", vec![207, 101]),
            ("ERR|MSH^1^2^206&Locked~PID^1^3^102\r", vec![206, 102]),
            ("ERR|||busy\r", vec![]),
        ] {
            let answer = format!("MSH|^~\\&|G|G|A|B|20260316||ACK|1|P|2.4\rMSA|AE|E1\r{err}");
            assert_eq!(Receipt::read(answer.as_bytes()).error_codes, codes, "{err}");
        }
    }
}
