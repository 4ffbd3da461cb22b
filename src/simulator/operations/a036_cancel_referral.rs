//! A036 Cancel referral: for good, and with it an appointment that still stands.

use serde_json::{Value, json};

use super::Act;
use super::a029_available_actions::may;
use super::subject::{check_patient, check_writable, if_match, with_referral};
use crate::simulator::exchange::Answer;
use crate::simulator::reference_data::CancellationReason;
use crate::simulator::referral::{Cancellation, Referral, State};
use crate::simulator::referral_resource::{self, appointment_resource, profile};
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::Issues;
use crate::simulator::validation::element::System;
use crate::simulator::validation::parameters::{Parameters, Rule, mandatory, optional};

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-CancelReferral-Request-Parameters-1";
const REASONS: &str = "REFERRAL-CANCELLATION-REASON";
const COMMENTS_CHARACTERS_MAX: usize = 2000;
/// What e-RS notes on the appointment that goes with its referral, as in the published sample.
const APPOINTMENT_REASON: &str = "PATIENT_APPOINTMENT_CANCELLATION_OTHER";

const RULES: [Rule; 2] =
    [mandatory("cancellationReason", "valueCoding"), optional("cancellationComments", "valueString")];

const DOCUMENTED: [&str; 6] = [
    "MISSING_VALUE",
    "INVALID_REQUEST_STATE",
    "PATIENT_ERROR",
    "NO_RELATIONSHIP",
    "UNABLE_TO_CANCEL_APPOINTMENT",
    "INAPPROPRIATE_VALUE",
];

struct Request<'a> {
    reason: &'a str,
    reason_path: String,
    comments: Option<&'a str>,
}

pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    let version = if_match(act.call)?;
    with_referral(act, ubrn, |referral| {
        check_patient(act, &referral.patient)?;
        let request = read(act)?;
        check_writable(act, referral, version)?;
        if !may(act, referral, "CANCEL_REFERRAL") {
            return Err(Refusal::unprocessable("INVALID_REQUEST_STATE", "the referral cannot be cancelled now"));
        }
        check(act, referral, &request)?;
        Ok(cancel(act, referral, &request))
    })
}

fn read<'a>(act: &Act<'a>) -> Result<Request<'a>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    let reason = parameters.one("cancellationReason").and_then(|value| {
        let code = value.coding(System::ReferenceData(REASONS), &mut issues)?;
        Some((code, value.path.clone()))
    });
    let comments = parameters.one("cancellationComments");
    let comments = comments.and_then(|value| value.text_up_to(COMMENTS_CHARACTERS_MAX, &mut issues));
    issues.or(reason.map(|(reason, reason_path)| Request { reason, reason_path, comments }))
}

/// Whether this caller may give this reason for this referral.
fn check(act: &Act<'_>, referral: &Referral, request: &Request<'_>) -> Result<(), Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let path = &request.reason_path;
    let reason = act.world.reference_data.cancellation_reason(REASONS, "CANCEL_REFERRAL", request.reason, act.now);
    match &reason {
        None => issues.add("INAPPROPRIATE_VALUE", path, "is not a reason to cancel a referral that is in force"),
        Some(reason) => {
            if !reason.is_for(&act.caller.function) {
                issues.add("INAPPROPRIATE_VALUE", path, "is not for this business function");
            } else if !act.caller.refers() && !is_for_provider(reason, referral.state) {
                issues.add("INAPPROPRIATE_VALUE", path, "is not for a provider in this state of the referral");
            }
            if has_live_appointment(referral) && !reason.can_cancel_appointment {
                issues.add("INAPPROPRIATE_VALUE", path, "cannot cancel the appointment that stands");
            }
            if reason.comment_is_mandatory && request.comments.is_none() {
                issues.add("MISSING_VALUE", "parameter", "(cancellationComments) is mandatory for this reason");
            }
        }
    }
    issues.refuse_if_any()
}

fn is_for_provider(reason: &CancellationReason<'_>, state: State) -> bool {
    match state {
        State::TriagedProviderToAction => reason.kind == "PROVIDER_TRIAGE",
        _ => matches!(reason.kind, "PROVIDER" | "PATIENT"),
    }
}

fn has_live_appointment(referral: &Referral) -> bool {
    referral.appointment.as_ref().is_some_and(|appointment| appointment.status == "booked")
}

fn cancel(act: &Act<'_>, referral: &mut Referral, request: &Request<'_>) -> Answer {
    let had_appointment = has_live_appointment(referral);
    if had_appointment
        && let Some(appointment) = &mut referral.appointment
        && let Some(slot) = appointment.cancel(APPOINTMENT_REASON, request.comments)
    {
        act.world.services.give_back(&slot);
    }
    referral.state = State::CancelledReferral;
    referral.cancellation =
        Some(Cancellation { reason: request.reason.to_owned(), comments: request.comments.map(String::from) });
    referral.raise_version(act.now);
    let resource = referral_resource::resource(referral, act.world, act.now);
    let mut updated = vec![json!({"name": "updatedReferralRequest", "resource": resource})];
    if had_appointment && let Some(appointment) = &referral.appointment {
        let resource = appointment_resource(appointment, referral, act.world);
        updated.push(json!({"name": "updatedAppointment", "resource": resource}));
    }
    let body: Value = json!({
        "meta": {"profile": [profile("eRS-CancelReferral-Response-Parameters-1")]},
        "resourceType": "Parameters",
        "parameter": updated,
    });
    Answer::fhir(200, &body).about(referral.ubrn)
}
