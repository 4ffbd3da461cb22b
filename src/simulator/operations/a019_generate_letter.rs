//! A019 Generate patient letter: a PDF of where the referral stands.

use jiff::Timestamp;

use super::Act;
use super::subject::with_referral;
use crate::simulator::exchange::Answer;
use crate::simulator::pdf;
use crate::simulator::referral::{Referral, State, Ubrn};
use crate::simulator::refusal::Refusal;

pub fn answer(act: &Act<'_>, ubrn: &str) -> Result<Answer, Refusal> {
    with_referral(act, ubrn, |referral| {
        if referral.state == State::CancelledReferral {
            return Err(Refusal::unprocessable("INVALID_REQUEST_STATE", "the referral has been cancelled"));
        }
        if !act.world.patients.has_access_code(&referral.patient) {
            return Err(Refusal::unprocessable("NO_ACCESS_CODE", "the patient has no password for booking online"));
        }
        Ok(document(referral.ubrn, "appointment-confirmation-summary", &lines(referral, act), act.now))
    })
}

/// What every document says of a referral.
pub fn lines(referral: &Referral, act: &Act<'_>) -> Vec<String> {
    let mut lines = vec![
        "NHS e-Referral Service simulator: everything here is invented".to_owned(),
        format!("UBRN {}", referral.ubrn),
        referral.state.display().to_owned(),
    ];
    let name = |id: &String| act.world.services.find(id).map(|service| service.name.clone()).unwrap_or_default();
    lines.extend(referral.shortlist.iter().map(name));
    lines.extend(referral.appointment.iter().filter_map(|appointment| appointment.start.clone()));
    lines
}

/// A PDF as e-RS names it: `{ubrn}-{what}-{time}.pdf`.
pub fn document(ubrn: Ubrn, what: &str, lines: &[String], now: Timestamp) -> Answer {
    let name = format!("{ubrn}-{what}-{}.pdf", now.strftime("%Y%m%d%H%M%S"));
    Answer::bare(200)
        .with("Content-Type", "application/pdf".into())
        .with("Content-Disposition", format!("attachment; filename=\"{name}\""))
        .with_body(pdf::page(lines))
        .about(ubrn)
}
