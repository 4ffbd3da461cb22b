//! A013 Accept referral: the booking stands, and is reviewed no more. No state shows it, only the version and the worklist.

use super::Act;
use super::provider::own_service;
use super::subject::{check_patient, check_writable, if_match, with_referral};
use crate::simulator::exchange::Answer;
use crate::simulator::referral_resource;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    let version = if_match(act.call)?;
    with_referral(act, ubrn, |referral| {
        check_patient(act, &referral.patient)?;
        check_writable(act, referral, version)?;
        if !referral.awaits_review_of_booking(act.now) {
            return Err(Refusal::unprocessable("INVALID_REQUEST_STATE", "no booking of the referral awaits a review"));
        }
        own_service(act, referral)?;
        referral.accept(act.now);
        Ok(referral_resource::answer(200, referral, act.world, act.now))
    })
}
