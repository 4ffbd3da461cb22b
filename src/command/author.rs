//! Whose command it is, as the message says it.

use serde_json::Value;

/// Commands whose `clinician` is who decided, and not whom an appointment is with.
const DECISIONS: [&str; 7] = [
    "AcceptReferral",
    "CancelAppointmentActionLater",
    "ConvertAdviceToReferral",
    "DecideReferral",
    "RecordReviewOutcome",
    "RejectReferral",
    "SendAdviceResponse",
];

/// Who asks for it: whom the message names as its author; else who decided, or who refers. An NHS user id, or whatever its
/// source calls its user.
pub fn author<'b>(name: &str, body: &'b Value) -> Option<&'b str> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let decided = || DECISIONS.contains(&name).then(|| text("/clinician")).flatten();
    text("/author").or_else(decided).or_else(|| text("/referrer/sdsUserId"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_author_is_who_is_named_or_who_decided_or_who_refers() {
        for (name, body, whose) in [
            ("CreateReferral", json!({"referrer": {"sdsUserId": "555000000001"}}), Some("555000000001")),
            ("CreateReferral", json!({"author": "JSMITH", "referrer": {"sdsUserId": "555000000001"}}), Some("JSMITH")),
            ("AcceptReferral", json!({"clinician": "555000000002"}), Some("555000000002")),
            // With whom the appointment is, and nobody's word.
            ("BookAppointment", json!({"clinician": "555000000002"}), None),
            ("CreateReferral", json!({"clinician": "555000000002"}), None),
            ("CreateReferral", json!({"referrer": {"family": "Example"}}), None),
        ] {
            assert_eq!(author(name, &body), whose, "{name} {body}");
        }
    }
}
