//! A005 Retrieve referral request, with or without an explicit version.

use super::Act;
use super::subject::{check_patient, history_not_supported, with_referral};
use crate::simulator::exchange::Answer;
use crate::simulator::referral_resource;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>, ubrn: &str, version: Option<&str>) -> Result<Answer, Refusal> {
    with_referral(act, ubrn, |referral| {
        check_patient(act, &referral.patient)?;
        // There is no history: only the current version can be read.
        if version.is_some_and(|version| version != referral.version.to_string()) {
            return Err(history_not_supported(404));
        }
        Ok(referral_resource::answer(200, referral, act.world, act.now))
    })
}
