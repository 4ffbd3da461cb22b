//! A040 Retrieve on-behalf-of practitioners: the clinicians of the organisation for whom its administrators may act.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Act;
use crate::simulator::applications::Access;
use crate::simulator::exchange::Answer;
use crate::simulator::issue::Issue;
use crate::simulator::percent;
use crate::simulator::referral_resource::instant;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    if !matches!(percent::pairs(&act.call.query).as_slice(), [(name, value)] if name == "_query" && value == "onBehalfOf")
    {
        return Err(Refusal::one(400, Issue::new("REC_BAD_REQUEST", "the query is _query=onBehalfOf")));
    }
    let at = instant(act.now);
    let entries: Vec<Value> = clinicians(act).iter().map(|id| entry(id, &at)).collect();
    let mut bundle = json!({
        "id": act.world.environment.random_id().to_string(),
        "resourceType": "Bundle",
        "meta": {"lastUpdated": at},
        "type": "searchset",
        "total": entries.len(),
        "timestamp": at,
        "link": [{
            "relation": "self",
            "url": format!("{}/R4/Practitioner?_query=onBehalfOf", act.world.addresses.base_url),
        }],
    });
    // FHIR has no empty arrays.
    if !entries.is_empty() {
        bundle["entry"] = entries.into();
    }
    Ok(Answer::fhir(200, &bundle))
}

/// Those who are registered as clinicians of the caller's organisation, in order of their ids.
fn clinicians<'a>(act: &Act<'a>) -> BTreeSet<&'a str> {
    let sessions = act.world.settings.applications.iter().filter_map(|application| match &application.access {
        Access::UserRestricted { sessions, .. } => Some(sessions),
        Access::ApplicationRestricted { .. } => None,
    });
    let seeded = sessions.flatten().map(|session| (session.user.as_str(), &session.roles));
    let people = act.world.settings.test_people.iter().map(|person| (person.user.as_str(), &person.roles));
    let here = seeded.chain(people).filter(|(_, roles)| {
        let mut roles = roles.iter().filter(|role| role.organisation == act.caller.organisation);
        roles.any(|role| role.business_functions.iter().any(|one| one == "SERVICE_PROVIDER_CLINICIAN"))
    });
    here.map(|(user, _)| user).collect()
}

fn entry(id: &str, at: &str) -> Value {
    json!({
        "fullUrl": format!("Practitioner/{id}"),
        "resource": {
            "id": id,
            "resourceType": "Practitioner",
            "meta": {"lastUpdated": at},
            "identifier": {"system": "https://fhir.nhs.uk/Id/sds-user-id", "value": id},
        },
        "search": {"mode": "match"},
    })
}
