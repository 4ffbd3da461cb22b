//! A027 Convert advice request to referral, action later: the same UBRN is then both, and the provider's administrators
//! go on with the referral.

use bytes::Bytes;

use super::Act;
use super::a012_maintain_letter::Wanted;
use super::a026_send_advice_response::{DOCUMENTED, check_answerable, check_priority, guidance};
use super::provider::{GUIDANCE_CHARACTERS_MAX, files, link, linkable, priority, wanted_files};
use super::subject::{check_patient, with_advice};
use crate::simulator::advice::AdviceRequest;
use crate::simulator::decisions::ReviewOutcome;
use crate::simulator::exchange::Answer;
use crate::simulator::files::{Availability, File, Scan};
use crate::simulator::pdf;
use crate::simulator::referral::{Letter, Referral, Review, State};
use crate::simulator::referral_resource::{self, instant};
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::Issues;
use crate::simulator::validation::parameters::{Parameters, Rule, mandatory};

const PROFILE: &str =
    "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-CreateFromCommunicationRequestActionLater-Request-Parameters-1";

const RULES: [Rule; 6] = [
    mandatory("createFrom", "valueReference"),
    mandatory("guidance", "valueString"),
    mandatory("newReferralPriority", "valueCoding"),
    mandatory("reviewComments", "valueString"),
    files("guidanceAttachmentFile"),
    files("reviewAttachmentFile"),
];

struct Request<'a> {
    ubrn: &'a str,
    version: u32,
    guidance: &'a str,
    comments: &'a str,
    priority: &'static str,
    priority_path: String,
    guidance_files: Vec<Wanted<'a>>,
    review_files: Vec<Wanted<'a>>,
}

/// `CommunicationRequest/{ubrn}/_history/{version}`
pub fn created_from(reference: &str) -> Option<(&str, u32)> {
    let (ubrn, version) = reference.strip_prefix("CommunicationRequest/")?.split_once("/_history/")?;
    let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    Some((ubrn, digits.then(|| version.parse().ok())??))
}

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let request = read(act)?;
    let referral = with_advice(act, request.ubrn, |advice| {
        check_patient(act, &advice.patient)?;
        check_answerable(act, advice, request.version)?;
        let mut issues = Issues::new(&DOCUMENTED);
        if advice.conversion != "AUTHORISED_TO_CONVERT" {
            issues.add("INVALID_STATE", "parameter", "the referrer has not allowed that the request is converted");
        }
        check_priority(act, advice, request.priority, &request.priority_path, &mut issues);
        let names = || advice.messages.iter().flat_map(|message| &message.files);
        let guidance_files = linkable(act, advice.ubrn, &request.guidance_files, names(), &mut issues);
        let review_files = linkable(act, advice.ubrn, &request.review_files, guidance_files.iter(), &mut issues);
        issues.refuse_if_any()?;
        link(act, advice.ubrn, &guidance_files);
        link(act, advice.ubrn, &review_files);
        advice.respond("ADVICE_CONVERTED", request.priority, guidance(act, request.guidance, guidance_files));
        Ok(convert(act, advice, &request, review_files))
    })?;
    let body = referral_resource::resource(&referral, act.world, act.now);
    let answer = Answer::fhir(201, &body).about(referral.ubrn);
    act.world.referrals.insert(referral);
    Ok(answer)
}

fn read<'a>(act: &Act<'a>) -> Result<Request<'a>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    let from = parameters.one("createFrom").and_then(|value| {
        value.object(&["reference"], &mut issues)?;
        let reference = value.required("reference", &mut issues)?;
        let parts = created_from(reference.text(&mut issues)?);
        if parts.is_none() {
            let text = "must be CommunicationRequest/{ubrn}/_history/{version}";
            issues.add("INVALID_VALUE", &reference.path, text);
        }
        parts
    });
    let guidance = parameters.one("guidance").and_then(|value| value.text_up_to(GUIDANCE_CHARACTERS_MAX, &mut issues));
    let new = parameters.one("newReferralPriority");
    let new = new.and_then(|value| Some((priority(value, &mut issues)?, value.path.clone())));
    let comments = parameters.one("reviewComments").and_then(|value| value.text(&mut issues));
    let guidance_files = wanted_files(&parameters, "guidanceAttachmentFile", "GUIDANCE_RESPONSE", &mut issues);
    let review_files = wanted_files(&parameters, "reviewAttachmentFile", "PROVIDER", &mut issues);
    let request = (|| {
        let ((ubrn, version), guidance, (priority, priority_path), comments) = (from?, guidance?, new?, comments?);
        Some(Request { ubrn, version, guidance, comments, priority, priority_path, guidance_files, review_files })
    })();
    issues.or(request)
}

/// The referral that the request becomes, with the conversation as its letter.
fn convert(act: &Act<'_>, advice: &AdviceRequest, request: &Request<'_>, files: Vec<Letter>) -> Referral {
    let world = act.world;
    let mut referral = Referral {
        ubrn: advice.ubrn,
        version: advice.version,
        request_id: world.environment.random_id(),
        patient: advice.patient.clone(),
        priority: request.priority,
        criteria: advice.criteria.clone(),
        shortlist: advice.services.clone(),
        pathway_start: None,
        state: State::NotBooked,
        appointment: None,
        letters: vec![conversation(act, advice)],
        letter_intended: false,
        referrer: advice.requester.user.clone(),
        clinical_information_first: Some(act.now),
        clinical_information_last: None,
        created: act.now,
        updated: act.now,
        organisation: advice.organisation.clone(),
        booking_failure: None,
        additional_requirements: Vec::new(),
        cancellation: None,
        review: Review::Never,
        provider_files: Vec::new(),
        was_advice: true,
    };
    let service = advice.services.first().map(String::as_str).unwrap_or_default();
    referral.send_for_triage(world.referrals.next_number(), service, act.now);
    referral.review_ended(ReviewOutcome::ProviderConverted, request.comments, None, files, act.now);
    referral
}

fn conversation(act: &Act<'_>, advice: &AdviceRequest) -> Letter {
    let world = act.world;
    let mut lines = vec![format!("UBRN {}", advice.ubrn)];
    lines.extend(advice.messages.iter().map(|message| format!("{} {}", instant(message.sent), message.text)));
    let content = Bytes::from(pdf::page(&lines));
    let name = format!("Advice and guidance conversation - {}.pdf", advice.ubrn);
    let (id, size) = (world.environment.random_id(), content.len());
    let file = File {
        name: name.clone(),
        content_type: "application/pdf".into(),
        size,
        content: Some(content),
        meant_for: Some(advice.ubrn),
        linked_to: Some(advice.ubrn),
        scan: Scan::of(Availability::Available),
    };
    world.files.insert(id, file);
    Letter {
        number: world.referrals.next_number(),
        file: id,
        name,
        content_type: "application/pdf".into(),
        size,
        description: None,
        indexed: act.now,
        attached_by: act.caller.holder.user().to_owned(),
        organisation: act.caller.organisation.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_converted_is_named_with_its_version() {
        for (reference, parts) in [
            ("CommunicationRequest/000000070000/_history/3", Some(("000000070000", 3))),
            ("CommunicationRequest/000000070000", None),
            ("CommunicationRequest/000000070000/_history/", None),
            ("CommunicationRequest/000000070000/_history/+3", None),
            ("ReferralRequest/000000070000/_history/3", None),
        ] {
            assert_eq!(created_from(reference), parts, "{reference}");
        }
    }
}
