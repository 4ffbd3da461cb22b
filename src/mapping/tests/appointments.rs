//! Plans about slots and appointments beyond the official samples: what stops them, and what they read first.

use super::walk::{Walk, walk_through};
use super::*;
use crate::events::EventSchemas;

/// Until nothing is left to call, or an answer does not suit the plan: what was called until then, and why.
fn attempt(
    command: &str,
    body: &Value,
    known: Value,
    answers: &[(&str, Value)],
) -> Result<Walk, (Vec<String>, PlanProblem)> {
    let answers: Vec<(&str, Reply)> =
        answers.iter().map(|(call, reply)| (*call, answer(200, &[], reply.clone()))).collect();
    let walk = walk_through(&set(), (command, body), known, &answers);
    walk.events.iter().for_each(check_event);
    match &walk.end {
        Ok(_) => Ok(walk),
        Err(problem) => Err((walk.names().into_iter().map(str::to_owned).collect(), problem.clone())),
    }
}

fn carried_out(command: &str, body: &Value, known: Value, answers: &[(&str, Value)]) -> Walk {
    attempt(command, body, known, answers).unwrap_or_else(|(calls, problem)| panic!("{calls:?}: {problem}"))
}

fn check_event(event: &PlanEvent) {
    let mut data = event.data.clone();
    for added in ["message", "command"] {
        data[added] = json!("0190a5d8-0000-7000-8000-000000000001");
    }
    assert_eq!(EventSchemas::built_in().violations(&event.name, &data), [], "{}: {data}", event.name);
}

/// A005 as far as plans about appointments read it.
fn referral(version: u32, patient: &str, appointment: Option<&str>) -> Value {
    let url = |name: &str| format!("https://fhir.nhs.uk/STU3/StructureDefinition/Extension-eRS-{name}-1");
    let state = if appointment.is_some() { "BOOKED" } else { "NOT_BOOKED" };
    let mut extensions = vec![
        json!({"url": url("ReferralPriority"), "valueCodeableConcept": {"coding": [{"code": "URGENT"}]}}),
        json!({"url": url("Commissioning-Rule-Org"), "valueIdentifier": {"value": "R69"}}),
        json!({"url": url("ReferralState"), "extension": [{"url": "state", "valueCoding": {"code": state}}]}),
    ];
    extensions.extend(appointment.map(
        |id| json!({"url": url("Appointment-Reference"), "valueReference": {"reference": format!("Appointment/{id}")}}),
    ));
    let service = |id: &str| json!({"item": {"identifier": {"value": id}}});
    json!({
        "id": "000000070000",
        "meta": {"versionId": version.to_string()},
        "subject": {"identifier": {"value": patient}},
        "extension": extensions,
        "contained": [{"resourceType": "List", "entry": [service("11002"), service("11000")]}],
    })
}

fn a016(name: &str) -> Value {
    official(&format!("a016-book-or-defer-appointment/{name}.json"))
}

fn a015(name: &str) -> Value {
    official(&format!("a015-retrieve-appointment-slots/response-{name}.json"))
}

fn a034(name: &str) -> Value {
    official(&format!("a034-update-appointment/{name}.json"))
}

fn known() -> Value {
    json!({"ubrn": "000000070000"})
}

fn sample_slot() -> Value {
    json!({
        "service": "11000", "slot": "11000021",
        "start": "2022-07-11T12:00:00+00:00", "end": "2022-07-11T13:00:00+00:00", "ubrn": "000000070000",
    })
}

fn body_of(call: &PreparedCall) -> &Value {
    match &call.body {
        CallBody::Json(body) => body,
        other => panic!("{} has no JSON body: {other:?}", call.call),
    }
}

#[test]
fn a_booking_names_the_clinician_of_the_schedule_and_reads_what_may_have_changed() {
    let mut body = sample_slot();
    body["clinician"] = json!("555012340001");
    body["patient"] = json!({"nhsNumber": "9912003888"});
    let known = json!({"ubrn": "000000070000", "version": "3"});
    let answers = [("A005", referral(6, "9912003888", None)), ("A016", a016("response-minimal-booking"))];
    let done = carried_out("BookAppointment", &body, known, &answers);
    let mut wanted = a016("request-minimal-booking");
    wanted["participant"].as_array_mut().expect("participants").push(json!({
        "type": {"coding": [{"system": "http://hl7.org/fhir/ValueSet/encounter-participant-type", "code": "CON"}]},
        "actor": {"identifier": {"system": "http://fhir.nhs.net/Id/sds-user-id", "value": "555012340001"}},
        "status": "accepted",
    }));
    assert_eq!(body_of(done.call("A016")), &wanted);
    assert_eq!(
        done.event("AppointmentBooked"),
        &json!({
            "ubrn": "000000070000", "appointment": "70000", "version": "0", "service": "11000", "slot": "11000021",
            "start": "2022-07-11T12:00:00+00:00", "end": "2022-07-11T13:00:00+00:00",
        })
    );
}

#[test]
fn another_patient_than_the_command_names_stops_every_write() {
    let patient = json!({"nhsNumber": "9994120034"});
    let mut booking = sample_slot();
    booking["patient"] = patient.clone();
    let mut rebooking = booking.clone();
    rebooking["reason"] = json!("PATIENT_ILL");
    let reason =
        |reason: &str| json!({"ubrn": "000000070000", "service": "11000", "patient": patient, "reason": reason});
    for (command, body) in [
        ("BookAppointment", booking),
        ("RebookAppointment", rebooking),
        ("SendForTriage", json!({"ubrn": "000000070000", "service": "50001", "patient": patient})),
        ("DeferAppointment", reason("NO_SLOTS_AT_SERVICE")),
        ("DeferAppointment", reason("BOOKING_ATTEMPT_PROBLEM")),
        ("CancelAppointment", json!({"ubrn": "000000070000", "patient": patient, "reason": "PATIENT_ILL"})),
    ] {
        let answers = [("A005", referral(6, "9912003888", Some("70000")))];
        let Err((calls, problem)) = attempt(command, &body, known(), &answers) else { panic!("{command} went on") };
        assert_eq!((calls, problem.code.as_str()), (vec!["A005".to_owned()], "PATIENT_DIFFERS"), "{command}");
    }
}

#[test]
fn a_deferral_names_the_slot_that_was_not_available() {
    let body = json!({
        "ubrn": "000000070000", "service": "11000", "reason": "SLOT_NOT_AVAILABLE", "slot": "11000021",
        "patient": {"nhsNumber": "9912003888"},
    });
    let answers = [("A005", referral(6, "9912003888", None)), ("A016", a016("response-minimal-deferral"))];
    let done = carried_out("DeferAppointment", &body, known(), &answers);
    assert_eq!(body_of(done.call("A016"))["slot"], json!([{"reference": "Slot/11000021"}]));
    assert_eq!(done.event("AppointmentDeferred")["slot"], "11000021");
    let set = set();
    for (reason, slot) in [("SLOT_NOT_AVAILABLE", None), ("NO_SLOTS_AT_SERVICE", Some("1")), ("TRIAGE", None)] {
        let mut body = json!({"ubrn": "000000070000", "service": "11000", "reason": reason});
        if let Some(slot) = slot {
            body["slot"] = slot.into();
        }
        assert_ne!(set.schemas().violations("DeferAppointment", &body), [], "{reason} {slot:?}");
    }
}

#[test]
fn a_deferral_is_not_sent_against_the_facts() {
    let no_slots = json!({"ubrn": "000000070000", "service": "11000", "reason": "NO_SLOTS_AT_SERVICE"});
    let problem = json!({"ubrn": "000000070000", "service": "11000", "reason": "BOOKING_ATTEMPT_PROBLEM"});
    let unbooked = ("A005", referral(6, "9912003888", None));
    let booked = ("A005", referral(8, "9912003888", Some("70000")));
    for (body, answers, code) in [
        (&no_slots, vec![unbooked, ("A015", a015("minimum"))], "SLOTS_CURRENTLY_AVAILABLE"),
        (&problem, vec![booked], "BOOKED_AFTER_ALL"),
    ] {
        let Err((calls, found)) = attempt("DeferAppointment", body, known(), &answers) else { panic!("{code}") };
        assert!(found.code == code && !calls.contains(&"A016".to_owned()), "{code}: {found} {calls:?}");
    }
}

fn created(then: &str) -> Value {
    json!({
        "localId": "R1", "patient": {"nhsNumber": "9912003888"}, "priority": "URGENT", "letterIntention": "NEED_TO_ADD_LATER",
        "firstReminderDays": 0, "shortlist": [{"service": "11021"}, {"service": "11000"}], "then": then,
    })
}

/// A011 as far as the plan reads it.
fn a011() -> (&'static str, Value) {
    ("A011", json!({"id": "000000070000", "meta": {"versionId": "3"}}))
}

#[test]
fn a_new_referral_is_deferred_to_its_first_service_while_that_has_no_slots() {
    let mut body = created("defer");
    body["comment"] = json!("There are no slots");
    let answers = [
        a011(),
        ("A005", referral(6, "9912003888", None)),
        ("A015", a015("no-slots")),
        ("A016", a016("response-minimal-deferral")),
    ];
    let done = carried_out("CreateReferral", &body, json!({}), &answers);
    assert_eq!(
        done.calls[2].path,
        "/STU3/Slot?schedule.actor%3AHealthcareService=11021&appointmentType=URGENT&status=free&_count=1&page=1"
    );
    assert_eq!(done.calls[2].headers, [("NHSD-eRS-Comm-Rule-Org".to_owned(), "R69".to_owned())]);
    assert_eq!(body_of(done.call("A016")), &a016("request-minimal-deferral"), "that of the published sample");
    assert_eq!(
        done.event("AppointmentDeferred"),
        &json!({
            "ubrn": "000000070000", "localId": "R1", "appointment": "70000", "service": "11021",
            "reason": "NO_SLOTS_AT_SERVICE",
        })
    );
    assert_eq!((&done.result()["appointment"], &done.known["version"]), (&json!("70000"), &json!("8")));
}

#[test]
fn a_new_referral_is_not_deferred_against_the_facts() {
    for (answers, code) in [
        (
            vec![a011(), ("A005", referral(6, "9912003888", None)), ("A015", a015("minimum"))],
            "SLOTS_CURRENTLY_AVAILABLE",
        ),
        // Whoever is told the UBRN may book at once.
        (vec![a011(), ("A005", referral(6, "9912003888", Some("70000")))], "BOOKED_AFTER_ALL"),
    ] {
        let Err((calls, found)) = attempt("CreateReferral", &created("defer"), json!({}), &answers) else {
            panic!("{code}")
        };
        assert!(found.code == code && !calls.contains(&"A016".to_owned()), "{code}: {found} {calls:?}");
    }
    let set = set();
    for (then, more, is_taken) in [
        ("defer", json!({"comment": "x"}), true),
        ("nothing", json!({"comment": "x"}), false),
        ("triage", json!({"comment": "x"}), false),
        ("defer", json!({"windowStart": "2026-04-13", "windowEnd": "2026-04-17"}), false),
        ("defer", json!({"clinician": "555012340001"}), false),
    ] {
        let mut body = created(then);
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        if then == "triage" {
            body["letters"] = json!([{
                "fileName": "a.txt", "contentType": "text/plain", "bytes": 1, "sha256": "0".repeat(64),
                "content": {"in": "document", "number": 1},
            }]);
        }
        assert_eq!(set.schemas().violations("CreateReferral", &body).is_empty(), is_taken, "{then} {more}");
    }
}

#[test]
fn a_search_for_slots_reads_no_referral_whose_priority_and_organisation_are_given() {
    let again = carried_out(
        "SearchSlots",
        &json!({"ubrn": "000000070000", "service": "11000", "priority": "URGENT", "commissioningRuleOrganisation": "R69"}),
        known(),
        &[("A015", a015("page1-page-size5")), ("A015", a015("page1-with2-schedules"))],
    );
    assert_eq!(again.calls.iter().map(|call| call.step.as_str()).collect::<Vec<_>>(), ["search[0]", "search[1]"]);
    assert!(again.calls[1].path.ends_with("page=2"), "{}", again.calls[1].path);
    let slots = again.result()["slots"].as_array().expect("slots");
    let clinicians: Vec<bool> = slots.iter().map(|slot| slot.get("clinician").is_some()).collect();
    assert_eq!(clinicians, [false, false, false, false, false, false, false, false, true, true]);
}

#[test]
fn a_search_for_slots_ends_however_many_pages_there_are() {
    let body = json!({
        "ubrn": "000000070000", "service": "11000", "priority": "ROUTINE", "commissioningRuleOrganisation": "R69",
    });
    let answers = vec![("A015", a015("page1-page-size5")); 10];
    let done = carried_out("SearchSlots", &body, known(), &answers);
    assert_eq!((done.result()["slots"].as_array().map(Vec::len), &done.result()["more"]), (Some(50), &json!(true)));
}

#[test]
fn an_appointment_of_another_referral_is_not_told() {
    let shown = official("a038-retrieve-appointment/response-booked-dbs.json");
    let other = json!({"ubrn": "000000099999", "appointment": "70000"});
    let refused = attempt("RetrieveAppointment", &other, json!({"ubrn": "000000099999"}), &[("A038", shown)]);
    assert!(refused.is_err_and(|(_, problem)| problem.code == "APPOINTMENT_DIFFERS"));
}

#[test]
fn the_appointment_of_a_referral_is_found_in_the_a005_sample() {
    let read = official("a005-retrieve-referral-request/response-booked-dbs.json");
    let mut shown = read["contained"][2].clone();
    shown["id"] = json!("70009");
    let body = json!({"ubrn": "000000070001"});
    let answers = [("A005", read), ("A038", shown)];
    let done = carried_out("RetrieveAppointment", &body, json!({"ubrn": "000000070001"}), &answers);
    assert_eq!(done.call("A038").path, "/STU3/Appointment/70009");
    assert_eq!((&done.result()["clinician"], &done.result()["slot"]), (&json!("021600556514"), &json!("11002001")));
    let unbooked = official("a005-retrieve-referral-request/response-unbooked.json");
    let refused = attempt("RetrieveAppointment", &json!({"ubrn": "000000070000"}), known(), &[("A005", unbooked)]);
    assert!(refused.is_err_and(|(_, problem)| problem.code == "NO_APPOINTMENT"));
}

/// What A038 shows of the appointment that a sample cancels.
fn before_cancellation(request: &Value) -> Value {
    let mut shown = request.clone();
    shown["status"] = json!("booked");
    for member in ["reason", "comment"] {
        shown.as_object_mut().expect("an object").shift_remove(member);
    }
    shown["slot"] = json!([{"reference": "Slot/1"}]);
    shown
}

#[test]
fn a_cancellation_stops_before_it_writes_when_something_is_not_as_meant() {
    let body = json!({"ubrn": "000000070000", "appointment": "70000", "reason": "PATIENT_ILL"});
    let booked = ("A005", referral(6, "9912003888", Some("70000")));
    for (answers, code) in [
        (vec![("A005", referral(6, "9912003888", None))], "NO_APPOINTMENT"),
        (vec![("A005", referral(6, "9912003888", Some("70001")))], "APPOINTMENT_DIFFERS"),
        (
            vec![booked, ("A029", official("a029-available-actions/response-with-cancel-referral.json"))],
            "CANCELLATION_NOT_OFFERED",
        ),
    ] {
        let Err((calls, problem)) = attempt("CancelAppointment", &body, known(), &answers) else { panic!("{code}") };
        assert!(problem.code == code && !calls.contains(&"A034".to_owned()), "{code}: {problem} {calls:?}");
    }
}

#[test]
fn a_rebooking_cancels_only_for_a_slot_that_is_offered() {
    let request = a034("request-minimal-cancellation-reason-only-comment-not-mandatory");
    let mut body = sample_slot();
    body["reason"] = json!("PATIENT_ILL");
    body["slot"] = json!("11000005");
    let booked = || ("A005", referral(6, "9912003888", Some("70003")));
    let actions = || ("A029", official("a029-available-actions/response-with-cancel-db-appointment.json"));
    let asked = || vec![booked(), actions(), ("A015", a015("page1-page-size5"))];
    let mut cancelled = a034("response-minimal-cancellation-reason-only-comment-not-mandatory");
    let mut answers = asked();
    answers.push(("A038", before_cancellation(&request)));
    answers.push(("A034", cancelled.clone()));
    answers.push(("A016", a016("response-minimal-booking")));
    let done = carried_out("RebookAppointment", &body, known(), &answers);
    let names: Vec<&str> = done.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["AppointmentCancelled", "AppointmentBooked"]);
    let reference = &body_of(done.call("A016"))["incomingReferral"][0]["reference"];
    assert_eq!(reference, "ReferralRequest/000000070000/_history/7", "the version after the cancellation");

    // An answer without the referral's new version: it is read.
    cancelled.as_object_mut().expect("an object").shift_remove("incomingReferral");
    let last = answers.len() - 2;
    answers[last].1 = cancelled;
    answers.insert(last + 1, ("A005", referral(9, "9912003888", None)));
    let done = carried_out("RebookAppointment", &body, known(), &answers);
    let reference = &body_of(done.call("A016"))["incomingReferral"][0]["reference"];
    assert_eq!(reference, "ReferralRequest/000000070000/_history/9");

    // The slot is on no page.
    body["slot"] = json!("11000099");
    let mut elsewhere = asked();
    elsewhere.push(("A015", a015("page1-with2-schedules")));
    let mut endless = vec![booked(), actions()];
    endless.extend(vec![("A015", a015("page1-page-size5")); 20]);
    for answers in [elsewhere, endless] {
        let Err((calls, problem)) = attempt("RebookAppointment", &body, known(), &answers) else { panic!("went on") };
        assert!(problem.code == "SLOT_NOT_AVAILABLE" && !calls.contains(&"A034".to_owned()), "{problem} {calls:?}");
        assert_eq!(calls.len(), answers.len());
    }
    body["service"] = json!("11021");
    let refused = attempt("RebookAppointment", &body, known(), &[booked()]);
    assert!(refused.is_err_and(|(_, problem)| problem.code == "SERVICE_NOT_SHORTLISTED"));
}

#[test]
fn a_plan_can_be_shown_before_anything_is_sent() {
    let set = set();
    let mut rebooking = sample_slot();
    rebooking["reason"] = json!("PATIENT_ILL");
    for (command, body, calls) in [
        ("SearchSlots", json!({"ubrn": "000000070000", "service": "11000"}), vec!["A005", "A015"]),
        ("RetrieveAppointment", json!({"ubrn": "000000070000"}), vec!["A005", "A038"]),
        ("CreateReferral", created("defer"), vec!["A011", "A005", "A015", "A016"]),
        ("BookAppointment", sample_slot(), vec!["A005", "A016"]),
        ("SendForTriage", json!({"ubrn": "000000070000", "service": "50001"}), vec!["A005", "A016"]),
        (
            "DeferAppointment",
            json!({"ubrn": "000000070000", "service": "11000", "reason": "NO_SLOTS_AT_SERVICE"}),
            vec!["A005", "A015", "A016"],
        ),
        (
            "CancelAppointment",
            json!({"ubrn": "000000070000", "reason": "PATIENT_ILL"}),
            vec!["A005", "A029", "A038", "A034"],
        ),
        ("RebookAppointment", rebooking, vec!["A005", "A029", "A015", "A038", "A034", "A016"]),
    ] {
        let shown = preview(&set, command, &body, "REFERRING_CLINICIAN");
        assert_eq!(shown.iter().map(|call| call.call.as_str()).collect::<Vec<_>>(), calls, "{command}");
    }
}
