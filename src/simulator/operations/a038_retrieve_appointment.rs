//! A038 Retrieve appointment, with or without an explicit version.

use super::Act;
use super::subject::with_appointment;
use crate::simulator::exchange::Answer;
use crate::simulator::referral_resource::appointment_answer;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>, id: &str, version: Option<&str>) -> Result<Answer, Refusal> {
    with_appointment(act, id, |referral| {
        let appointment = referral.appointment.as_ref().ok_or(Refusal::Status(404))?;
        // There is no history: only the current version can be read.
        if version.is_some_and(|version| version != appointment.version.to_string()) {
            return Err(Refusal::Status(404));
        }
        Ok(appointment_answer(200, appointment, referral, act.world))
    })
}
