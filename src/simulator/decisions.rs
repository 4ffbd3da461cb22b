//! What a provider decides about a referral, as far as the record goes: who may decide, and whether what is said is
//! right, is the business of the operations.

use jiff::Timestamp;

use super::referral::{Letter, Referral};
use super::state::State;

/// How far the review of a booked appointment is (`eRS-RequestContextStatus-1`, as worklists tell it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    Never,
    /// Accepted, and off the list.
    Done,
    /// Accepted, and on the list again: the referrer changed the letters since.
    LetterChanged,
}

impl Review {
    pub fn is_pending(self) -> bool {
        self != Self::Done
    }

    pub fn on_worklists(self) -> (&'static str, &'static str) {
        match self {
            Self::Never | Self::Done => ("NEVER_REVIEWED", "Never Reviewed"),
            Self::LetterChanged => ("LETTER_CHANGED", "Letter Changed"),
        }
    }
}

/// How a review of a referral that has no date ended, or a booking was undone (`eRS-ReviewOutcome-1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewOutcome {
    AcceptReferBookLater,
    ReturnToReferrerWithAdvice,
    CancelAppointmentActionLater,
    ProviderConverted,
}

impl ReviewOutcome {
    const ALL: [Self; 4] = [
        Self::AcceptReferBookLater,
        Self::ReturnToReferrerWithAdvice,
        Self::CancelAppointmentActionLater,
        Self::ProviderConverted,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::AcceptReferBookLater => "ACCEPT_REFER_BOOK_LATER",
            Self::ReturnToReferrerWithAdvice => "RETURN_TO_REFERRER_WITH_ADVICE",
            Self::CancelAppointmentActionLater => "CANCEL_APPOINTMENT_ACTION_LATER",
            Self::ProviderConverted => "PROVIDER_CONVERTED_ADVICE_AND_GUIDANCE_ADMIN_TO_REFER",
        }
    }

    pub fn display(self) -> &'static str {
        match self {
            Self::AcceptReferBookLater => "Accept Refer Book Later",
            Self::ReturnToReferrerWithAdvice => "Return to Referrer With Advice",
            Self::CancelAppointmentActionLater => "Cancel Appointment Action Later",
            Self::ProviderConverted => "Provider Converted Advice and Guidance, Admin to Refer",
        }
    }

    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.code() == code)
    }

    /// A returned referral is the referrer's again. The published answer of A028 shows it as the other outcome; the
    /// worklist of what was returned, and the description of the states, show it so.
    fn state(self) -> State {
        match self {
            Self::ReturnToReferrerWithAdvice => State::TriageResponse,
            _ => State::TriagedProviderToAction,
        }
    }
}

impl Referral {
    /// Booked, still to come, and not reviewed since anything changed.
    pub fn awaits_review_of_booking(&self, now: Timestamp) -> bool {
        let ahead = self.appointment.as_ref().is_some_and(|appointment| appointment.lies_ahead(now));
        self.state == State::Booked && self.review.is_pending() && ahead
    }

    /// Sent for triage, or handed to the provider because no slot could be booked.
    pub fn awaits_review_outcome(&self) -> bool {
        matches!(self.state, State::AwaitingTriage | State::DeferredToProvider) && self.appointment.is_some()
    }

    pub fn accept(&mut self, now: Timestamp) {
        self.review = Review::Done;
        self.raise_version(now);
    }

    /// What comes back is the slot that is free again.
    pub fn reject(&mut self, reason: &str, comments: Option<&str>, now: Timestamp) -> Option<String> {
        let slot = self.appointment.as_mut().and_then(|appointment| appointment.cancel(reason, comments));
        self.state = State::Rejected;
        self.raise_version(now);
        slot
    }

    /// What comes back is the slot that is free again, where there was one.
    pub fn review_ended(
        &mut self,
        outcome: ReviewOutcome,
        comments: &str,
        priority: Option<&'static str>,
        files: Vec<Letter>,
        now: Timestamp,
    ) -> Option<String> {
        let mut slot = None;
        if let Some(appointment) = &mut self.appointment {
            appointment.version += 1;
            appointment.status = "proposed";
            appointment.reason = Some(outcome.code());
            appointment.comment = Some(comments.to_owned());
            (appointment.start, appointment.end, appointment.clinician) = (None, None, None);
            slot = appointment.slot.take();
        }
        self.priority = priority.unwrap_or(self.priority);
        self.provider_files.extend(files);
        self.state = outcome.state();
        self.raise_version(now);
        slot
    }
}
