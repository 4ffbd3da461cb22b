//! A030 Retrieve user business functions.

use serde_json::{Value, json};

use super::Act;
use crate::simulator::applications::Role;
use crate::simulator::exchange::Answer;
use crate::simulator::referral_resource::instant;
use crate::simulator::refusal::Refusal;
use crate::simulator::tokens::Authority;

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let Authority::User { user, roles, .. } = &act.caller.holder.authority else {
        return Err(Refusal::Status(403));
    };
    let base = &act.world.addresses.base_url;
    let at = instant(act.now);
    let entries: Vec<Value> = roles.iter().map(|role| entry(role, user, base, &at)).collect();
    let bundle = json!({
        "id": act.world.environment.random_id().to_string(),
        "meta": {"lastUpdated": at},
        "resourceType": "Bundle",
        "type": "searchset",
        "total": entries.len(),
        "timestamp": at,
        "link": [{"relation": "self", "url": format!("{base}/R4/PractitionerRole")}],
        "entry": entries,
    });
    Ok(Answer::fhir(200, &bundle))
}

fn entry(role: &Role, user: &str, base: &str, at: &str) -> Value {
    let id = format!("PractitionerRole-{}-{user}", role.organisation);
    let system = "https://fhir.nhs.uk/CodeSystem/eRS-BusinessFunction-1";
    let functions = role.business_functions.iter().map(|code| json!({"coding": [{"system": system, "code": code}]}));
    let functions: Vec<Value> = functions.collect();
    let organisation = json!({"system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": role.organisation});
    json!({
        "fullUrl": format!("{base}/R4/PractitionerRole/{id}"),
        "resource": {
            "id": id,
            "meta": {"lastUpdated": at},
            "resourceType": "PractitionerRole",
            "practitioner": {"identifier": {"system": "https://fhir.nhs.uk/Id/sds-user-id", "value": user}},
            "organization": {"identifier": organisation},
            "code": functions,
        },
        "search": {"mode": "match"},
    })
}
