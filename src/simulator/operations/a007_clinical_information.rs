//! A007 Retrieve clinical information summary: what a referral says, as a PDF, without the files attached to it.

use super::Act;
use super::a019_generate_letter::{document, lines};
use super::subject::{check_patient, with_referral};
use crate::simulator::exchange::Answer;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    with_referral(act, ubrn, |referral| {
        check_patient(act, &referral.patient)?;
        Ok(document(referral.ubrn, "clinical-information-summary", &lines(referral, act), act.now))
    })
}
