//! The referral, appointment or advice request that a call is about, and the checks that go before all else: is it
//! there, may the caller deal with it, and is it the version that they have seen?

use super::Act;
use crate::simulator::advice::AdviceRequest;
use crate::simulator::exchange::Call;
use crate::simulator::issue::Issue;
use crate::simulator::referral::{Referral, Ubrn};
use crate::simulator::refusal::Refusal;

/// `ReferralRequest/{ubrn}/_history/{version}`
pub fn reference_parts(reference: &str) -> Option<(Ubrn, u32)> {
    let (ubrn, version) = reference.strip_prefix("ReferralRequest/")?.split_once("/_history/")?;
    let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    Some((Ubrn::parse(ubrn)?, digits.then(|| version.parse().ok())??))
}

/// The version in `If-Match`, which must have exactly the weak form `W/"n"`.
pub fn if_match(call: &Call) -> Result<u32, Refusal> {
    let version = call.header("If-Match").and_then(|value| value.strip_prefix("W/\"")?.strip_suffix('"'));
    version
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or(Refusal::Status(412))
}

/// The UBRN in a path: 404 for what is none, 422 for an advice request.
fn referral_ubrn(act: &Act<'_>, text: &str) -> Result<Ubrn, Refusal> {
    let ubrn = Ubrn::parse(text).ok_or(Refusal::Status(404))?;
    if act.world.is_advice_request(ubrn) {
        return Err(Refusal::unprocessable("INVALID_REQUEST_TYPE", "the UBRN is an advice request"));
    }
    Ok(ubrn)
}

/// Looks at or changes the referral of a path, to which the caller must be related; 404 when there is none.
pub fn with_referral<T>(
    act: &Act<'_>,
    ubrn: &str,
    then: impl FnOnce(&mut Referral) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let ubrn = referral_ubrn(act, ubrn)?;
    let related = |referral: &mut Referral| {
        check_relationship(act, referral.organisation.as_deref())?;
        then(referral)
    };
    act.world.referrals.with(ubrn, related).unwrap_or(Err(Refusal::Status(404)))
}

/// The same for the referral whose latest appointment has the id of a path.
pub fn with_appointment<T>(
    act: &Act<'_>,
    id: &str,
    then: impl FnOnce(&mut Referral) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let id = appointment_id(id)?;
    let related = |referral: &mut Referral| {
        check_relationship(act, referral.organisation.as_deref())?;
        check_patient(act, &referral.patient)?;
        then(referral)
    };
    act.world.referrals.with_appointment(id, related).unwrap_or(Err(Refusal::Status(404)))
}

/// The same for the advice request of a path.
pub fn with_advice<T>(
    act: &Act<'_>,
    ubrn: &str,
    then: impl FnOnce(&mut AdviceRequest) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let ubrn = advice_ubrn(act, ubrn)?;
    let related = |advice: &mut AdviceRequest| {
        check_relationship(act, advice.organisation.as_deref())?;
        then(advice)
    };
    act.world.advice.with(ubrn, related).unwrap_or(Err(Refusal::Status(404)))
}

/// A referrer is related to the requests of their own organisation, and to those that name none.
pub fn is_related(act: &Act<'_>, organisation: Option<&str>) -> bool {
    !act.caller.refers() || organisation.is_none_or(|own| own == act.caller.organisation)
}

pub fn check_relationship(act: &Act<'_>, organisation: Option<&str>) -> Result<(), Refusal> {
    if is_related(act, organisation) {
        return Ok(());
    }
    Err(Refusal::unprocessable("NO_RELATIONSHIP", "no legitimate relationship with the request"))
}

/// The record of some patients cannot be used.
pub fn check_patient(act: &Act<'_>, patient: &str) -> Result<(), Refusal> {
    match act.world.patients.refusal(patient) {
        Some("PATIENT_ERROR") => Err(Refusal::unprocessable("PATIENT_ERROR", "the patient's record cannot be used")),
        _ => Ok(()),
    }
}

/// The id of an appointment in a path; 400 for what is none.
fn appointment_id(text: &str) -> Result<u64, Refusal> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or(Refusal::Status(400))
}

/// 423 while the record is locked, 409 when `version` is not the current one.
pub fn check_writable(act: &Act<'_>, referral: &Referral, version: u32) -> Result<(), Refusal> {
    if act.world.is_locked(referral.ubrn) {
        return Err(Refusal::Status(423));
    }
    if referral.version != version {
        return Err(Refusal::Status(409));
    }
    Ok(())
}

/// The UBRN of an advice request in a path: 404 for what is none, 422 for a referral.
fn advice_ubrn(act: &Act<'_>, text: &str) -> Result<Ubrn, Refusal> {
    let ubrn = Ubrn::parse(text).ok_or(Refusal::Status(404))?;
    // One that was converted is both.
    let is_advice = act.world.advice.with(ubrn, |_| ()).is_some();
    if !is_advice && act.world.referrals.with(ubrn, |_| ()).is_some() {
        return Err(Refusal::unprocessable("INVALID_REQUEST_TYPE", "the UBRN is a referral"));
    }
    Ok(ubrn)
}

pub fn history_not_supported(status: u16) -> Refusal {
    Refusal::one(status, Issue::new("HISTORY_NOT_SUPPORTED", "only the current version can be named"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_must_have_the_exact_weak_form() {
        for (value, version) in [
            (r#"W/"5""#, Some(5)),
            (r#""5""#, None),
            ("5", None),
            (r#"W/"""#, None),
            (r#"W/"+5""#, None),
            (r#"w/"5""#, None),
        ] {
            let call = Call { headers: vec![("if-match".into(), value.into())], ..Call::default() };
            assert_eq!(if_match(&call).ok(), version, "{value}");
        }
    }
}
