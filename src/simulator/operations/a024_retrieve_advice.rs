//! A024 Retrieve advice request, with or without an explicit version.

use super::Act;
use super::subject::{check_patient, with_advice};
use crate::simulator::advice_resource;
use crate::simulator::exchange::Answer;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>, ubrn: &str, version: Option<&str>) -> Result<Answer, Refusal> {
    with_advice(act, ubrn, |advice| {
        check_patient(act, &advice.patient)?;
        // There is no history: only the current version can be read.
        if version.is_some_and(|version| version != advice.version.to_string()) {
            return Err(Refusal::Status(404));
        }
        Ok(Answer::fhir(200, &advice_resource::request(advice, act.world, act.now))
            .with("ETag", format!("W/\"{}\"", advice.version))
            .about(advice.ubrn))
    })
}
