//! A011 Create referral.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::Act;
use crate::simulator::exchange::Answer;
use crate::simulator::ledger::Creation;
use crate::simulator::people::is_nhs_number;
use crate::simulator::referral::{Referral, Review, State};
use crate::simulator::referral_resource;
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::element::Element;
use crate::simulator::validation::parameters::{Parameters, Rule, mandatory, optional};
use crate::simulator::validation::shortlist::{self, For, Shortlist};
use crate::simulator::validation::{Issues, criteria, instant};
use crate::simulator::world::NHS_NUMBER;

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-CreateReferral-Parameters-1";
/// As in the published sample.
const FIRST_VERSION: u32 = 3;
const PATHWAY_START_AGE_MAX: SignedDuration = SignedDuration::from_hours(365 * 24);

const RULES: [Rule; 6] = [
    mandatory("patient", "valueIdentifier"),
    optional("referringClinician", "valueIdentifier"),
    mandatory("shortlist", "resource"),
    mandatory("intentionToAddReferralLetter", "valueCoding"),
    mandatory("firstReminderLetterFollowUpDays", "valueUnsignedInt"),
    optional("eReferralPathwayStart", "valueInstant"),
];

/// Of everything that creates a request: A011, A021, A044.
pub const DOCUMENTED: [&str; 22] = [
    "REFERENCE_NOT_FOUND",
    "INAPPROPRIATE_VALUE",
    "TOO_MANY_ITEMS",
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
    "DUPLICATE_SERVICE",
    "SHORTLISTED_SERVICE_NOT_IN_RESULTS",
    "REFERENCED_USER_IS_NOT_ACTIVE",
    "REFERENCED_USER_NOT_IN_ORG",
    "NO_REG_GP_PRACTICE",
    "REFERENCED_USER_IS_NOT_RC",
    "REFERENCED_USER_IS_NOT_RC_AT_ORG",
    "SNOMED_NOT_FOUND",
];

pub struct Request<'a> {
    pub patient: &'a str,
    pub shortlist: Shortlist<'a>,
    pub pathway_start: Option<&'a str>,
    pub letter_intended: bool,
    /// Where an administrator refers.
    pub clinician: Option<&'a str>,
}

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let request = read(act)?;
    Ok(keep(act, referral(act, &request)))
}

/// What the request asks for, not sent anywhere yet.
pub fn referral(act: &Act<'_>, request: &Request<'_>) -> Referral {
    Referral {
        ubrn: act.world.referrals.next_ubrn(),
        version: FIRST_VERSION,
        request_id: act.world.environment.random_id(),
        patient: request.patient.into(),
        priority: request.shortlist.criteria.priority,
        criteria: with_provisioning(request.shortlist.criteria_parameters).to_string().into(),
        shortlist: request.shortlist.services.iter().map(|id| (*id).into()).collect(),
        pathway_start: request.pathway_start.map(String::from),
        state: State::NotBooked,
        appointment: None,
        letters: Vec::new(),
        letter_intended: request.letter_intended,
        referrer: request.clinician.unwrap_or_else(|| act.caller.holder.user()).to_owned(),
        clinical_information_first: None,
        clinical_information_last: None,
        created: act.now,
        updated: act.now,
        organisation: Some(act.caller.organisation.clone()),
        booking_failure: None,
        additional_requirements: Vec::new(),
        cancellation: None,
        review: Review::Never,
        provider_files: Vec::new(),
        was_advice: false,
    }
}

/// Notes that it was made; the answer shows it.
pub fn keep(act: &Act<'_>, referral: Referral) -> Answer {
    let world = act.world;
    world.ledger.record_creation(Creation {
        ubrn: referral.ubrn,
        nhs_number: referral.patient.as_str().into(),
        services: referral.shortlist.iter().map(|id| id.as_str().into()).collect(),
        priority: referral.priority,
        at: act.now,
        correlation_id: act.call.header("X-Correlation-ID").filter(|_| world.ledger.in_full()).map(Into::into),
    });
    let answer = referral_resource::answer(201, &referral, world, act.now);
    world.referrals.insert(referral);
    answer
}

fn read<'a>(act: &Act<'a>) -> Result<Request<'a>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    let patient = patient(act, &parameters, &mut issues);
    let clinician = referring_clinician(act, &parameters, &mut issues);
    let letter_intended = letter_intended(&parameters, &mut issues);
    let pathway_start =
        parameters.one("eReferralPathwayStart").and_then(|value| pathway_start(act, value, &mut issues));
    let shortlist =
        parameters.one("shortlist").and_then(|value| shortlist::read(value, For::Referral, act.world, &mut issues));
    let request = (|| {
        let (patient, shortlist, letter_intended) = (patient?, shortlist?, letter_intended?);
        Some(Request { patient, shortlist, pathway_start, letter_intended, clinician })
    })();
    issues.or(request)
}

/// Whether the referrer says that a letter will follow; read with the days until the first reminder of it.
pub fn letter_intended(parameters: &Parameters<'_>, issues: &mut Issues) -> Option<bool> {
    if let Some(value) = parameters.one("firstReminderLetterFollowUpDays") {
        value.unsigned(issues);
    }
    let system = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-ReferralLetterIntention-1";
    let intention = parameters.one("intentionToAddReferralLetter")?;
    let code = intention.one_of(system, &["NEED_TO_ADD_LATER", "NOT_INTENDING_TO_ADD"], issues)?;
    Some(code == "NEED_TO_ADD_LATER")
}

/// The NHS number of a patient with whom e-RS can deal.
pub fn patient<'a>(act: &Act<'_>, parameters: &Parameters<'a>, issues: &mut Issues) -> Option<&'a str> {
    let value = parameters.one("patient")?;
    let number = value.identifier(NHS_NUMBER, issues)?;
    if !is_nhs_number(number) {
        issues.add("INVALID_VALUE", &value.path, "must be an NHS number");
        return None;
    }
    if let Some(code) = act.world.patients.refusal(number) {
        issues.add(code, &value.path, "the patient record cannot be used");
        return None;
    }
    Some(number)
}

/// An administrator names the clinician, a clinician names nobody.
pub fn referring_clinician<'a>(act: &Act<'_>, parameters: &Parameters<'a>, issues: &mut Issues) -> Option<&'a str> {
    let admin = act.caller.function == "REFERRING_CLINICIAN_ADMIN";
    match parameters.one("referringClinician") {
        Some(value) if !admin => {
            let text = "(referringClinician) is not permitted for a referring clinician";
            issues.add("FIELD_NOT_PERMITTED", &value.path, text);
            None
        }
        Some(value) => criteria::clinician(value, act.world, issues),
        None if admin && act.body.is_object() => {
            let text = "(referringClinician) is required for a referring clinician admin";
            issues.add("VALUE_IS_REQUIRED", "parameter", text);
            None
        }
        None => None,
    }
}

/// In the past, and at most 365 days ago.
fn pathway_start<'a>(act: &Act<'_>, value: &Element<'a>, issues: &mut Issues) -> Option<&'a str> {
    let text = value.text(issues)?;
    match instant::parse(text) {
        Err(why) => issues.add("INVALID_VALUE", &value.path, why),
        Ok(at) if at > act.now => issues.add("INAPPROPRIATE_VALUE", &value.path, "must be in the past"),
        Ok(at) if act.now.duration_since(at) > PATHWAY_START_AGE_MAX => {
            issues.add("INAPPROPRIATE_VALUE", &value.path, "must be at most 365 days ago");
        }
        Ok(_) => return Some(text),
    }
    None
}

/// Whatever was asked for, e-RS treats the search as one for everything that can be booked.
pub fn with_provisioning(parameters: &Value) -> Value {
    const NAME: &str = "commissioningProvisioning";
    let mut list: Vec<Value> = parameters.as_array().cloned().unwrap_or_default();
    list.retain(|part| part["name"].as_str() != Some(NAME));
    let system = "https://fhir.nhs.uk/STU3/CodeSystem/eRS-CommissioningProvisioning-1";
    list.push(json!({"name": NAME, "valueCoding": {"system": system, "code": "ALL_AVAILABLE_FOR_BOOKING"}}));
    list.into()
}
