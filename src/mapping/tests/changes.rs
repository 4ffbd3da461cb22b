//! Cancelling, changing and writing letters: the official samples, and what is refused before anything is written.

use super::*;
use crate::mapping::{Document, PlanProblem};

/// How a plan went: the calls that were made, and how it ended.
pub(super) struct Walk {
    pub calls: Vec<PreparedCall>,
    pub end: Result<Value, PlanProblem>,
    pub events: Vec<(String, Value)>,
}

impl Walk {
    pub fn names(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call.call.as_str()).collect()
    }

    pub fn code(&self) -> &str {
        self.end.as_ref().err().map_or("", |problem| problem.code.as_str())
    }
}

/// Walks a plan to its end, each call answered by `answers`.
pub(super) fn walk(
    set: &MappingSet,
    (command, body): (&str, &Value),
    function: Option<&str>,
    answers: &dyn Fn(&PreparedCall) -> Reply,
) -> Walk {
    assert_eq!(set.schemas().violations(command, body), [], "the command is valid");
    let mut connection = json!({"codeSystemBase": "_baseurl_"});
    if let Some(function) = function {
        connection["businessFunction"] = function.into();
    }
    let (known, settings) = (json!({"ubrn": "000000070000"}), json!({}));
    let context = PlanContext {
        command,
        body,
        known: &known,
        connection: &connection,
        settings: &settings,
        now: "2026-03-16T09:30:00.000Z",
    };
    let mut state = PlanState::default();
    let mut walk = Walk { calls: Vec::new(), end: Ok(Value::Null), events: Vec::new() };
    loop {
        let call = match set.next_call(&context, &mut state) {
            Ok(NextCall::Call(call)) => call,
            Ok(NextCall::Done { result }) => {
                walk.end = Ok(result);
                return walk;
            }
            Err(problem) => {
                walk.end = Err(problem);
                return walk;
            }
        };
        let absorbed = set.absorb(&context, &mut state, &call, &answers(&call));
        walk.calls.push(*call);
        match absorbed {
            Ok(absorbed) => walk.events.extend(absorbed.events.into_iter().map(|event| (event.name, event.data))),
            Err(problem) => {
                walk.end = Err(problem);
                return walk;
            }
        }
    }
}

fn referral(sample: &str) -> Value {
    official(&format!("a005-retrieve-referral-request/{sample}.json"))
}

/// e-RS as a cancellation meets it: this referral, the published reasons, these actions.
fn cancels(referral: &Value, reasons: &Value, actions: &[&str], done: &str) -> impl Fn(&PreparedCall) -> Reply + use<> {
    let coded = |code: &&str| json!({"resource": {"code": {"coding": [{"code": code}]}}});
    let tasks = json!({"entry": actions.iter().map(coded).collect::<Vec<_>>()});
    let done = official(&format!("a036-cancel-referral/{done}.json"));
    let (referral, reasons) = (referral.clone(), reasons.clone());
    move |call| {
        let body = match call.call.as_str() {
            "A005" => &referral,
            "A004" => &reasons,
            "A029" => &tasks,
            _ => &done,
        };
        answer(200, &[], body.clone())
    }
}

fn reasons() -> Value {
    official("a004-retrieve-reference-data/response-referral-cancellation-reason-code-system.json")
}

#[test]
fn official_a036_samples_are_made_exactly() {
    let set = set();
    let comment = "This is a cancellation reason comment";
    let unbooked = referral("response-unbooked");
    let mut triaged = unbooked.clone();
    set_state(&mut triaged, "TRIAGED_PROVIDER_TO_ACTION");
    let (referrer, provider) = (Some("REFERRING_CLINICIAN"), Some("SERVICE_PROVIDER_CLINICIAN"));
    for (reason, commented, function, referral, request, done, appointment) in [
        (
            "BOOKED_OUTSIDE_CAB",
            false,
            provider,
            &unbooked,
            "request-booked-outside-cab-without-comment",
            "response-cancelled-referral-booked-outside-cab-without-comment",
            None,
        ),
        (
            "INTEND_PRIVATE",
            false,
            None,
            &unbooked,
            "request-intend-private-without-comment",
            "response-cancelled-referral-intend-private-without-comment",
            None,
        ),
        (
            "TREATMENT_NO_LONGER_REQUIRED",
            true,
            referrer,
            &referral("response-booked-dbs"),
            "request-no-longer-required",
            "response-cancelled-referral-with-cancelled-booking-no-longer-required",
            None,
        ),
        (
            "OUTPATIENT_SERVICE_NA",
            true,
            provider,
            &triaged,
            "request-outpatient-service",
            "response-cancelled-referral-outpatient-service",
            None,
        ),
        (
            "PATIENT_REQUEST_CANCELLATION_OTHER",
            true,
            referrer,
            &unbooked,
            "request-patient-request-cancellation-other",
            "response-cancelled-referral-patient-other",
            None,
        ),
        (
            "REFERRER_CANCELLATION",
            true,
            referrer,
            &referral("response-booked-dbs"),
            "request-referrer-cancellation",
            "response-cancelled-booked-referral-referrer-cancellation",
            Some("70001"),
        ),
    ] {
        let mut command = json!({"ubrn": "000000070000", "reason": reason});
        if commented {
            command["comment"] = comment.into();
        }
        let answers = cancels(referral, &reasons(), &["CANCEL_REFERRAL"], done);
        let walk = walk(&set, ("CancelReferral", &command), function, &answers);
        assert!(walk.end.is_ok(), "{request}: {:?}", walk.end);
        assert_eq!(walk.names(), ["A005", "A004", "A029", "A036"], "{request}");
        assert_eq!(json_body(&walk.calls, "A036"), &official(&format!("a036-cancel-referral/{request}.json")));
        let version = referral["meta"]["versionId"].as_str().expect("a version");
        assert_eq!(walk.calls[3].path, "/STU3/ReferralRequest/000000070000/$ers.cancelReferral");
        assert_eq!(walk.calls[3].headers, [("If-Match".to_owned(), format!("W/\"{version}\""))], "{request}");
        assert!(walk.calls[2].path.contains(&format!("focus=ReferralRequest/000000070000/_history/{version}")));
        let (name, data) = &walk.events[0];
        let parameters = official(&format!("a036-cancel-referral/{done}.json"));
        let mut expected = json!({
            "ubrn": "000000070000", "reason": reason,
            "version": parameters["parameter"][0]["resource"]["meta"]["versionId"],
        });
        if let Some(appointment) = appointment {
            expected["appointment"] = appointment.into();
        }
        assert_eq!((name.as_str(), data), ("ReferralCancelled", &expected), "{done}");
    }
}

fn set_state(referral: &mut Value, state: &str) {
    let extensions = referral["extension"].as_array_mut().expect("extensions");
    let found = extensions.iter_mut().find(|e| e["url"].as_str().is_some_and(|url| url.contains("ReferralState")));
    let parts = found.expect("a state")["extension"].as_array_mut().expect("parts");
    let part = parts.iter_mut().find(|part| part["url"] == "state").expect("the state itself");
    part["valueCoding"]["code"] = state.into();
}

/// The published reasons with one property of one of them changed, or taken away.
fn with_property(code: &str, property: &str, value: Value) -> Value {
    let mut list = reasons();
    let concepts = list["concept"].as_array_mut().expect("concepts");
    let concept = concepts.iter_mut().find(|concept| concept["code"] == code).expect("a published reason");
    let properties = concept["property"].as_array_mut().expect("properties");
    properties.retain(|held| held["code"] != property);
    if let Value::Object(mut members) = value {
        members.insert("code".into(), property.into());
        properties.push(members.into());
    }
    list
}

#[test]
fn a_cancellation_that_cannot_succeed_ends_before_it_is_written() {
    let set = set();
    let unbooked = referral("response-unbooked");
    let booked = referral("response-booked-dbs");
    let mut cancelled = unbooked.clone();
    set_state(&mut cancelled, "CANCELLED_REFERRAL");
    let published = reasons();
    let raised = |property: &str, value: Value| with_property("RAISED_IN_ERROR", property, value);
    let read_only: &[&str] = &["A005"];
    let (reasons_read, all_read): (&[&str], &[&str]) = (&["A005", "A004"], &["A005", "A004", "A029"]);
    let date = |text: &str| json!({"valueDateTime": text});
    let allowed: &[&str] = &["CANCEL_REFERRAL"];
    for (reason, more, function, referral, list, actions, code, calls) in [
        (
            "RAISED_IN_ERROR",
            json!({}),
            "REFERRING_CLINICIAN",
            &cancelled,
            &published,
            allowed,
            "REFERRAL_CANCELLED_ALREADY",
            read_only,
        ),
        (
            "RAISED_IN_ERROR",
            json!({"patient": {"nhsNumber": "9994121405"}}),
            "REFERRING_CLINICIAN",
            &unbooked,
            &published,
            allowed,
            "PATIENT_DIFFERS",
            read_only,
        ),
        (
            "CHANGED_MIND",
            json!({}),
            "REFERRING_CLINICIAN",
            &unbooked,
            &published,
            allowed,
            "REASON_UNKNOWN",
            reasons_read,
        ),
        (
            "PROVIDER_CANCELLATION",
            json!({}),
            "REFERRING_CLINICIAN",
            &unbooked,
            &published,
            allowed,
            "REASON_NOT_FOR_REFERRALS",
            reasons_read,
        ),
        (
            "RAISED_IN_ERROR",
            json!({}),
            "REFERRING_CLINICIAN",
            &unbooked,
            &raised("effectiveTo", date("2026-03-16T00:00:00.000Z")),
            allowed,
            "REASON_NOT_IN_FORCE",
            reasons_read,
        ),
        (
            "RAISED_IN_ERROR",
            json!({}),
            "REFERRING_CLINICIAN",
            &unbooked,
            &raised("effectiveFrom", date("2026-03-17T00:00:00.000Z")),
            allowed,
            "REASON_NOT_IN_FORCE",
            reasons_read,
        ),
        (
            "BOOKED_OUTSIDE_CAB",
            json!({}),
            "REFERRING_CLINICIAN",
            &unbooked,
            &published,
            allowed,
            "REASON_NOT_FOR_FUNCTION",
            reasons_read,
        ),
        (
            "NO_LONGER_REQUIRED",
            json!({"comment": "x"}),
            "SERVICE_PROVIDER_CLINICIAN",
            &unbooked,
            &published,
            allowed,
            "REASON_NOT_FOR_STATE",
            reasons_read,
        ),
        (
            "RAISED_IN_ERROR",
            json!({}),
            "REFERRING_CLINICIAN",
            &booked,
            &raised("canCancelAppointment", json!({"valueBoolean": false})),
            allowed,
            "REASON_CANNOT_CANCEL_APPOINTMENT",
            reasons_read,
        ),
        (
            "PATIENT_REQUEST_CANCELLATION_OTHER",
            json!({}),
            "REFERRING_CLINICIAN",
            &unbooked,
            &published,
            allowed,
            "COMMENT_REQUIRED",
            reasons_read,
        ),
        (
            "RAISED_IN_ERROR",
            json!({}),
            "REFERRING_CLINICIAN",
            &unbooked,
            &published,
            &["CREATE_APPOINTMENT"],
            "CANCELLATION_NOT_AVAILABLE",
            all_read,
        ),
        (
            "RAISED_IN_ERROR",
            json!({}),
            "REFERRING_CLINICIAN",
            &unbooked,
            &published,
            &[],
            "CANCELLATION_NOT_AVAILABLE",
            all_read,
        ),
    ] {
        let mut command = json!({"ubrn": "000000070000", "reason": reason});
        command.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let done = "response-cancelled-referral-intend-private-without-comment";
        let walk = walk(&set, ("CancelReferral", &command), Some(function), &cancels(referral, list, actions, done));
        assert_eq!((walk.code(), walk.names()), (code, calls.to_vec()), "{reason} {more}: {:?}", walk.end);
        assert!(walk.events.is_empty());
    }
}

/// The referral sample with one letter, and two more.
fn with_three_letters() -> Value {
    let mut referral = referral("response-unbooked");
    let contained = referral["contained"].as_array_mut().expect("contained resources");
    let first = contained.iter().find(|one| one["resourceType"] == "DocumentReference").expect("a letter").clone();
    for number in ["2", "3"] {
        let mut letter = first.clone();
        letter["id"] = format!("DocumentReference-9000{number}").into();
        letter["content"][0]["attachment"]["url"] = format!("Binary/letter-{number}").into();
        letter["content"][0]["attachment"]["title"] = format!("letter-{number}.pdf").into();
        contained.push(letter);
    }
    // What the provider attached is none of the referrer's.
    let mut theirs = first;
    theirs["id"] = "DocumentReference-90009".into();
    theirs["type"]["coding"][0]["code"] = "PROVIDER".into();
    theirs["content"][0]["attachment"]["title"] = "outcome.pdf".into();
    contained.push(theirs);
    referral
}

fn removal(remove: Value) -> Walk {
    let command = json!({"ubrn": "000000070000", "remove": remove});
    let answers = |call: &PreparedCall| match call.call.as_str() {
        "A005" => answer(200, &[], with_three_letters()),
        _ => answer(200, &[], json!({"meta": {"versionId": "9"}})),
    };
    walk(&set(), ("RemoveLetters", &command), Some("REFERRING_CLINICIAN"), &answers)
}

#[test]
fn letters_that_are_not_named_stay() {
    let first = "Binary/19eb7224-dff3-4730-a5cb-67eac811f1a5";
    for (remove, remaining, removed) in [
        (json!([{"fileName": "letter-2.pdf"}]), vec![first, "Binary/letter-3"], vec!["Binary/letter-2"]),
        (json!([{"document": "Binary/letter-3"}]), vec![first, "Binary/letter-2"], vec!["Binary/letter-3"]),
        (
            json!([{"document": "DocumentReference-90002"}, {"fileName": "letter-3.pdf"}]),
            vec![first],
            vec!["Binary/letter-2", "Binary/letter-3"],
        ),
    ] {
        let walk = removal(remove.clone());
        assert!(walk.end.is_ok(), "{remove}: {:?}", walk.end);
        assert_eq!(walk.names(), ["A005", "A012"]);
        let linked: Vec<&str> = json_body(&walk.calls, "A012")["parameter"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|part| part["resource"]["content"][0]["attachment"]["url"].as_str())
            .collect();
        assert_eq!(linked, remaining, "{remove}");
        let (name, data) = &walk.events[0];
        let told: Vec<&str> =
            data["letters"].as_array().expect("letters").iter().filter_map(|one| one["binary"].as_str()).collect();
        assert_eq!((name.as_str(), told), ("ReferralLetterRemoved", removed), "{remove}");
    }
}

#[test]
fn a_letter_that_is_not_linked_and_the_last_one_are_not_removed() {
    let all = json!([
        {"fileName": "letter-2.pdf"},
        {"fileName": "letter-3.pdf"},
        {"document": "Binary/19eb7224-dff3-4730-a5cb-67eac811f1a5"},
    ]);
    for (remove, code) in [
        (json!([{"fileName": "letter-2.pdf"}, {"fileName": "no-such.pdf"}]), "LETTER_NOT_LINKED"),
        (json!([{"document": "Binary/other"}]), "LETTER_NOT_LINKED"),
        (json!([{"fileName": "outcome.pdf"}]), "LETTER_NOT_LINKED"), // the provider's
        (all, "LAST_LETTER"),
    ] {
        let walk = removal(remove.clone());
        assert_eq!((walk.code(), walk.names()), (code, vec!["A005"]), "{remove}");
    }
}

fn shortlist(services: &[&str]) -> Value {
    json!({
        "ubrn": "000000070000", "priority": "URGENT", "specialty": "CARDIOLOGY", "clinicType": "HEART_FAILURE",
        "criteria": {"ageAndGenderAppropriate": false},
        "shortlist": services.iter().map(|service| json!({"service": service})).collect::<Vec<_>>(),
        "letterIntention": "NEED_TO_ADD_LATER", "firstReminderDays": 0,
    })
}

fn change(command: &Value, referral: &Value, done: &str) -> Walk {
    let done = official(&format!("a031-change-shortlist/{done}.json"));
    let answers = |call: &PreparedCall| match call.call.as_str() {
        "A005" => answer(200, &[], referral.clone()),
        _ => answer(200, &[], done.clone()),
    };
    walk(&set(), ("ChangeShortlist", command), Some("REFERRING_CLINICIAN"), &answers)
}

#[test]
fn official_a031_samples_are_made_exactly() {
    let unbooked = referral("response-unbooked");
    for (services, sample) in
        [(&["11002"][..], "unbooked-referral"), (&["11002", "51002"], "unbooked-referral-mixed-shortlist")]
    {
        let walk = change(&shortlist(services), &unbooked, &format!("response-{sample}"));
        assert!(walk.end.is_ok(), "{sample}: {:?}", walk.end);
        assert_eq!(walk.names(), ["A005", "A031"]);
        let mut expected = official(&format!("a031-change-shortlist/request-{sample}.json"));
        // The connection of these tests writes the base in small letters.
        expected["parameter"][0]["resource"]["contained"][0]["parameter"][1]["valueCoding"]["system"] =
            "_baseurl_/STU3/CodeSystem/SPECIALTY".into();
        assert_eq!(json_body(&walk.calls, "A031"), &expected, "{sample}");
        assert_eq!(walk.calls[1].path, "/STU3/ReferralRequest/000000070000/$ers.changeShortlist");
        let version = unbooked["meta"]["versionId"].as_str().expect("a version");
        assert_eq!(walk.calls[1].headers, [("If-Match".to_owned(), format!("W/\"{version}\""))]);
        let answered = official(&format!("a031-change-shortlist/response-{sample}.json"));
        let (name, data) = &walk.events[0];
        let expected = json!({
            "ubrn": "000000070000", "version": answered["meta"]["versionId"], "priority": "URGENT",
            "services": services,
        });
        assert_eq!((name.as_str(), data), ("ReferralShortlistChanged", &expected));
    }
}

#[test]
fn a_shortlist_is_not_changed_where_the_patient_would_lose_what_was_noted() {
    let needy = referral("response-with-additional-requirements");
    let mut named = shortlist(&["11002"]);
    let needed = ["ADVOCACY", "INTERPRETER", "TRANSPORT"];
    for (names, code) in
        [(&[][..], "ADDITIONAL_REQUIREMENTS"), (&needed[..2], "ADDITIONAL_REQUIREMENTS"), (&needed, "")]
    {
        let mut unbooked = needy.clone();
        set_state(&mut unbooked, "NOT_BOOKED");
        named["additionalRequirements"] = json!(names);
        let walk = change(&named, &unbooked, "response-unbooked-referral");
        let calls = if code.is_empty() { vec!["A005", "A031"] } else { vec!["A005"] };
        assert_eq!((walk.code(), walk.names()), (code, calls), "{names:?}");
    }
    let booked = change(&shortlist(&["11002"]), &referral("response-booked-dbs"), "response-unbooked-referral");
    assert_eq!((booked.code(), booked.names()), ("APPOINTMENT_STANDS", vec!["A005"]));
}

#[test]
fn a_document_is_told_by_what_it_is_and_never_by_its_bytes() {
    let document = Document { content_type: "application/pdf".into(), bytes: 26822, sha256: "a".repeat(64) };
    for (command, call, path) in [
        ("GeneratePatientLetter", "A019", "/STU3/ReferralRequest/000000070000/$ers.generatePatientLetter"),
        ("RetrieveAdviceOverview", "A043", "/STU3/CommunicationRequest/000000070000/$ers.generateCRI"),
    ] {
        let body = json!({"ubrn": "000000070000"});
        let answers = |_: &PreparedCall| Reply { document: Some(document.clone()), ..answer(200, &[], Value::Null) };
        let good = walk(&set(), (command, &body), Some("REFERRING_CLINICIAN"), &answers);
        assert_eq!((good.names(), good.calls[0].path.as_str()), (vec![call], path));
        let result = good.end.expect("a document came");
        assert_eq!((&result["bytes"], &result["sha256"]), (&json!(26822), &json!("a".repeat(64))));
        let other = Document { content_type: "text/html".into(), ..document.clone() };
        for wrong in [None, Some(other)] {
            let answers = |_: &PreparedCall| Reply { document: wrong.clone(), ..answer(200, &[], Value::Null) };
            assert_eq!(walk(&set(), (command, &body), None, &answers).code(), "NOT_A_PDF");
        }
    }
}
