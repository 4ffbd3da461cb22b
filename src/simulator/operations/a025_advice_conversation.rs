//! A025 Retrieve advice conversation: the messages of an advice request, with what `_include` asks for.

use serde_json::json;

use super::Act;
use super::subject::{check_patient, with_advice};
use crate::simulator::advice_resource::{self, Included};
use crate::simulator::exchange::Answer;
use crate::simulator::percent;
use crate::simulator::referral_resource::instant;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let query = percent::pairs(&act.call.query);
    let mut included = Included::default();
    let mut based_on = None;
    for (name, value) in &query {
        match (name.as_str(), value.as_str()) {
            ("based-on", reference) if based_on.is_none() => based_on = Some(reference),
            ("_include", "Communication:requester-practitionerrole:PractitionerRole") => included.requesters = true,
            // Spelled like this in the specification.
            ("_include", "Communication:sender-practitionerrole:PractionerRole") => included.senders = true,
            ("_include", "Communication:content-reference:DocumentReference") => included.files = true,
            _ => return Err(Refusal::Status(400)),
        }
    }
    let (ubrn, version) = based_on
        .and_then(|reference| reference.strip_prefix("CommunicationRequest/")?.split_once("/_history/"))
        .ok_or(Refusal::Status(400))?;
    let found = with_advice(act, ubrn, |advice| {
        check_patient(act, &advice.patient)?;
        if advice.version.to_string() != version {
            return Err(Refusal::Status(404));
        }
        Ok((advice.ubrn, advice_resource::conversation(advice, included, act.world, act.now)))
    });
    let (ubrn, entries) = found.map_err(as_bad_request)?;
    let messages = entries.iter().filter(|entry| entry["search"]["mode"] == "match").count();
    let bundle = json!({
        "id": act.world.environment.random_id().to_string(),
        "meta": {"lastUpdated": instant(act.now), "profile": ["http://hl7.org/fhir/STU3/StructureDefinition/Bundle"]},
        "resourceType": "Bundle",
        "type": "searchset",
        "total": messages,
        "link": [{
            "relation": "self",
            "url": format!("{}/STU3/Communication?{}", act.world.addresses.base_url, act.call.query),
        }],
        "entry": entries,
    });
    Ok(Answer::fhir(200, &bundle).about(ubrn))
}

/// Business rules are told with 400 here.
fn as_bad_request(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Outcome { issues, .. } => Refusal::Outcome { status: 400, issues },
        other => other,
    }
}
