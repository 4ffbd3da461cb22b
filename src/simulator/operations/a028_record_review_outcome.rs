//! A028 Record triage (review) outcome: of what was sent for triage, or handed to the provider for want of a slot.

use super::Act;
use super::a012_maintain_letter::Wanted;
use super::provider::{files, link, linkable, own_service, priority, wanted_files};
use super::subject::{check_patient, check_writable, if_match, with_referral};
use crate::simulator::decisions::ReviewOutcome;
use crate::simulator::exchange::Answer;
use crate::simulator::referral_resource;
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::Issues;
use crate::simulator::validation::parameters::{Parameters, Rule, mandatory, optional};

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-RecordReviewOutcome-Parameters-1";

const RULES: [Rule; 4] = [
    mandatory("reviewOutcome", "valueCoding"),
    mandatory("reviewComments", "valueString"),
    optional("reviewPriority", "valueCoding"),
    files("reviewAttachmentFile"),
];

const DOCUMENTED: [&str; 13] = [
    "PRIORITY_NOT_CURRENT",
    "VALUE_IS_REQUIRED",
    "INVALID_CODE",
    "INVALID_VALUE",
    "INVALID_STATE",
    "INAPPROPRIATE_VALUE",
    "MISSING_VALUE",
    "INVALID_REQUEST_STATE",
    "INVALID_REQUEST_TYPE",
    "REFERENCE_NOT_FOUND",
    "DUPLICATE_FILENAME",
    "PATIENT_ERROR",
    "NO_RELATIONSHIP",
];

struct Request<'a> {
    outcome: ReviewOutcome,
    comments: &'a str,
    priority: Option<&'static str>,
    files: Vec<Wanted<'a>>,
}

pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    let version = if_match(act.call)?;
    with_referral(act, ubrn, |referral| {
        check_patient(act, &referral.patient)?;
        let request = read(act)?;
        check_writable(act, referral, version)?;
        if !referral.awaits_review_outcome() {
            return Err(Refusal::unprocessable("INVALID_REQUEST_STATE", "the referral awaits no review outcome"));
        }
        own_service(act, referral)?;
        let mut issues = Issues::new(&DOCUMENTED);
        let names = referral.letters.iter().chain(&referral.provider_files);
        let files = linkable(act, referral.ubrn, &request.files, names, &mut issues);
        issues.refuse_if_any()?;
        link(act, referral.ubrn, &files);
        referral.review_ended(request.outcome, request.comments, request.priority, files, act.now);
        Ok(referral_resource::answer(200, referral, act.world, act.now))
    })
}

fn read<'a>(act: &Act<'a>) -> Result<Request<'a>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    // Two of what the code system lists can be recorded by API.
    let recorded = [ReviewOutcome::AcceptReferBookLater, ReviewOutcome::ReturnToReferrerWithAdvice];
    let outcome = parameters.one("reviewOutcome").and_then(|value| {
        let system = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-ReviewOutcome-1";
        value.one_of(system, &recorded.map(ReviewOutcome::code), &mut issues).and_then(ReviewOutcome::parse)
    });
    let comments = parameters.one("reviewComments").and_then(|value| value.text(&mut issues));
    let priority = parameters.one("reviewPriority").and_then(|value| priority(value, &mut issues));
    let files = wanted_files(&parameters, "reviewAttachmentFile", "PROVIDER", &mut issues);
    let request = outcome.zip(comments);
    issues.or(request.map(|(outcome, comments)| Request { outcome, comments, priority, files }))
}
