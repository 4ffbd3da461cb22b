//! A014 Reject referral: the booking is cancelled, and the referral is the referrer's again.

use super::Act;
use super::provider::{
    CANCELLED_IN_PAS, COMMENTS_CHARACTERS_MAX, cancelled_in_pas, check_cancelled_in_pas, own_service,
};
use super::subject::{check_patient, check_writable, if_match, with_referral};
use crate::simulator::exchange::Answer;
use crate::simulator::referral_resource;
use crate::simulator::refusal::Refusal;
use crate::simulator::services::Service;
use crate::simulator::validation::Issues;
use crate::simulator::validation::element::{Element, System};
use crate::simulator::validation::parameters::{Parameters, Rule, mandatory, optional};

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-RejectReferral-Parameters-1";
const REASONS: &str = "APPOINTMENT-CANCELLATION-REASON";

const RULES: [Rule; 3] =
    [mandatory("rejectionReason", "valueCoding"), optional("rejectionComments", "valueString"), CANCELLED_IN_PAS];

const DOCUMENTED: [&str; 11] = [
    "INAPPROPRIATE_VALUE",
    "MISSING_VALUE",
    "INVALID_VALUE",
    "INVALID_CODE",
    "UNEXPECTED_FIELD",
    "VALUE_IS_REQUIRED",
    "FIELD_NOT_PERMITTED",
    "INVALID_REQUEST_STATE",
    "PATIENT_ERROR",
    "NO_RELATIONSHIP",
    "UNABLE_TO_CANCEL_APPOINTMENT",
];

struct Request<'a> {
    reason: &'a str,
    reason_path: String,
    comments: Option<&'a str>,
    cancelled_in_pas: Option<Element<'a>>,
}

pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    let version = if_match(act.call)?;
    with_referral(act, ubrn, |referral| {
        check_patient(act, &referral.patient)?;
        let request = read(act)?;
        check_writable(act, referral, version)?;
        if !referral.awaits_review_of_booking(act.now) {
            return Err(Refusal::unprocessable("INVALID_REQUEST_STATE", "no booking of the referral awaits a review"));
        }
        check(act, &own_service(act, referral)?, &request)?;
        if let Some(slot) = referral.reject(request.reason, request.comments, act.now) {
            act.world.services.give_back(&slot);
        }
        Ok(referral_resource::answer(200, referral, act.world, act.now))
    })
}

fn read<'a>(act: &Act<'a>) -> Result<Request<'a>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    let reason = parameters.one("rejectionReason").and_then(|value| {
        let code = value.coding(System::ReferenceData(REASONS), &mut issues)?;
        Some((code, value.path.clone()))
    });
    let comments = parameters.one("rejectionComments");
    let comments = comments.and_then(|value| value.text_up_to(COMMENTS_CHARACTERS_MAX, &mut issues));
    let cancelled_in_pas = cancelled_in_pas(&parameters, &mut issues);
    issues.or(reason.map(|(reason, reason_path)| Request { reason, reason_path, comments, cancelled_in_pas }))
}

fn check(act: &Act<'_>, service: &Service, request: &Request<'_>) -> Result<(), Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let path = &request.reason_path;
    match act.world.reference_data.cancellation_reason(REASONS, "REJECT", request.reason, act.now) {
        None => issues.add("INAPPROPRIATE_VALUE", path, "is not a reason to reject a referral that is in force"),
        Some(reason) => {
            if reason.kind != "PROVIDER_REJECT" || !reason.is_for(&act.caller.function) {
                issues.add("INAPPROPRIATE_VALUE", path, "is not for this business function");
            }
            if reason.comment_is_mandatory && request.comments.is_none() {
                issues.add("VALUE_IS_REQUIRED", "parameter", "(rejectionComments) is mandatory for this reason");
            }
        }
    }
    check_cancelled_in_pas(service, request.cancelled_in_pas.as_ref(), &mut issues);
    issues.refuse_if_any()
}
