//! A008 Retrieve referral worklist: the four lists of a referrer, made from the referrals of their organisation. Those of
//! a provider are beside this file.

use serde_json::{Value, json};

use super::Act;
use super::a008_provider_lists;
use super::subject::is_related;
use crate::simulator::exchange::Answer;
use crate::simulator::referral::{Referral, State};
use crate::simulator::referral_resource::{instant, state_reason};
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::Issues;
use crate::simulator::validation::parameters::{Parameters, Rule, mandatory, optional};

pub const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-FetchWorklist-Parameters-1";
pub const SELECTOR: &str = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-ReferralListSelector-1";

pub const RULES: [Rule; 7] = [
    mandatory("listType", "valueCodeableConcept"),
    optional("service", "valueIdentifier"),
    optional("specialtyAssignedIndicator", "valueCodeableConcept"),
    optional("specialty", "valueCodeableConcept"),
    optional("location", "valueIdentifier"),
    optional("clinicianAssignedIndicator", "valueCodeableConcept"),
    optional("clinician", "valueIdentifier"),
];

pub const DOCUMENTED: [&str; 7] = [
    "REFERENCE_NOT_FOUND",
    "MISSING_VALUE",
    "NO_RELATIONSHIP",
    "INVALID_VALUE",
    "INVALID_CODE",
    "UNEXPECTED_FIELD",
    "INVALID_FHIR_STRUCTURE",
];

/// A list, and what the extension of its items is called.
struct List {
    code: &'static str,
    item: &'static str,
    holds: fn(&Referral) -> bool,
    /// Its items end with when the letter is due, the others with last update, state and the reason for it.
    of_letters: bool,
}

const LISTS: [List; 4] = [
    List {
        code: "REJECTED_TRIAGE_RESPONSE",
        item: "RejectedTriageResponse",
        holds: |referral| referral.state.was_returned(),
        of_letters: false,
    },
    List {
        code: "ASSESSMENT_RETURNED_CANCELLED_DNA",
        item: "AssessmentReturnedCancelledDna",
        // Providers neither assess nor note who did not attend here.
        holds: |referral| referral.state == State::CancelledReferral,
        of_letters: false,
    },
    List {
        code: "AWAITING_BOOKING",
        item: "AwaitingBooking",
        holds: |referral| referral.state.waits_for_referrer() && !referral.state.was_returned(),
        of_letters: false,
    },
    List {
        code: "LETTERS_OUTSTANDING",
        item: "LettersOutstanding",
        holds: |referral| {
            referral.letter_intended && referral.letters.is_empty() && referral.state != State::CancelledReferral
        },
        of_letters: true,
    },
];

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    if !act.caller.refers() {
        return a008_provider_lists::answer(act);
    }
    let list = read(act)?;
    let referrals = act.world.referrals.all();
    let own =
        referrals.iter().filter(|referral| is_related(act, referral.organisation.as_deref()) && (list.holds)(referral));
    worklist(own.map(|referral| entry(list, referral, act)).collect())
}

/// There are no pages: what is too large is not answered at all.
const WORKLIST_BYTES_MAX: usize = 10 * 1024 * 1024;

pub fn worklist(entries: Vec<Value>) -> Result<Answer, Refusal> {
    answer_of(list_of(entries))
}

pub fn answer_of(worklist: Value) -> Result<Answer, Refusal> {
    let answer = Answer::fhir(200, &worklist);
    if answer.body.len() > WORKLIST_BYTES_MAX { Err(Refusal::Status(500)) } else { Ok(answer) }
}

pub fn list_of(entries: Vec<Value>) -> Value {
    let mut worklist = json!({
        "meta": {"profile": ["https://fhir.nhs.uk/STU3/StructureDefinition/eRS-FetchWorklist-List-1"]},
        "resourceType": "List",
        "status": "current",
        "mode": "snapshot",
    });
    // FHIR has no empty arrays.
    if entries.is_empty() {
        let system = "http://hl7.org/fhir/ValueSet/list-empty-reason";
        worklist["emptyReason"] = json!({"coding": [{"system": system, "code": "nilknown", "display": "no results"}]});
    } else {
        worklist["entry"] = entries.into();
    }
    worklist
}

fn read(act: &Act<'_>) -> Result<&'static List, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    let code = list_type(&parameters, SELECTOR, &LISTS.map(|list| list.code), &mut issues);
    let list = code.and_then(|code| LISTS.iter().find(|list| list.code == code));
    for rule in RULES.iter().filter(|rule| !rule.mandatory) {
        if let Some(filter) = parameters.one(rule.name) {
            issues.add("UNEXPECTED_FIELD", &filter.path, "the lists of a referrer take no filters");
        }
    }
    issues.or(list)
}

/// Which of the lists that the caller may see.
pub fn list_type(
    parameters: &Parameters<'_>,
    selector: &str,
    codes: &[&'static str],
    issues: &mut Issues,
) -> Option<&'static str> {
    let value = parameters.one("listType")?;
    value.object(&["coding"], issues)?;
    value.required("coding", issues)?.only_item(issues)?.one_of(selector, codes, issues)
}

/// A member of an item: a code of an e-RS code system.
pub fn coded(url: &str, system: &str, code: &str, display: Option<&str>) -> Value {
    let mut coding = json!({"system": format!("https://fhir.nhs.uk/STU3/CodeSystem/eRS-{system}-1"), "code": code});
    if let Some(display) = display {
        coding["display"] = display.into();
    }
    json!({"url": url, "valueCodeableConcept": {"coding": [coding]}})
}

fn entry(list: &List, referral: &Referral, act: &Act<'_>) -> Value {
    const STRUCTURE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition";
    let identifier = |url: &str, system: &str, value: &str| json!({"url": url, "valueReference": {"identifier": {"system": system, "value": value}}});
    let mut item = vec![
        identifier("patient", "http://fhir.nhs.net/Id/nhs-number", &referral.patient),
        coded("priority", "Priority", referral.priority, None),
        json!({"url": "referralCreated", "valueDateTime": instant(referral.created)}),
        json!({"url": "clinicalContext", "valueString": clinical_context(referral)}),
        identifier("referrer", "http://fhir.nhs.net/Id/sds-user-id", &referral.referrer),
    ];
    if list.of_letters {
        let due = instant(referral.created);
        item.push(json!({"url": "letterDue", "valueDate": due.get(..10).unwrap_or(&due)}));
    } else {
        item.push(json!({"url": "referralLastUpdated", "valueDateTime": instant(referral.updated)}));
        let (code, display) = referral.state.on_worklists();
        item.push(coded("status", "ReferralState", code, Some(display)));
        if let Some((reason, _)) = state_reason(referral, act.world) {
            item.push(json!({"url": "reason", "valueCodeableConcept": {"coding": [reason]}}));
        }
    }
    json!({
        "extension": [{
            "extension": item,
            "url": format!("{STRUCTURE}/Extension-eRS-{}-WorkListItem-1", list.item),
        }],
        "item": {"reference": format!("ReferralRequest/{}", referral.ubrn)},
    })
}

/// Specialty and clinic type of the search criteria, as the worklists show them.
fn clinical_context(referral: &Referral) -> String {
    let criteria: Value = serde_json::from_str(&referral.criteria).unwrap_or_default();
    let code = |name: &str| {
        let parameters = criteria.as_array().into_iter().flatten();
        let mut named = parameters.filter(|parameter| parameter["name"] == name);
        named.find_map(|parameter| parameter["valueCoding"]["code"].as_str().map(str::to_owned))
    };
    match (code("specialty"), code("clinicType")) {
        (Some(specialty), Some(clinic_type)) => format!("{specialty}/{clinic_type}"),
        (specialty, clinic_type) => specialty.or(clinic_type).unwrap_or_else(|| "UNSPECIFIED".into()),
    }
}
