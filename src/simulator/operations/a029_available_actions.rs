//! A029 Available actions for user.

use serde_json::{Value, json};

use super::Act;
use super::subject::{history_not_supported, reference_parts};
use crate::simulator::exchange::Answer;
use crate::simulator::issue::Issue;
use crate::simulator::percent;
use crate::simulator::referral::{Referral, State};
use crate::simulator::referral_resource::instant;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let query = percent::pairs(&act.call.query);
    let given = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let mut issues = Vec::new();
    for name in ["focus", "intent", "status"] {
        if given(name).is_none_or(str::is_empty) {
            issues.push(Issue::new("MISSING_PARAMETER", format!("query parameter {name} is mandatory")));
        }
    }
    for (name, expected) in [("intent", "proposal"), ("status", "ready")] {
        if given(name).is_some_and(|value| !value.is_empty() && value != expected) {
            issues.push(Issue::new("INVALID_VALUE", format!("query parameter {name} must be {expected}")));
        }
    }
    let focus = given("focus").filter(|focus| !focus.is_empty());
    let parts = focus.and_then(reference_parts);
    if focus.is_some() && parts.is_none() {
        let text = "query parameter focus must be ReferralRequest/{ubrn}/_history/{version}";
        issues.push(Issue::new("INVALID_VALUE", text));
    }
    let (Some((ubrn, version)), true) = (parts, issues.is_empty()) else {
        return Err(Refusal::Outcome { status: 400, issues });
    };
    act.world
        .referrals
        .with(ubrn, |referral| {
            if referral.version != version {
                return Err(history_not_supported(400));
            }
            Ok(Answer::fhir(200, &bundle(act, referral)).about(ubrn))
        })
        .unwrap_or_else(|| Err(Refusal::one(400, Issue::new("REFERENCE_NOT_FOUND", "no such referral"))))
}

/// Whether the caller may do this to the referral as it is now.
pub fn may(act: &Act<'_>, referral: &Referral, action: &str) -> bool {
    actions(act, referral).iter().any(|(code, _)| *code == action)
}

/// The code and the name of each action, by role and state.
fn actions(act: &Act<'_>, referral: &Referral) -> &'static [(&'static str, &'static str)] {
    const CANCEL: (&str, &str) = ("CANCEL_REFERRAL", "Cancel Referral");
    match (act.caller.refers(), referral.state) {
        (_, State::CancelledReferral) => &[],
        (true, state) if state.waits_for_referrer() => &[
            ("CREATE_APPOINTMENT", "Create Appointment"),
            ("CHANGE_SHORTLIST", "Change Shortlist"),
            ("CHANGE_SHORTLIST_AND_SEND_FOR_TRIAGE", "Change Shortlist And Send For Triage"),
            CANCEL,
        ],
        (true, State::Booked) if referral.appointment.as_ref().is_some_and(|found| found.lies_ahead(act.now)) => {
            &[("CANCEL_DIRECTLY_BOOKED_APPOINTMENT", "Cancel Directly Booked Appointment"), CANCEL]
        }
        (true, State::Booked | State::AwaitingTriage | State::DeferredToProvider)
        | (_, State::TriagedProviderToAction)
        | (false, State::Booked) => &[CANCEL],
        (false, State::AwaitingTriage | State::DeferredToProvider) => {
            &[("RECORD_REVIEW_OUTCOME", "Record Review Outcome"), CANCEL]
        }
        _ => &[],
    }
}

fn bundle(act: &Act<'_>, referral: &Referral) -> Value {
    let base = &act.world.addresses.base_url;
    let entry = |(code, display): &(&str, &str)| {
        let id = act.world.environment.random_id().to_string();
        let coding = json!({
            "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-AvailableActionsForUser-1",
            "code": code,
            "display": display,
        });
        json!({
            "fullUrl": format!("{base}/STU3/Task/{id}"),
            "resource": {
                "id": id,
                "meta": {"profile": ["https://fhir.hl7.org.uk/STU3/StructureDefinition/CareConnect-Task-1"]},
                "resourceType": "Task",
                "status": "ready",
                "intent": "proposal",
                "focus": {"reference": referral.current_reference()},
                "code": {"coding": [coding]},
            },
            "search": {"mode": "match"},
        })
    };
    let entries: Vec<Value> = actions(act, referral).iter().map(entry).collect();
    let query = format!("focus={}&intent=proposal&status=ready", referral.current_reference());
    json!({
        "id": act.world.environment.random_id().to_string(),
        "meta": {"lastUpdated": instant(act.now), "profile": ["http://hl7.org/fhir/STU3/StructureDefinition/Bundle"]},
        "resourceType": "Bundle",
        "type": "searchset",
        "link": [{"relation": "self", "url": format!("{base}/STU3/Task?{query}")}],
        "entry": entries,
    })
}
