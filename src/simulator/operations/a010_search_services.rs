//! A010 Patient service search.

use serde_json::{Value, json};

use super::Act;
use super::a011_create_referral::{patient, referring_clinician};
use crate::simulator::exchange::Answer;
use crate::simulator::refusal::Refusal;
use crate::simulator::services::{Flow, Service};
use crate::simulator::validation::Issues;
use crate::simulator::validation::criteria;
use crate::simulator::validation::element::Element;
use crate::simulator::validation::parameters::{Parameters, Rule, mandatory, optional};

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-PatientServiceSearch-Parameters-1";

const RULES: [Rule; 6] = [
    mandatory("requestType", "valueCoding"),
    mandatory("sortBy", "valueCoding"),
    mandatory("patient", "valueIdentifier"),
    mandatory("searchCriteria", "resource"),
    optional("referringClinician", "valueIdentifier"),
    optional("commissioningRuleOrganisation", "valueIdentifier"),
];

const DOCUMENTED: [&str; 19] = [
    "REFERENCE_NOT_FOUND",
    "INAPPROPRIATE_VALUE",
    "MISSING_VALUE",
    "VALUE_IS_REQUIRED",
    "FIELD_NOT_PERMITTED",
    "PATIENT_ERROR",
    "INVALID_VALUE",
    "INVALID_CODE",
    "UNEXPECTED_FIELD",
    "INVALID_FHIR_STRUCTURE",
    "REFERENCED_USER_IS_NOT_SPC",
    "ORGANISATION_IS_CLOSED",
    "ORGANISATION_NOT_APPROPRIATE",
    "REFERENCED_USER_IS_NOT_ACTIVE",
    "REFERENCED_USER_NOT_IN_ORG",
    "NO_REG_GP_PRACTICE",
    "REFERENCED_USER_IS_NOT_RC",
    "REFERENCED_USER_IS_NOT_RC_AT_ORG",
    "SNOMED_NOT_FOUND",
];

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    let flow = parameters.one("requestType").and_then(|value| request_type(value, &mut issues));
    if let Some(value) = parameters.one("sortBy") {
        value.one_of("https://fhir.nhs.uk/STU3/CodeSystem/eRS-SortBy-1", &["DISTANCE", "IWT"], &mut issues);
    }
    patient(act, &parameters, &mut issues);
    referring_clinician(act, &parameters, &mut issues);
    if let Some(value) = parameters.one("commissioningRuleOrganisation") {
        if flow == Some(Flow::Advice) {
            issues.add("FIELD_NOT_PERMITTED", &value.path, "is not supported for advice searches");
        }
        value.identifier("https://fhir.nhs.uk/Id/ods-organization-code", &mut issues);
    }
    let criteria = parameters.one("searchCriteria").and_then(|value| criteria::read(value, act.world, &mut issues));
    let (flow, criteria) = issues.or(flow.zip(criteria))?;
    // A search for appointments finds the services that triage first as well.
    let mut found = act.world.services.search(Some(flow), &criteria);
    if flow == Flow::Appointment {
        found.extend(act.world.services.search(Some(Flow::Triage), &criteria));
        found.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        found.dedup_by(|one, other| one.id == other.id);
    }
    Ok(Answer::fhir(200, &list(&found, &act.world.addresses.base_url)))
}

fn request_type(value: &Element<'_>, issues: &mut Issues) -> Option<Flow> {
    let codes = ["APPOINTMENT_REQUEST", "ADVICE_AND_GUIDANCE_REQUEST"];
    let code = value.one_of("https://fhir.nhs.uk/STU3/CodeSystem/eRS-RequestType-1", &codes, issues)?;
    Some(if code == "APPOINTMENT_REQUEST" { Flow::Appointment } else { Flow::Advice })
}

fn list(services: &[&Service], base_url: &str) -> Value {
    let entries: Vec<Value> = services.iter().map(|service| entry(service, base_url)).collect();
    let mut list = json!({
        "meta": {"profile": ["https://fhir.nhs.uk/STU3/StructureDefinition/eRS-FetchServices-List-1"]},
        "resourceType": "List",
        "status": "current",
        "mode": "snapshot",
        "entry": entries,
    });
    if services.is_empty() {
        let system = "http://hl7.org/fhir/ValueSet/list-empty-reason";
        list["emptyReason"] = json!({"coding": [{"system": system, "code": "nilknown", "display": "no results"}]});
    }
    list
}

fn entry(service: &Service, base_url: &str) -> Value {
    const STRUCTURE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition";
    let coded = |url: &str, system: &str, code: &str| {
        let system = format!("https://fhir.nhs.uk/STU3/CodeSystem/eRS-{system}-1");
        json!({"url": url, "valueCodeableConcept": {"coding": [{"system": system, "code": code}]}})
    };
    let specialty_system = format!("{base_url}/STU3/CodeSystem/SPECIALTY");
    let specialty = service.specialty.as_deref().unwrap_or("CARDIOLOGY");
    let bookable = if service.directly_bookable { "DIRECTLY_BOOKABLE" } else { "INDIRECTLY_BOOKABLE" };
    let organisation =
        json!({"system": "https://directory.spineservices.nhs.uk/STU3/Organization", "value": service.organisation});
    let link = format!("https://www.nhs.uk/service-search/other-services/chooseandbook?serviceId={}", service.id);
    let mut view = vec![
        json!({"url": "serviceName", "valueString": service.name}),
        json!({"url": "specialty", "valueCodeableConcept": {"coding": [{"system": specialty_system, "code": specialty}]}}),
        coded("genderTreated", "GenderTreated", "MALE_AND_FEMALE"),
        coded("bookableType", "BookableType", bookable),
        coded("supportedAppointmentType", "AppointmentType", "DIAGNOSTIC"),
        json!({"url": "referralLetterRequired", "valueBoolean": service.referral_letter_required}),
        json!({"url": "location", "valueReference": {"identifier": organisation, "display": service.organisation_name}}),
        json!({"url": "linkToNHSWebsite", "valueString": link}),
    ];
    view.extend(service.flows.iter().map(|flow| coded("supportedRequestFlowType", "RequestFlowType", flow.code())));
    let item = json!([
        {"url": "displayProminently", "valueBoolean": false},
        coded("indicativeAppointmentWaitTime", "IWT", "LIMITED_AVAILABILITY"),
    ]);
    json!({
        "extension": [{"extension": item, "url": format!("{STRUCTURE}/Extension-eRS-ServiceSearch-ListItem-1")}],
        "item": {
            "extension": [{"extension": view, "url": format!("{STRUCTURE}/Extension-eRS-ServiceSummaryView-1")}],
            "identifier": {"system": "http://fhir.nhs.net/Id/ers-service", "value": service.id},
        },
    })
}
