//! A043 Retrieve advice overview: the whole conversation as a PDF.

use super::Act;
use super::a019_generate_letter::document;
use super::subject::{check_patient, with_advice};
use crate::simulator::exchange::Answer;
use crate::simulator::referral_resource::instant;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    with_advice(act, ubrn, |advice| {
        check_patient(act, &advice.patient)?;
        let mut lines = vec![
            "NHS e-Referral Service simulator: everything here is invented".to_owned(),
            format!("UBRN {}", advice.ubrn),
            advice.status.to_owned(),
        ];
        lines.extend(advice.messages.iter().map(|message| format!("{} {}", instant(message.sent), message.text)));
        Ok(document(advice.ubrn, "advice-and-guidance", &lines, act.now))
    })
}
