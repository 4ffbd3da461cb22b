//! A044 Create advice request: nothing guards it, so a repeat makes a second one.

use std::collections::HashSet;

use serde_json::json;

use super::Act;
use super::a011_create_referral::{DOCUMENTED, patient, referring_clinician, with_provisioning};
use super::a012_maintain_letter::{Wanted, letter, read_document};
use crate::simulator::advice::{AdviceRequest, FIRST_VERSION, Message, Role};
use crate::simulator::advice_resource;
use crate::simulator::exchange::Answer;
use crate::simulator::referral::Letter;
use crate::simulator::referral_resource::profile;
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::Issues;
use crate::simulator::validation::parameters::{Parameters, Rule, mandatory, optional};
use crate::simulator::validation::shortlist::{self, For, Shortlist};

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-CreateAdviceAndGuidance-Request-Parameters-1";
const TEXT_CHARACTERS_MAX: usize = 8000;

const RULES: [Rule; 6] = [
    mandatory("patient", "valueIdentifier"),
    mandatory("providerConversionAuthorisation", "valueCoding"),
    mandatory("shortlist", "resource"),
    mandatory("request", "valueString"),
    optional("referringClinician", "valueIdentifier"),
    Rule { name: "requestAttachmentFile", value: "resource", mandatory: false, repeats: true },
];

struct Request<'a> {
    patient: &'a str,
    conversion: &'static str,
    shortlist: Shortlist<'a>,
    text: &'a str,
    /// Whom an administrator acts for.
    clinician: Option<&'a str>,
    files: Vec<Letter>,
}

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let request = read(act)?;
    let world = act.world;
    let ubrn = world.referrals.next_ubrn();
    let author = Role {
        user: act.caller.holder.user().to_owned(),
        organisation: act.caller.organisation.clone(),
        function: act.caller.function.clone(),
    };
    let requester = match request.clinician {
        Some(id) => Role { user: id.into(), function: "REFERRING_CLINICIAN".into(), ..author.clone() },
        None => author.clone(),
    };
    for file in &request.files {
        world.files.link(file.file, Some(ubrn));
    }
    let advice = AdviceRequest {
        ubrn,
        version: FIRST_VERSION,
        request_id: world.environment.random_id(),
        patient: request.patient.into(),
        priority: request.shortlist.criteria.priority,
        specialty: request.shortlist.criteria.specialty.map(String::from),
        criteria: with_provisioning(request.shortlist.criteria_parameters).to_string().into(),
        services: request.shortlist.services.iter().map(|id| (*id).into()).collect(),
        conversion: request.conversion,
        status: "PROVIDER_RESPONSE_REQUIRED",
        requester: requester.clone(),
        messages: vec![Message {
            number: world.referrals.next_number(),
            sent: act.now,
            of_provider: false,
            author,
            requester,
            text: request.text.into(),
            files: request.files,
        }],
        organisation: Some(act.caller.organisation.clone()),
    };
    let body = json!({
        "resourceType": "Parameters",
        "meta": {"profile": [profile("eRS-CreateAdviceAndGuidance-Response-Parameters-1")]},
        "parameter": [
            {
                "name": "createdCommunicationRequest",
                "resource": advice_resource::request(&advice, world, act.now),
            },
            {
                "name": "createdCommunication",
                "resource": advice_resource::opening_message(&advice, world, act.now),
            },
        ],
    });
    world.advice.insert(advice);
    Ok(Answer::fhir(200, &body).about(ubrn))
}

fn read<'a>(act: &Act<'a>) -> Result<Request<'a>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    let patient = patient(act, &parameters, &mut issues);
    let clinician = referring_clinician(act, &parameters, &mut issues);
    let conversion = parameters.one("providerConversionAuthorisation").and_then(|value| {
        let system = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-ProviderConversionAuthorisation-1";
        value.one_of(system, &["AUTHORISED_TO_CONVERT", "NOT_AUTHORISED_TO_CONVERT"], &mut issues)
    });
    let text = parameters.one("request").and_then(|value| value.text_up_to(TEXT_CHARACTERS_MAX, &mut issues));
    let shortlist =
        parameters.one("shortlist").and_then(|value| shortlist::read(value, For::Advice, act.world, &mut issues));
    let documents = parameters.all("requestAttachmentFile");
    let wanted: Vec<Wanted<'_>> =
        documents.iter().filter_map(|document| read_document(document, "ADVICE_REQUEST", &mut issues)).collect();
    let files = files(act, &wanted, &mut issues);
    let request = (|| {
        let (patient, conversion, shortlist, text) = (patient?, conversion?, shortlist?, text?);
        Some(Request { patient, conversion, shortlist, text, clinician, files })
    })();
    issues.or(request)
}

/// The files, as far as they may be linked: uploaded for no referral, and used nowhere else.
fn files(act: &Act<'_>, wanted: &[Wanted<'_>], issues: &mut Issues) -> Vec<Letter> {
    let mut names = HashSet::new();
    let mut files = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let path = &wanted.path;
        let Some(file) = act.world.files.get(wanted.file) else {
            issues.add("REFERENCE_NOT_FOUND", path, "no such file");
            continue;
        };
        if file.linked_to.is_some() {
            issues.add("INAPPROPRIATE_VALUE", path, "the file is linked to another request");
        } else if file.meant_for.is_some() {
            issues.add("INAPPROPRIATE_VALUE", path, "the file was uploaded for a referral");
        }
        if !names.insert(file.name.to_lowercase()) {
            issues.add("INAPPROPRIATE_VALUE", path, "another file of this request has the same name");
        }
        files.push(letter(act, wanted, file));
    }
    files
}
