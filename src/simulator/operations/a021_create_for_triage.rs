//! A021 Create referral and send for triage: A011 and A016 in one, and as little guarded as A011.

use super::Act;
use super::a011_create_referral::{DOCUMENTED, Request, keep, letter_intended, patient, referral, referring_clinician};
use crate::simulator::exchange::Answer;
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::Issues;
use crate::simulator::validation::parameters::{Parameters, Rule, mandatory, optional};
use crate::simulator::validation::shortlist::{self, For};

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-CreateReferralAndSendForTriage-Parameters-1";

const RULES: [Rule; 5] = [
    mandatory("patient", "valueIdentifier"),
    optional("referringClinician", "valueIdentifier"),
    mandatory("shortlist", "resource"),
    mandatory("intentionToAddReferralLetter", "valueCoding"),
    mandatory("firstReminderLetterFollowUpDays", "valueUnsignedInt"),
];

pub fn answer(act: &Act<'_>) -> Result<Answer, Refusal> {
    let request = read(act)?;
    let mut referral = referral(act, &request);
    let service = referral.shortlist[0].clone();
    referral.send_for_triage(act.world.referrals.next_number(), &service, act.now);
    Ok(keep(act, referral))
}

fn read<'a>(act: &Act<'a>) -> Result<Request<'a>, Refusal> {
    let mut issues = Issues::new(&DOCUMENTED);
    let parameters = Parameters::of_body(act.body, PROFILE, &RULES, &mut issues);
    let patient = patient(act, &parameters, &mut issues);
    let clinician = referring_clinician(act, &parameters, &mut issues);
    let letter_intended = letter_intended(&parameters, &mut issues);
    // Triage needs a letter, and there is none yet.
    if let (Some(false), Some(value)) = (letter_intended, parameters.one("intentionToAddReferralLetter")) {
        issues.add("INAPPROPRIATE_VALUE", &value.path, "must be NEED_TO_ADD_LATER");
    }
    let shortlist =
        parameters.one("shortlist").and_then(|value| shortlist::read(value, For::Triage, act.world, &mut issues));
    no_reminder(&parameters, &mut issues);
    let request = (|| {
        let (patient, shortlist, letter_intended) = (patient?, shortlist?, letter_intended?);
        Some(Request { patient, shortlist, pathway_start: None, letter_intended, clinician })
    })();
    issues.or(request)
}

/// The patient has nothing to book after all.
pub fn no_reminder(parameters: &Parameters<'_>, issues: &mut Issues) {
    let days = parameters.one("firstReminderLetterFollowUpDays");
    if let Some(value) = days.filter(|value| value.value.as_u64().is_some_and(|days| days > 0)) {
        issues.add("INAPPROPRIATE_VALUE", &value.path, "must be 0");
    }
}
