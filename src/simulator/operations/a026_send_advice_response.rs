//! A026 Send advice response: the provider answers, or asks for more.

use serde_json::json;

use super::Act;
use super::a012_maintain_letter::Wanted;
use super::provider::{GUIDANCE_CHARACTERS_MAX, files, link, linkable, priority, wanted_files};
use super::subject::{check_patient, if_match, with_advice};
use crate::simulator::advice::{AdviceRequest, Message, Role};
use crate::simulator::advice_resource;
use crate::simulator::exchange::Answer;
use crate::simulator::referral::Letter;
use crate::simulator::referral_resource::profile;
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::Issues;
use crate::simulator::validation::parameters::{Parameters, Rule, mandatory, optional};

const PROFILE: &str =
    "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-SendCommunicationToRequester-Request-Parameters-1";
const RETURN: &str = "RETURN_TO_REFERRER_WITH_ADVICE";

const RULES: [Rule; 5] = [
    mandatory("guidanceOutcome", "valueCoding"),
    optional("guidanceIntendedRecommendation", "valueCoding"),
    mandatory("guidance", "valueString"),
    mandatory("updatedPriority", "valueCoding"),
    files("guidanceAttachmentFile"),
];

/// Of A027 too.
pub const DOCUMENTED: [&str; 12] = [
    "PATIENT_ERROR",
    "NO_RELATIONSHIP",
    "UNSUPPORTED_PRIORITY",
    "INAPPROPRIATE_VALUE",
    "INVALID_VALUE",
    "INVALID_REQUEST_STATE",
    "INVALID_STATE",
    "MISSING_VALUE",
    "VALUE_IS_REQUIRED",
    "REFERENCE_NOT_FOUND",
    "DUPLICATE_FILENAME",
    "CONFLICTING_VALUES",
];

struct Request<'a> {
    outcome: &'static str,
    guidance: &'a str,
    priority: &'static str,
    priority_path: String,
    files: Vec<Wanted<'a>>,
}

pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    let version = if_match(act.call)?;
    with_advice(act, ubrn, |advice| {
        check_patient(act, &advice.patient)?;
        let request = read(act)?;
        check_answerable(act, advice, version)?;
        let mut issues = Issues::new(&DOCUMENTED);
        check_priority(act, advice, request.priority, &request.priority_path, &mut issues);
        let names = advice.messages.iter().flat_map(|message| &message.files);
        let files = linkable(act, advice.ubrn, &request.files, names, &mut issues);
        issues.refuse_if_any()?;
        link(act, advice.ubrn, &files);
        let status = if request.outcome == RETURN {
            "REFERRER_TO_REVIEW_RESPONSE"
        } else {
            "REFERRER_TO_SUBMIT_FURTHER_INFORMATION"
        };
        advice.respond(status, request.priority, guidance(act, request.guidance, files));
        let body = json!({
            "meta": {"profile": [profile("eRS-SendCommunicationToRequester-Response-Parameters-1")]},
            "resourceType": "Parameters",
            "parameter": [
                {
                    "name": "updatedCommunicationRequest",
                    "resource": advice_resource::request(advice, act.world, act.now),
                },
                {
                    "name": "createdCommunication",
                    "resource": advice_resource::latest_message(advice, act.world, act.now),
                },
            ],
        });
        Ok(Answer::fhir(200, &body).about(advice.ubrn))
    })
}

fn read<'a>(act: &Act<'a>) -> Result<Request<'a>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    let outcome = parameters.one("guidanceOutcome").and_then(|value| {
        let system = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-GuidanceResponseOutcome-1";
        value.one_of(system, &[RETURN, "REQUIRE_FURTHER_INFORMATION"], &mut issues)
    });
    let recommendation = parameters.one("guidanceIntendedRecommendation");
    if let Some(value) = recommendation {
        let system = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-GuidanceIntendedRecommendation-1";
        let codes = [
            "ADVICE_ONLY_NO_REFERRAL_RECOMMENDED",
            "ADVICE_FOLLOWED_BY_REFERRAL_IF_REQUIRED",
            "REFERRAL_RECOMMENDED",
            "OTHER",
        ];
        value.one_of(system, &codes, &mut issues);
    } else if outcome == Some(RETURN) {
        issues.add("VALUE_IS_REQUIRED", "parameter", "(guidanceIntendedRecommendation) is mandatory with this outcome");
    }
    let guidance = parameters.one("guidance").and_then(|value| value.text_up_to(GUIDANCE_CHARACTERS_MAX, &mut issues));
    let updated = parameters.one("updatedPriority");
    let updated = updated.and_then(|value| Some((priority(value, &mut issues)?, value.path.clone())));
    let files = wanted_files(&parameters, "guidanceAttachmentFile", "GUIDANCE_RESPONSE", &mut issues);
    let request = (|| {
        let (outcome, guidance, (priority, priority_path)) = (outcome?, guidance?, updated?);
        Some(Request { outcome, guidance, priority, priority_path, files })
    })();
    issues.or(request)
}

/// Nobody else is writing to it, it is in this version, and it is the provider's turn. A027 asks the same.
pub fn check_answerable(act: &Act<'_>, advice: &AdviceRequest, version: u32) -> Result<(), Refusal> {
    if act.world.is_locked(advice.ubrn) {
        return Err(Refusal::Status(423));
    }
    if advice.version != version {
        return Err(Refusal::Status(409));
    }
    let services = advice.services.iter().filter_map(|id| act.world.services.find(id));
    if !services.into_iter().any(|service| service.organisation == act.caller.organisation) {
        return Err(Refusal::unprocessable("NO_RELATIONSHIP", "another organisation was asked for advice"));
    }
    if advice.status != "PROVIDER_RESPONSE_REQUIRED" {
        return Err(Refusal::unprocessable("INVALID_REQUEST_STATE", "the request awaits no answer of a provider"));
    }
    Ok(())
}

pub fn check_priority(act: &Act<'_>, advice: &AdviceRequest, priority: &str, path: &str, issues: &mut Issues) {
    let mut services = advice.services.iter().filter_map(|id| act.world.services.find(id));
    if !services.all(|service| service.priorities.iter().any(|one| one == priority)) {
        issues.add("UNSUPPORTED_PRIORITY", path, "the service does not take this priority");
    }
}

/// A message of the caller, or of whom they act for.
pub fn guidance(act: &Act<'_>, text: &str, files: Vec<Letter>) -> Message {
    let author = Role {
        user: act.caller.holder.user().to_owned(),
        organisation: act.caller.organisation.clone(),
        function: act.caller.function.clone(),
    };
    let requester = match &act.caller.on_behalf_of {
        Some(user) => Role { user: user.clone(), function: "SERVICE_PROVIDER_CLINICIAN".into(), ..author.clone() },
        None => author.clone(),
    };
    Message {
        number: act.world.referrals.next_number(),
        sent: act.now,
        of_provider: true,
        author,
        requester,
        text: text.into(),
        files,
    }
}
