//! The states of a referral, as `eRS-ReferralState-1` names them and as worklists spell them.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    NotBooked,
    Booked,
    DeferredToProvider,
    AwaitingTriage,
    AppointmentCancelledByPatient,
    TriagedProviderToAction,
    /// Handed back to the referrer with advice.
    TriageResponse,
    Rejected,
    CancelledReferral,
}

impl State {
    /// In `eRS-ReferralState-1`.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotBooked => "NOT_BOOKED",
            Self::Booked => "BOOKED",
            Self::DeferredToProvider => "DEFERRED_TO_PROVIDER",
            Self::AwaitingTriage => "AWAITING_TRIAGE",
            Self::AppointmentCancelledByPatient => "APPT_CANCELLED_BY_PATIENT",
            Self::TriagedProviderToAction => "TRIAGED_PROVIDER_TO_ACTION",
            Self::TriageResponse => "TRIAGE_RESPONSE",
            Self::Rejected => "REJECTED",
            Self::CancelledReferral => "CANCELLED_REFERRAL",
        }
    }

    pub fn display(self) -> &'static str {
        match self {
            Self::NotBooked => "Not Booked",
            Self::Booked => "Booked",
            Self::DeferredToProvider => "Deferred To Provider",
            Self::AwaitingTriage => "Awaiting Triage",
            Self::AppointmentCancelledByPatient => "Appointment Cancelled By Patient",
            Self::TriagedProviderToAction => "Triaged - Provider To Action",
            Self::TriageResponse => "Triage Response",
            Self::Rejected => "Rejected",
            Self::CancelledReferral => "Cancelled Referral",
        }
    }

    /// Worklists spell some of it differently, and write most of it in sentence case.
    pub fn on_worklists(self) -> (&'static str, &'static str) {
        match self {
            Self::NotBooked => ("NOT_BOOKED", "Not booked"),
            Self::Booked => ("BOOKED", "Booked"),
            Self::DeferredToProvider => ("DEFERRED_TO_PROVIDER", "Deferred to provider"),
            Self::AwaitingTriage => ("AWAITING_TRIAGE", "Awaiting triage"),
            Self::AppointmentCancelledByPatient => ("APP_CANCELLED_BY_PATIENT", "Appointment cancelled by patient"),
            Self::TriagedProviderToAction => ("TRIAGED_PROVIDER_TO_ACTION", "Triaged - provider to action"),
            Self::TriageResponse => ("TRIAGE_RESPONSE", "Triage Response"),
            Self::Rejected => ("REJECTED", "Rejected"),
            Self::CancelledReferral => ("CANCELLED_REFERRAL", "Cancelled referral"),
        }
    }

    /// The provider gave it back: it is on a worklist of its own.
    pub fn was_returned(self) -> bool {
        matches!(self, Self::TriageResponse | Self::Rejected)
    }

    /// A slot can be taken, the shortlist changed, or the referral handed to a provider.
    pub fn waits_for_referrer(self) -> bool {
        matches!(self, Self::NotBooked | Self::AppointmentCancelledByPatient) || self.was_returned()
    }
}
