//! A033 Retrieve healthcare service, A035 Search for healthcare services, A037 Retrieve healthcare service version.

use serde_json::{Value, json};

use super::Act;
use crate::simulator::exchange::Answer;
use crate::simulator::issue::Issue;
use crate::simulator::percent;
use crate::simulator::referral_resource::instant;
use crate::simulator::refusal::Refusal;
use crate::simulator::services::{Flow, Service};

/// In one search.
const IDS_MAX: usize = 20;
/// The demonstration's services never change.
const VERSION: &str = "1";

/// A033, or without its body A037.
pub fn one(act: &Act<'_>, id: &str, with_body: bool) -> Result<Answer, Refusal> {
    let service = act.world.services.find(id).ok_or(Refusal::Status(404))?;
    let answer = if with_body { Answer::fhir(200, &resource(&service)) } else { Answer::bare(200) };
    Ok(answer.with("ETag", format!("W/\"{VERSION}\"")).with("Cache-Control", "no-cache".into()))
}

/// A035. Ids of no service are left out.
pub fn several(act: &Act<'_>) -> Result<Answer, Refusal> {
    let query = percent::pairs(&act.call.query);
    let bad = |text: &str| Refusal::one(400, Issue::new("REC_BAD_REQUEST", text));
    let [(name, ids)] = query.as_slice() else { return Err(bad("the query has _id, once, and nothing else")) };
    if name != "_id" {
        return Err(bad("the query has _id, once, and nothing else"));
    }
    let ids: Vec<&str> = ids.split(',').collect();
    if ids.len() > IDS_MAX || ids.iter().any(|id| id.is_empty()) {
        return Err(bad("_id names 1 to 20 services, with commas between"));
    }
    let base = &act.world.addresses.base_url;
    let found = ids.iter().filter_map(|id| act.world.services.find(id));
    let entries: Vec<Value> = found
        .map(|service| {
            json!({
                "fullUrl": format!("{base}/R4/HealthcareService/{}", service.id),
                "resource": resource(&service),
                "search": {"mode": "match"},
            })
        })
        .collect();
    let at = instant(act.now);
    let mut bundle = json!({
        "id": act.world.environment.random_id().to_string(),
        "meta": {"lastUpdated": at},
        "resourceType": "Bundle",
        "type": "searchset",
        "timestamp": at,
        "total": entries.len(),
        "link": [{"relation": "self", "url": format!("{base}/R4/HealthcareService?{}", act.call.query)}],
    });
    // FHIR has no empty arrays.
    if !entries.is_empty() {
        bundle["entry"] = entries.into();
    }
    Ok(Answer::fhir(200, &bundle))
}

fn resource(service: &Service) -> Value {
    let coded = |system: &str, code: &str| json!({"coding": [{"system": format!("https://fhir.nhs.uk/CodeSystem/eRS-{system}"), "code": code}]});
    let flow = |flow: &Flow| match flow {
        Flow::Appointment => "BOOKABLE",
        Flow::Triage => "REVIEW",
        Flow::Advice => "ADVICE_AND_GUIDANCE",
    };
    let mut characteristic: Vec<Value> = service.flows.iter().map(|own| coded("RequestFlowType", flow(own))).collect();
    let bookable = if service.directly_bookable { "DIRECTLY_BOOKABLE" } else { "INDIRECTLY_BOOKABLE" };
    characteristic.push(coded("BookableType", bookable));
    json!({
        "id": service.id,
        "meta": {"versionId": VERSION},
        "language": "en",
        "resourceType": "HealthcareService",
        "active": service.offered,
        "location": [{"identifier": {"system": "https://fhir.nhs.uk/Id/ods-site-code", "value": service.organisation}}],
        "name": service.name,
        "characteristic": characteristic,
    })
}
