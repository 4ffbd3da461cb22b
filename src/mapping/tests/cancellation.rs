//! Cancelling a referral: what is refused before anything is written.

use super::walk::{referral, set_state, walk};
use super::*;

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
