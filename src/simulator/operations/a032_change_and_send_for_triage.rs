//! A032 Change shortlist and send for triage: A031 and A016 in one. What was noted for the patient stays.

use serde_json::json;

use super::Act;
use super::a029_available_actions::may;
use super::a031_change_shortlist::{change, read};
use super::subject::{check_patient, check_writable, if_match, with_referral};
use crate::simulator::exchange::Answer;
use crate::simulator::referral_resource::{appointment_resource, profile, resource};
use crate::simulator::refusal::Refusal;
use crate::simulator::validation::shortlist::For;

const PROFILE: &str =
    "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-ChangeShortlistAndSendForTriage-Request-Parameters-1";

/// Without an ETag: none is documented.
pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    let version = if_match(act.call)?;
    with_referral(act, ubrn, |referral| {
        check_patient(act, &referral.patient)?;
        let (shortlist, letter_intended) = read(act, PROFILE, For::Triage)?;
        check_writable(act, referral, version)?;
        if !may(act, referral, "CHANGE_SHORTLIST_AND_SEND_FOR_TRIAGE") {
            let text = "the referral cannot be sent for triage now";
            return Err(Refusal::unprocessable("INVALID_REQUEST_STATE", text));
        }
        change(referral, &shortlist, letter_intended);
        let service = referral.shortlist[0].clone();
        referral.send_for_triage(act.world.referrals.next_number(), &service, act.now);
        referral.raise_version(act.now);
        let mut changed =
            vec![json!({"name": "updatedReferralRequest", "resource": resource(referral, act.world, act.now)})];
        changed.extend(referral.appointment.iter().map(|appointment| {
            let resource = appointment_resource(appointment, referral, act.world);
            json!({"name": "createdAppointment", "resource": resource})
        }));
        let body = json!({
            "meta": {"profile": [profile("eRS-ChangeShortlistAndSendForTriage-Response-Parameters-1")]},
            "resourceType": "Parameters",
            "parameter": changed,
        });
        Ok(Answer::fhir(200, &body).about(referral.ubrn))
    })
}
