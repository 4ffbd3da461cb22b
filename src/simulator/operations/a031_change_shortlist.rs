//! A031 Change shortlist: replaces services and criteria; what else was noted for the patient is lost with them.

use super::Act;
use super::a011_create_referral::{letter_intended, with_provisioning};
use super::a021_create_for_triage::no_reminder;
use super::a029_available_actions::may;
use super::subject::{check_patient, check_writable, if_match, with_referral};
use crate::simulator::exchange::Answer;
use crate::simulator::referral::Referral;
use crate::simulator::referral_resource;
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::Issues;
use crate::simulator::validation::parameters::{Parameters, Rule, mandatory};
use crate::simulator::validation::shortlist::{self, For, Shortlist};

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-ChangeShortlist-Parameters-1";

const RULES: [Rule; 3] = [
    mandatory("shortlist", "resource"),
    mandatory("intentionToAddReferralLetter", "valueCoding"),
    mandatory("firstReminderLetterFollowUpDays", "valueUnsignedInt"),
];

const DOCUMENTED: [&str; 16] = [
    "INAPPROPRIATE_VALUE",
    "TOO_MANY_ITEMS",
    "MISSING_VALUE",
    "PATIENT_ERROR",
    "INVALID_VALUE",
    "INVALID_CODE",
    "UNEXPECTED_FIELD",
    "INVALID_FHIR_STRUCTURE",
    "ORGANISATION_IS_CLOSED",
    "ORGANISATION_NOT_APPROPRIATE",
    "DUPLICATE_SERVICE",
    "SHORTLISTED_SERVICE_NOT_IN_RESULTS",
    "SNOMED_NOT_FOUND",
    "NO_RELATIONSHIP",
    "INVALID_REQUEST_TYPE",
    "INVALID_REQUEST_STATE",
];

pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    let version = if_match(act.call)?;
    with_referral(act, ubrn, |referral| {
        check_patient(act, &referral.patient)?;
        let (shortlist, letter_intended) = read(act, PROFILE, For::Referral)?;
        check_writable(act, referral, version)?;
        if !may(act, referral, "CHANGE_SHORTLIST") {
            let text = "the shortlist of the referral cannot be changed now";
            return Err(Refusal::unprocessable("INVALID_REQUEST_STATE", text));
        }
        change(referral, &shortlist, letter_intended);
        referral.additional_requirements.clear();
        referral.raise_version(act.now);
        Ok(referral_resource::answer(200, referral, act.world, act.now))
    })
}

/// What A032 changes as well.
pub fn change(referral: &mut Referral, shortlist: &Shortlist<'_>, letter_intended: bool) {
    referral.shortlist = shortlist.services.iter().map(|id| (*id).into()).collect();
    referral.priority = shortlist.criteria.priority;
    referral.criteria = with_provisioning(shortlist.criteria_parameters).to_string().into();
    referral.letter_intended = letter_intended;
}

/// The new shortlist, and whether a letter will follow.
pub fn read<'a>(act: &Act<'a>, profile: &str, wanted: For) -> Result<(Shortlist<'a>, bool), Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, profile, &RULES, &mut issues);
    let letter_intended = letter_intended(&parameters, &mut issues);
    let shortlist =
        parameters.one("shortlist").and_then(|value| shortlist::read(value, wanted, act.world, &mut issues));
    if wanted == For::Triage {
        no_reminder(&parameters, &mut issues);
    }
    issues.or(shortlist.zip(letter_intended))
}
