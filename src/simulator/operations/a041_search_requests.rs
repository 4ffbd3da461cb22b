//! A041 Search for service requests: what a UBRN stands for, a referral or an advice request.

use serde_json::{Value, json};

use super::Act;
use super::subject::is_related;
use crate::simulator::exchange::Answer;
use crate::simulator::issue::Issue;
use crate::simulator::percent;
use crate::simulator::referral::{State, Ubrn};
use crate::simulator::referral_resource::instant;
use crate::simulator::refusal::Refusal;

const UBRN_SYSTEM: &str = "https://fhir.nhs.uk/Id/UBRN";

/// Requests to which the caller is not related are not found: this operation documents no refusal of them.
pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let ubrn = ubrn(act)?;
    let referral = act.world.referrals.with(ubrn, |referral| {
        is_related(act, referral.organisation.as_deref()).then(|| {
            let status = if referral.state == State::CancelledReferral { "revoked" } else { "active" };
            let id = format!("r.{}", referral.request_id);
            request(&id, referral.version, ubrn, status, "referral", &referral.patient)
        })
    });
    let advice = act.world.advice.with(ubrn, |advice| {
        is_related(act, advice.organisation.as_deref()).then(|| {
            let id = format!("a.{}", advice.request_id);
            let mut found = request(&id, advice.version, ubrn, status_of(advice.status), "request", &advice.patient);
            let system = "https://fhir.nhs.uk/CodeSystem/servicerequest-code";
            found["code"] = json!({"coding": [{"system": system, "code": "advice-and-guidance"}]});
            found
        })
    });
    let base = &act.world.addresses.base_url;
    let entry = |resource: Value| {
        let url = format!("{base}/R4/ServiceRequest/{}", resource["id"].as_str().unwrap_or_default());
        json!({"fullUrl": url, "resource": resource, "search": {"mode": "match"}})
    };
    let entries: Vec<Value> = [referral, advice].into_iter().flatten().flatten().map(entry).collect();
    let at = instant(act.now);
    let identifier = percent::encoded(&format!("{UBRN_SYSTEM}|{ubrn}"));
    let mut bundle = json!({
        "id": act.world.environment.random_id().to_string(),
        "resourceType": "Bundle",
        "meta": {"lastUpdated": at},
        "timestamp": at,
        "link": [{"relation": "self", "url": format!("{base}/R4/ServiceRequest?identifier={identifier}")}],
        "total": entries.len(),
        "type": "searchset",
    });
    // FHIR has no empty arrays.
    if !entries.is_empty() {
        bundle["entry"] = entries.into();
    }
    Ok(Answer::fhir(200, &bundle).about(ubrn))
}

/// `identifier`, once, as `[system|]ubrn`.
fn ubrn(act: &Act<'_>) -> Result<Ubrn, Refusal> {
    let query = percent::pairs(&act.call.query);
    let bad = |text: &str| Refusal::one(400, Issue::new("REC_BAD_REQUEST", text));
    let token = match query.as_slice() {
        [(name, token)] if name == "identifier" => token.as_str(),
        _ => return Err(bad("the query has identifier, once, and nothing else")),
    };
    let ubrn = match token.split_once('|') {
        None => token,
        Some((UBRN_SYSTEM, ubrn)) => ubrn,
        Some(_) => return Err(bad("identifier can only be a UBRN")),
    };
    Ubrn::parse(ubrn).ok_or_else(|| bad("identifier must be a UBRN of 12 digits"))
}

/// `status` is in `eRS-AdviceAndGuidanceStatus-1`.
fn status_of(status: &str) -> &'static str {
    match status {
        "CONVERSATION_ENDED_CANCELLED" => "revoked",
        "CONVERSATION_ENDED_CLOSED" | "ADVICE_CONVERTED" => "completed",
        _ => "active",
    }
}

fn request(id: &str, version: u32, ubrn: Ubrn, status: &str, category: &str, patient: &str) -> Value {
    let system = "https://fhir.nhs.uk/CodeSystem/message-category-servicerequest";
    json!({
        "id": id,
        "meta": {"versionId": version.to_string()},
        "resourceType": "ServiceRequest",
        "identifier": [{"system": UBRN_SYSTEM, "value": ubrn.to_string()}],
        "status": status,
        "intent": "order",
        "category": [{"coding": [{"system": system, "code": category}]}],
        "subject": {"identifier": {"system": "https://fhir.nhs.uk/Id/nhs-number", "value": patient}},
    })
}
