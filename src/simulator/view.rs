//! A referral as tests and people want to see it: the facts, without the FHIR.

use serde::Serialize;

use super::referral::Referral;
use super::world::World;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReferralView {
    pub ubrn: String,
    pub version: u32,
    pub state: &'static str,
    /// Why it was deferred or sent for triage, or how it was reviewed.
    pub reason: Option<&'static str>,
    pub nhs_number: String,
    pub priority: &'static str,
    pub services: Vec<String>,
    /// Names of the linked files, in the order of the request that linked them.
    pub letters: Vec<String>,
    pub organisation: Option<String>,
}

impl ReferralView {
    pub fn of(referral: &Referral) -> Self {
        Self {
            ubrn: referral.ubrn.to_string(),
            version: referral.version,
            state: referral.state.code(),
            reason: referral.appointment.as_ref().and_then(|appointment| appointment.reason),
            nhs_number: referral.patient.clone(),
            priority: referral.priority,
            services: referral.shortlist.clone(),
            letters: referral.letters.iter().map(|letter| letter.name.clone()).collect(),
            organisation: referral.organisation.clone(),
        }
    }

    /// In order of UBRNs, the seeded ones first.
    pub fn all(world: &World) -> Vec<Self> {
        world.referrals.all().iter().map(Self::of).collect()
    }
}
