//! A004 Retrieve reference data.

use super::Act;
use crate::simulator::exchange::Answer;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>, key: &str) -> Result<Answer, Refusal> {
    let document = act.world.reference_data.document(key).ok_or(Refusal::Status(404))?;
    Ok(Answer::fhir(200, document))
}
