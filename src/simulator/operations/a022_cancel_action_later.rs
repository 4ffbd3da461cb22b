//! A022 Cancel appointment, action later: the booking is undone, and the provider's administrators go on from there.

use super::Act;
use super::a012_maintain_letter::Wanted;
use super::provider::{
    CANCELLED_IN_PAS, COMMENTS_CHARACTERS_MAX, cancelled_in_pas, check_cancelled_in_pas, files, link, linkable,
    own_service, priority, wanted_files,
};
use super::subject::{check_patient, check_writable, if_match, with_referral};
use crate::simulator::decisions::ReviewOutcome;
use crate::simulator::exchange::Answer;
use crate::simulator::referral_resource;
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::Issues;
use crate::simulator::validation::element::Element;
use crate::simulator::validation::parameters::{Parameters, Rule, mandatory, optional};

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-cancelAppointmentActionLater-Parameters-1";

const RULES: [Rule; 4] = [
    mandatory("comments", "valueString"),
    optional("priority", "valueCoding"),
    CANCELLED_IN_PAS,
    files("providerAttachmentFile"),
];

const DOCUMENTED: [&str; 12] = [
    "INAPPROPRIATE_VALUE",
    "MISSING_VALUE",
    "INVALID_VALUE",
    "INVALID_CODE",
    "VALUE_IS_REQUIRED",
    "FIELD_NOT_PERMITTED",
    "INVALID_REQUEST_STATE",
    "PATIENT_ERROR",
    "NO_RELATIONSHIP",
    "REFERENCE_NOT_FOUND",
    "INVALID_STATE",
    "DUPLICATE_FILENAME",
];

struct Request<'a> {
    comments: &'a str,
    priority: Option<&'static str>,
    cancelled_in_pas: Option<Element<'a>>,
    files: Vec<Wanted<'a>>,
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
        let service = own_service(act, referral)?;
        let mut issues = Issues::new(&DOCUMENTED);
        check_cancelled_in_pas(&service, request.cancelled_in_pas.as_ref(), &mut issues);
        let names = referral.letters.iter().chain(&referral.provider_files);
        let files = linkable(act, referral.ubrn, &request.files, names, &mut issues);
        issues.refuse_if_any()?;
        link(act, referral.ubrn, &files);
        let outcome = ReviewOutcome::CancelAppointmentActionLater;
        if let Some(slot) = referral.review_ended(outcome, request.comments, request.priority, files, act.now) {
            act.world.services.give_back(&slot);
        }
        Ok(referral_resource::answer(200, referral, act.world, act.now))
    })
}

fn read<'a>(act: &Act<'a>) -> Result<Request<'a>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    let comments = parameters.one("comments");
    let comments = comments.and_then(|value| value.text_up_to(COMMENTS_CHARACTERS_MAX, &mut issues));
    let priority = parameters.one("priority").and_then(|value| priority(value, &mut issues));
    let cancelled_in_pas = cancelled_in_pas(&parameters, &mut issues);
    let files = wanted_files(&parameters, "providerAttachmentFile", "PROVIDER", &mut issues);
    issues.or(comments.map(|comments| Request { comments, priority, cancelled_in_pas, files }))
}
