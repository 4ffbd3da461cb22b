//! Search criteria (`eRS-ServiceSearchCriteria-Parameters-1`), as A010 takes them and a shortlist repeats them.

use super::Issues;
use super::element::{Element, System};
use super::parameters::{Parameters, Rule, mandatory, optional};
use crate::simulator::people::is_sds_user_id;
use crate::simulator::world::World;

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-ServiceSearchCriteria-Parameters-1";
pub const PRIORITIES: [&str; 3] = ["ROUTINE", "URGENT", "TWO_WEEK_WAIT"];
const PROVISIONING: [&str; 4] =
    ["ALL_AVAILABLE_FOR_BOOKING", "ALL_SERVICES", "LOCALLY_COMMISSIONABLE", "NATIONALLY_AVAILABLE"];

const RULES: [Rule; 12] = [
    mandatory("priority", "valueCoding"),
    optional("specialty", "valueCoding"),
    optional("clinicType", "valueCoding"),
    optional("indicativeAppointmentWaitTimeLimit", "valueUnsignedInt"),
    optional("postcode", "valueString"),
    optional("distanceLimit", "valueUnsignedInt"),
    optional("clinicalTerm", "valueCoding"),
    optional("namedClinician", "valueIdentifier"),
    mandatory("ageAndGenderAppropriate", "valueBoolean"),
    optional("organisation", "valueIdentifier"),
    optional("place", "valueString"),
    optional("commissioningProvisioning", "valueCoding"),
];

/// What decides which services are found.
#[derive(Clone, Copy, Debug)]
pub struct Criteria<'a> {
    pub priority: &'static str,
    pub specialty: Option<&'a str>,
    pub organisation: Option<&'a str>,
}

/// Reports every issue; `None` when the priority could not be read.
pub fn read<'a>(resource: &Element<'a>, world: &World, issues: &mut Issues) -> Option<Criteria<'a>> {
    resource.object(&["resourceType", "id", "meta", "parameter"], issues)?;
    resource.resource("Parameters", &[PROFILE], issues);
    if let Some(id) = resource.required("id", issues) {
        id.text(issues);
    }
    let parameters = Parameters::read(resource, &RULES, issues);
    let priority = parameters
        .one("priority")
        .and_then(|value| value.one_of("https://fhir.nhs.uk/STU3/CodeSystem/eRS-Priority-1", &PRIORITIES, issues));
    let specialty = parameters.one("specialty").and_then(|value| specialty(value, world, issues));
    if let Some(value) = parameters.one("clinicType") {
        clinic_type(value, specialty, world, issues);
    }
    for name in ["indicativeAppointmentWaitTimeLimit", "distanceLimit"] {
        if let Some(value) = parameters.one(name) {
            value.unsigned(issues);
        }
    }
    for name in ["postcode", "place"] {
        if let Some(value) = parameters.one(name) {
            value.text(issues);
        }
    }
    if let Some(value) = parameters.one("clinicalTerm") {
        clinical_term(value, issues);
    }
    if let Some(value) = parameters.one("namedClinician") {
        clinician(value, world, issues);
    }
    if let Some(value) = parameters.one("ageAndGenderAppropriate") {
        value.boolean(issues);
    }
    let organisation = parameters.one("organisation").and_then(|value| organisation(value, world, issues));
    if let Some(value) = parameters.one("commissioningProvisioning") {
        let system = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-CommissioningProvisioning-1";
        value.one_of(system, &PROVISIONING, issues);
    }
    Some(Criteria { priority: priority?, specialty, organisation })
}

fn specialty<'a>(value: &Element<'a>, world: &World, issues: &mut Issues) -> Option<&'a str> {
    let code = value.coding(System::ReferenceData("SPECIALTY"), issues)?;
    if !world.reference_data.is_in_force("SPECIALTY", code, world.now()) {
        issues.add("INVALID_CODE", &value.path, "code is not a specialty in force");
        return None;
    }
    Some(code)
}

fn clinic_type(value: &Element<'_>, specialty: Option<&str>, world: &World, issues: &mut Issues) {
    let system = System::Exactly("https://fhir.nhs.uk/STU3/CodeSystem/eRS-ClinicType-1");
    let Some(code) = value.coding(system, issues) else { return };
    if !world.reference_data.is_in_force("CLINIC-TYPE", code, world.now()) {
        issues.add("INVALID_CODE", &value.path, "code is not a clinic type in force");
    } else if let (Some(wanted), Some(parent)) = (specialty, world.reference_data.specialty_of(code))
        && wanted != parent
    {
        issues.add("INAPPROPRIATE_VALUE", &value.path, "clinic type belongs to another specialty");
    }
}

/// SNOMED CT identifiers have at most 18 digits.
fn clinical_term(value: &Element<'_>, issues: &mut Issues) {
    const SNOMED_DIGITS_MAX: usize = 18;
    let Some(code) = value.coding(System::Exactly("http://snomed.info/sct"), issues) else { return };
    if code.len() > SNOMED_DIGITS_MAX || code.starts_with('0') || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        issues.add("SNOMED_NOT_FOUND", &value.path, "clinical term is not known");
    }
}

/// A named user: an SDS user id of somebody who may be named.
pub fn clinician<'a>(value: &Element<'a>, world: &World, issues: &mut Issues) -> Option<&'a str> {
    let id = value.identifier("http://fhir.nhs.net/Id/sds-user-id", issues)?;
    if !is_sds_user_id(id) {
        issues.add("INVALID_VALUE", &value.path, "must be an SDS user id of 12 digits");
        return None;
    }
    if let Some(code) = world.clinicians.refusal(id) {
        issues.add(code, &value.path, "user cannot be named here");
        return None;
    }
    Some(id)
}

fn organisation<'a>(value: &Element<'a>, world: &World, issues: &mut Issues) -> Option<&'a str> {
    let code = value.identifier("https://directory.spineservices.nhs.uk/STU3/Organization", issues)?;
    if world.settings.closed_organisations.iter().any(|closed| closed == code) {
        issues.add("ORGANISATION_IS_CLOSED", &value.path, "organisation is closed");
        return None;
    }
    if !is_ods_code(code) {
        issues.add("INVALID_VALUE", &value.path, "must be an ODS code");
        return None;
    }
    Some(code)
}

/// Three to ten capital letters and digits.
pub fn is_ods_code(text: &str) -> bool {
    (3..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}
