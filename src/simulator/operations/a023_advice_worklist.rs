//! A023 Retrieve advice and guidance worklist: the conversations of the caller's services that are not over.

use serde_json::{Value, json};

use super::Act;
use super::a008_provider_lists::read;
use super::a008_worklist::{coded, worklist};
use crate::simulator::advice::AdviceRequest;
use crate::simulator::exchange::Answer;
use crate::simulator::referral_resource::{instant, profile};
use crate::simulator::refusal::Refusal;
use crate::simulator::services::Service;

const SELECTOR: &str = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-CommunicationListSelector-1";
/// As the published sample has them: the provider's turn, or that of a referrer who was asked for more.
const OPEN: [&str; 2] = ["PROVIDER_RESPONSE_REQUIRED", "REFERRER_TO_SUBMIT_FURTHER_INFORMATION"];

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let request = read(act, SELECTOR, &["ADVICE_AND_GUIDANCE_REQUESTS"])?;
    let mut entries = Vec::new();
    for ubrn in act.world.advice.ubrns() {
        let entry = act.world.advice.with(ubrn, |advice| {
            let service = advice.services.iter().find_map(|id| act.world.services.find(id))?;
            let parameters: Value = serde_json::from_str(&advice.criteria).unwrap_or_default();
            let criterion = |name: &str, value: &str| {
                let found = parameters.as_array()?.iter().find(|one| one["name"] == name)?;
                found.pointer(value)?.as_str().map(str::to_owned)
            };
            let clinician = criterion("namedClinician", "/valueIdentifier/value");
            let fits = OPEN.contains(&advice.status)
                && request.fits(act, &service, advice.specialty.as_deref(), clinician.as_deref());
            let clinic_type = criterion("clinicType", "/valueCoding/code");
            fits.then(|| entry(advice, &service, clinician, clinic_type, act))
        });
        entries.extend(entry.flatten());
    }
    worklist(entries)
}

fn entry(
    advice: &AdviceRequest,
    service: &Service,
    clinician: Option<String>,
    clinic_type: Option<String>,
    act: &Act<'_>,
) -> Value {
    let base = &act.world.addresses.base_url;
    let identified = |url: &str, system: &str, value: &str| json!({"url": url, "valueReference": {"identifier": {"system": system, "value": value}}});
    let listed = |url: &str, key: &str, code: &str| {
        let system = format!("{base}/STU3/CodeSystem/{key}");
        json!({"url": url, "valueCodeableConcept": {"coding": [{"system": system, "code": code}]}})
    };
    let user = "http://fhir.nhs.net/Id/sds-user-id";
    let mut item = vec![coded("priority", "Priority", advice.priority, None)];
    item.extend(advice.specialty.as_deref().map(|code| listed("specialty", "SPECIALTY", code)));
    item.push(identified("patient", "http://fhir.nhs.net/Id/nhs-number", &advice.patient));
    item.extend(clinician.map(|id| identified("namedClinician", user, &id)));
    item.push(coded("category", "AdviceAndGuidanceStatus", advice.status, None));
    for (url, message) in
        [("adviceFirstRequested", advice.messages.first()), ("adviceLastUpdated", advice.messages.last())]
    {
        item.extend(message.map(|message| json!({"url": url, "valueDateTime": instant(message.sent)})));
    }
    item.push(identified("referrer", user, &advice.requester.user));
    let identifier = json!({"system": "http://fhir.nhs.net/Id/ers-service", "value": service.id});
    item.push(json!({"url": "service", "valueReference": {"identifier": identifier, "display": service.name}}));
    item.extend(clinic_type.map(|code| listed("clinicType", "CLINIC-TYPE", &code)));
    item.push(json!({"url": "communicationRequestVersion", "valueInteger": advice.version}));
    json!({
        "extension": [{
            "extension": item,
            "url": profile("Extension-eRS-AdviceAndGuidanceRequests-WorkListItem-1"),
        }],
        "item": {"reference": format!("CommunicationRequest/{}", advice.ubrn)},
    })
}
