//! Operations that e-RS has replaced, or only promises: off, unless a source asks for them.

use super::*;
use crate::mapping::PlanProblem;

fn preview(command: &str, body: &Value, settings: &Value) -> Result<Vec<PreparedCall>, PlanProblem> {
    let set = set();
    assert_eq!(set.schemas().violations(command, body), [], "the command is valid");
    let (known, connection) = (
        json!({"ubrn": "000000070002"}),
        json!({"codeSystemBase": "_baseUrl_", "businessFunction": "REFERRING_CLINICIAN"}),
    );
    let now = "2026-03-16T09:30:00.000Z";
    set.preview(&PlanContext { command, id: "", body, known: &known, connection: &connection, settings, now })
}

fn names(calls: &[PreparedCall]) -> Vec<&str> {
    calls.iter().map(|call| call.call.as_str()).collect()
}

fn triage(service: &str) -> Value {
    json!({
        "patient": {"nhsNumber": "9912003888"}, "priority": "ROUTINE", "specialty": "CARDIOLOGY",
        "clinicType": "HEART_FAILURE", "criteria": {"ageAndGenderAppropriate": false},
        "shortlist": [{"service": service}], "letterIntention": "NEED_TO_ADD_LATER", "firstReminderDays": 0,
        "then": "triage",
    })
}

fn new_referral() -> Value {
    let mut body = triage("11004");
    body["localId"] = "R1".into();
    body["letters"] = json!([{
        "fileName": "notes.txt", "contentType": "text/plain", "bytes": 5, "sha256": "a".repeat(64),
        "content": {"in": "document", "number": 1},
    }]);
    body
}

#[test]
fn one_call_for_triage_is_made_only_where_a_source_asks_for_it() {
    let on = json!({"triageInOneCall": true});
    let create = new_referral();
    let calls = preview("CreateReferral", &create, &on).expect("a plan");
    assert_eq!(names(&calls), ["A021", "A020", "A012"], "the letter follows");
    let calls = preview("CreateReferral", &create, &json!({})).expect("a plan");
    assert_eq!(names(&calls), ["A011", "A020", "A012", "A016"]);

    let mut change = triage("11004");
    change["ubrn"] = "000000070002".into();
    assert_eq!(names(&preview("ChangeShortlist", &change, &on).expect("a plan")), ["A005", "A032"]);
    assert_eq!(names(&preview("ChangeShortlist", &change, &json!({})).expect("a plan")), ["A005", "A031", "A016"]);
}

#[test]
fn one_call_for_triage_takes_one_service_whose_letter_follows() {
    let on = json!({"triageInOneCall": true});
    for (member, value) in [
        ("shortlist", json!([{"service": "11004"}, {"service": "50001"}])),
        ("letterIntention", json!("NOT_INTENDING_TO_ADD")),
        ("firstReminderDays", json!(7)),
    ] {
        let mut create = new_referral();
        create[member] = value;
        let problem = preview("CreateReferral", &create, &on).expect_err(member);
        assert_eq!(problem.code, "TRIAGE_IN_ONE_CALL", "{member}");
        assert!(preview("CreateReferral", &create, &json!({})).is_ok(), "{member}");
    }
}

#[test]
fn service_requests_are_searched_only_where_a_source_asks_for_it() {
    let body = json!({"ubrn": "000000070002"});
    assert_eq!(preview("FindServiceRequests", &body, &json!({})).expect_err("off").code, "A041_IS_OFF");
}

#[test]
fn a_version_is_read_by_its_number() {
    for (command, more, path) in [
        ("RetrieveReferral", json!({}), "/STU3/ReferralRequest/000000070002/_history/7"),
        ("RetrieveAdviceRequest", json!({}), "/STU3/CommunicationRequest/000000070002/_history/7"),
        ("RetrieveAppointment", json!({"appointment": "70000"}), "/STU3/Appointment/70000/_history/7"),
    ] {
        let mut body = json!({"ubrn": "000000070002", "version": "7"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        assert_eq!(preview(command, &body, &json!({})).expect("a plan")[0].path, path);
    }
}
