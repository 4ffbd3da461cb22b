//! A007 Retrieve clinical information summary: what a referral says, as a PDF, without the files attached to it.

use super::a019_generate_letter::{document, lines};
use super::{Act, check_patient, check_relationship, referral_ubrn};
use crate::simulator::exchange::Answer;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    let ubrn = referral_ubrn(act, ubrn)?;
    act.world
        .referrals
        .with(ubrn, |referral| {
            check_relationship(act, referral)?;
            check_patient(act, referral)?;
            Ok(document(ubrn, "clinical-information-summary", &lines(referral, act), act.now))
        })
        .unwrap_or(Err(Refusal::Status(404)))
}
