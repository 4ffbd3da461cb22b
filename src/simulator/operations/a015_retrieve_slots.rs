//! A015 Retrieve appointment slots: the free slots of one directly bookable service, page by page.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Act;
use crate::simulator::exchange::Answer;
use crate::simulator::issue::Issue;
use crate::simulator::people::is_sds_user_id;
use crate::simulator::percent;
use crate::simulator::referral_resource::instant;
use crate::simulator::refusal::Refusal;
use crate::simulator::services::{Flow, Slot};
use crate::simulator::validation::criteria::{PRIORITIES, is_ods_code};

const RULE_ORGANISATION: &str = "NHSD-eRS-Comm-Rule-Org";
const SERVICE: &str = "schedule.actor:HealthcareService";
const PRACTITIONER: &str = "schedule.actor:Practitioner";
const COUNT_MAX: usize = 100;

struct Query {
    service: String,
    practitioner: Option<String>,
    priority: String,
    count: usize,
    page: usize,
    schedules: bool,
}

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let query = read(act)?;
    let service = offered_service(act, &query)?;
    let takes_priority = service.priorities.contains(&query.priority);
    let mut slots = act.world.services.free_slots(&query.service, query.practitioner.as_deref(), act.now);
    if !takes_priority {
        slots.clear();
    }
    let pages = slots.len().div_ceil(query.count).max(1);
    if query.page > pages {
        return Err(bad("INVALID_VALUE", format!("'Page Number' ({}) is invalid.", query.page)));
    }
    Ok(Answer::fhir(200, &bundle(act, &query, &slots, pages)))
}

fn bad(code: &'static str, text: impl Into<String>) -> Refusal {
    Refusal::one(400, Issue::new(code, text))
}

/// Every issue at once, as 400: this operation has no 422.
fn read(act: &Act<'_>) -> Result<Query, Refusal> {
    let mut issues = Vec::new();
    let pairs = percent::pairs(&act.call.query);
    let given = |name: &str| {
        let found = pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    };
    match act.call.header(RULE_ORGANISATION).map(str::trim).filter(|value| !value.is_empty()) {
        None => issues.push(Issue::new("MISSING_HEADER", format!("header {RULE_ORGANISATION} is mandatory"))),
        Some(code) if !is_ods_code(code) => {
            issues.push(Issue::new("INVALID_VALUE", format!("header {RULE_ORGANISATION} must be an ODS code")));
        }
        Some(code) if act.world.settings.closed_organisations.iter().any(|closed| closed == code) => {
            issues.push(Issue::new("REFERENCE_NOT_FOUND", format!("header {RULE_ORGANISATION}: no such organisation")));
        }
        Some(_) => {}
    }
    for name in [SERVICE, "appointmentType", "status", "_count", "page"] {
        if given(name).is_none() {
            issues.push(Issue::new("MISSING_PARAMETER", format!("query parameter {name} is mandatory")));
        }
    }
    let mut number = |name: &str, max: usize| {
        let value = given(name)?;
        let number = value.parse().ok().filter(|number| (1..=max).contains(number));
        if number.is_none() {
            issues.push(Issue::new("INVALID_VALUE", format!("query parameter {name} is not a number in its range")));
        }
        number
    };
    let (count, page) = (number("_count", COUNT_MAX), number("page", usize::MAX));
    let wrong = [
        (given("status").is_some_and(|status| status != "free"), "INVALID_VALUE", "status must be free"),
        (
            given("appointmentType").is_some_and(|code| !PRIORITIES.contains(&code)),
            "INVALID_CODE",
            "appointmentType must be a priority",
        ),
        (
            given("_include").is_some_and(|name| name != "Slot:schedule"),
            "INVALID_VALUE",
            "_include must be Slot:schedule",
        ),
        (
            given(PRACTITIONER).is_some_and(|id| !is_sds_user_id(id)),
            "INVALID_VALUE",
            "schedule.actor:Practitioner must be an SDS user id",
        ),
        (
            given(PRACTITIONER).is_some_and(|id| act.world.clinicians.refusal(id) == Some("REFERENCE_NOT_FOUND")),
            "REFERENCE_NOT_FOUND",
            "schedule.actor:Practitioner: no such clinician",
        ),
    ];
    for (_, code, text) in wrong.iter().filter(|(wrong, ..)| *wrong) {
        issues.push(Issue::new(*code, format!("query parameter {text}")));
    }
    let required = (given(SERVICE), given("appointmentType"), count, page);
    let (Some(service), Some(priority), Some(count), Some(page), true) =
        (required.0, required.1, required.2, required.3, issues.is_empty())
    else {
        return Err(Refusal::Outcome { status: 400, issues });
    };
    Ok(Query {
        service: service.into(),
        practitioner: given(PRACTITIONER).map(String::from),
        priority: priority.into(),
        count,
        page,
        schedules: given("_include").is_some(),
    })
}

fn offered_service<'a>(
    act: &Act<'a>,
    query: &Query,
) -> Result<std::borrow::Cow<'a, crate::simulator::services::Service>, Refusal> {
    let Some(service) = act.world.services.find(&query.service) else {
        return Err(bad("REFERENCE_NOT_FOUND", format!("query parameter {SERVICE}: no such service")));
    };
    if !service.offered {
        return Err(bad("SERVICE_UNAVAILABLE", "the service is no longer offered"));
    }
    if !service.takes(Flow::Appointment) || !service.directly_bookable {
        return Err(bad("INVALID_STATE", "the service cannot be booked directly"));
    }
    Ok(service)
}

fn bundle(act: &Act<'_>, query: &Query, slots: &[&Slot], pages: usize) -> Value {
    let base = &act.world.addresses.base_url;
    let first = (query.page - 1) * query.count;
    let shown: Vec<&&Slot> = slots.iter().skip(first).take(query.count).collect();
    let mut entries: Vec<Value> = shown.iter().map(|slot| slot_entry(slot, base)).collect();
    if query.schedules {
        let schedules: BTreeMap<String, Value> =
            shown.iter().map(|slot| (schedule_id(slot), schedule_entry(slot, base))).collect();
        entries.extend(schedules.into_values());
    }
    let mut links = vec![link(query, base, "self", query.page)];
    if query.page < pages {
        links.push(link(query, base, "next", query.page + 1));
    }
    if query.page > 1 {
        links.push(link(query, base, "previous", query.page - 1));
    }
    json!({
        "id": act.world.environment.random_id().to_string(),
        "meta": {"lastUpdated": instant(act.now), "profile": ["http://hl7.org/fhir/STU3/StructureDefinition/Bundle"]},
        "resourceType": "Bundle",
        "type": "searchset",
        "total": slots.len(),
        "link": links,
        "entry": entries,
    })
}

fn link(query: &Query, base: &str, relation: &str, page: usize) -> Value {
    let practitioner = query.practitioner.as_ref().map(|id| format!("schedule.actor%3APractitioner={id}&"));
    let include = if query.schedules { "&_include=Slot%3Aschedule" } else { "" };
    let url = format!(
        "{base}/STU3/Slot?{}schedule.actor%3AHealthcareService={}&appointmentType={}&_count={}&status=free{include}&page={page}",
        practitioner.unwrap_or_default(),
        query.service,
        query.priority,
        query.count,
    );
    json!({"relation": relation, "url": url})
}

fn slot_entry(slot: &Slot, base: &str) -> Value {
    json!({
        "fullUrl": format!("{base}/STU3/Slot/{}", slot.id),
        "resource": {
            "id": slot.id,
            "meta": {"profile": ["https://fhir.hl7.org.uk/STU3/StructureDefinition/CareConnect-Slot-1"]},
            "resourceType": "Slot",
            "identifier": [{
                "system": "https://fhir.nhs.uk/Id/alternative-slot",
                "value": format!("USRN-{}", slot.id),
            }],
            "schedule": {"reference": format!("Schedule/{}", schedule_id(slot))},
            "status": "free",
            "start": instant(slot.start),
            "end": instant(slot.end),
        },
        "search": {"mode": "match"},
    })
}

/// One for each clinician of a service, and one for the slots that name none.
fn schedule_id(slot: &Slot) -> String {
    match &slot.clinician {
        Some(clinician) => format!("{}-{clinician}", slot.service),
        None => slot.service.clone(),
    }
}

fn schedule_entry(slot: &Slot, base: &str) -> Value {
    let id = schedule_id(slot);
    let actor = |system: &str, value: &str| json!({"identifier": {"system": system, "value": value}});
    let mut actors = vec![actor("http://fhir.nhs.net/Id/ers-service", &slot.service)];
    actors.extend(slot.clinician.as_ref().map(|clinician| actor("http://fhir.nhs.net/Id/sds-user-id", clinician)));
    json!({
        "fullUrl": format!("{base}/STU3/Schedule/{id}"),
        "resource": {
            "id": id,
            "meta": {"profile": ["https://fhir.hl7.org.uk/STU3/StructureDefinition/CareConnect-Schedule-1"]},
            "resourceType": "Schedule",
            "identifier": [{"system": "https://fhir.nhs.uk/Id/ers-schedule", "value": id}],
            "actor": actors,
        },
        "search": {"mode": "include"},
    })
}
