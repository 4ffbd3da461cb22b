//! A024 Retrieve advice request, with or without an explicit version.

use super::{Act, advice_ubrn, check_advice_relationship};
use crate::simulator::advice_resource;
use crate::simulator::exchange::Answer;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>, ubrn: &str, version: Option<&str>) -> Result<Answer, Refusal> {
    let ubrn = advice_ubrn(act, ubrn)?;
    act.world
        .advice
        .with(ubrn, |advice| {
            check_advice_relationship(act, advice)?;
            // There is no history: only the current version can be read.
            if version.is_some_and(|version| version != advice.version.to_string()) {
                return Err(Refusal::Status(404));
            }
            Ok(Answer::fhir(200, &advice_resource::request(advice, act.world, act.now))
                .with("ETag", format!("W/\"{}\"", advice.version))
                .about(ubrn))
        })
        .unwrap_or(Err(Refusal::Status(404)))
}
