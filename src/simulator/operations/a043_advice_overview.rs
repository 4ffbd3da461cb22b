//! A043 Retrieve advice overview: the whole conversation as a PDF.

use super::a019_generate_letter::document;
use super::{Act, advice_ubrn, check_advice_relationship};
use crate::simulator::exchange::Answer;
use crate::simulator::referral_resource::instant;
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    let ubrn = advice_ubrn(act, ubrn)?;
    act.world
        .advice
        .with(ubrn, |advice| {
            check_advice_relationship(act, advice)?;
            let mut lines = vec![
                "NHS e-Referral Service simulator: everything here is invented".to_owned(),
                format!("UBRN {ubrn}"),
                advice.status.to_owned(),
            ];
            lines.extend(advice.messages.iter().map(|message| format!("{} {}", instant(message.sent), message.text)));
            Ok(document(ubrn, "advice-and-guidance", &lines, act.now))
        })
        .unwrap_or(Err(Refusal::Status(404)))
}
