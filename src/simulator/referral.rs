//! Referrals as e-RS keeps them, and the register of them all.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::demonstration;
use super::services::Slot;

pub use super::decisions::Review;
pub use super::state::State;

/// Twelve digits on the wire, leading zeros included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ubrn(pub u64);

impl Ubrn {
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok().map(Self))?
    }
}

impl fmt::Display for Ubrn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

/// A file that is linked to a referral.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Numeric; names the DocumentReference.
    pub number: u64,
    pub file: Uuid,
    pub name: String,
    pub content_type: String,
    pub size: usize,
    pub description: Option<String>,
    pub indexed: Timestamp,
    pub attached_by: String,
    pub organisation: String,
}

#[derive(Clone, Debug)]
pub struct Appointment {
    pub id: u64,
    pub version: u32,
    /// `booked`, `proposed` or `cancelled`
    pub status: &'static str,
    /// In `eRS-ReviewReason-1` for a deferral, in `eRS-ReviewOutcome-1` after a review.
    pub reason: Option<&'static str>,
    /// In `APPOINTMENT-CANCELLATION-REASON`, once it is cancelled.
    pub cancellation: Option<String>,
    pub service: String,
    pub slot: Option<String>,
    pub start: Option<String>,
    pub end: Option<String>,
    pub clinician: Option<String>,
    pub comment: Option<String>,
    pub created: Timestamp,
}

impl Appointment {
    /// Booked, and not begun yet.
    pub fn lies_ahead(&self, now: Timestamp) -> bool {
        let start = self.start.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        self.status == "booked" && start.is_some_and(|start| start > now)
    }

    /// For a reason of `APPOINTMENT-CANCELLATION-REASON`. What comes back is the slot that is free again.
    pub fn cancel(&mut self, reason: &str, comment: Option<&str>) -> Option<String> {
        self.version += 1;
        self.status = "cancelled";
        self.cancellation = Some(reason.into());
        self.comment = comment.map(String::from);
        (self.start, self.end) = (None, None);
        self.slot.take()
    }
}

/// How the provider's system let down the last booking attempt; it is what permits some deferrals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookingFailure {
    PasRespondedWithError,
    PasNotResponding,
}

/// Why a referral was cancelled.
#[derive(Clone, Debug)]
pub struct Cancellation {
    /// In `REFERRAL-CANCELLATION-REASON`.
    pub reason: String,
    pub comments: Option<String>,
}

/// What a patient needs besides the appointment (`eRS-AdditionalRequirementType-1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdditionalRequirement {
    Advocacy,
    Interpreter,
    Transport,
}

impl AdditionalRequirement {
    pub fn code(self) -> &'static str {
        match self {
            Self::Advocacy => "ADVOCACY",
            Self::Interpreter => "INTERPRETER",
            Self::Transport => "TRANSPORT",
        }
    }

    pub fn display(self) -> &'static str {
        match self {
            Self::Advocacy => "Advocacy",
            Self::Interpreter => "Interpreter",
            Self::Transport => "Transport",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Referral {
    pub ubrn: Ubrn,
    pub version: u32,
    /// Behind `r.` on the wire.
    pub request_id: Uuid,
    pub patient: String,
    pub priority: &'static str,
    /// The `parameter` array of the search criteria, as JSON text: smaller than the parsed form.
    pub criteria: Box<str>,
    pub shortlist: Vec<String>,
    pub pathway_start: Option<String>,
    pub state: State,
    pub appointment: Option<Appointment>,
    pub letters: Vec<Letter>,
    /// The referrer needs to add one.
    pub letter_intended: bool,
    /// SDS user id.
    pub referrer: String,
    pub clinical_information_first: Option<Timestamp>,
    pub clinical_information_last: Option<Timestamp>,
    pub created: Timestamp,
    /// When something was last done to it.
    pub updated: Timestamp,
    /// The referring organisation; absent for a seeded one, to which everybody is related.
    pub organisation: Option<String>,
    pub booking_failure: Option<BookingFailure>,
    pub additional_requirements: Vec<AdditionalRequirement>,
    pub cancellation: Option<Cancellation>,
    /// Of the appointment that is booked now.
    pub review: Review,
    /// Files of the provider.
    pub provider_files: Vec<Letter>,
    /// It was an advice request with the same UBRN.
    pub was_advice: bool,
}

impl Referral {
    /// One act may raise the version by more than one, as e-RS does it (sample: 6 to 8).
    pub fn raise_version(&mut self, now: Timestamp) {
        const STEPS_PER_ACT: u32 = 2;
        self.version += STEPS_PER_ACT;
        self.updated = now;
    }

    /// To this service, as an appointment that is yet to be made.
    pub fn send_for_triage(&mut self, appointment: u64, service: &str, now: Timestamp) {
        self.appointment = Some(Appointment {
            id: appointment,
            version: 1,
            status: "proposed",
            reason: Some("TRIAGE"),
            cancellation: None,
            service: service.into(),
            slot: None,
            start: None,
            end: None,
            clinician: None,
            comment: None,
            created: now,
        });
        self.state = State::AwaitingTriage;
        self.booking_failure = None;
    }

    /// To this service, which offered no slot.
    pub fn defer(&mut self, appointment: u64, service: &str, now: Timestamp) {
        self.send_for_triage(appointment, service, now);
        if let Some(appointment) = &mut self.appointment {
            appointment.reason = Some("NO_SLOTS_AT_SERVICE");
        }
        self.state = State::DeferredToProvider;
    }

    /// As that appointment, in this slot.
    pub fn book(&mut self, appointment: u64, slot: &Slot, now: Timestamp) {
        self.appointment = Some(Appointment {
            id: appointment,
            version: 0,
            status: "booked",
            reason: None,
            cancellation: None,
            service: slot.service.clone(),
            slot: Some(slot.id.clone()),
            start: Some(slot.start.to_string()),
            end: Some(slot.end.to_string()),
            clinician: slot.clinician.clone(),
            comment: None,
            created: now,
        });
        (self.state, self.review) = (State::Booked, Review::Never);
        self.raise_version(now);
    }

    pub fn current_reference(&self) -> String {
        format!("ReferralRequest/{}/_history/{}", self.ubrn, self.version)
    }
}

const SHARDS: usize = 64;
/// New UBRNs start here, above everything that the samples name.
const FIRST_UBRN: u64 = 100_000_000;
const FIRST_NUMBER: u64 = 80_000;

type Shard = Mutex<HashMap<u64, Referral>>;

/// All referrals; the oldest are forgotten, so that there are never more than `max` besides the seeded ones.
pub struct Referrals {
    shards: [Shard; SHARDS],
    next_ubrn: AtomicU64,
    /// Appointments, DocumentReferences.
    next_number: AtomicU64,
    max: u64,
}

impl Referrals {
    pub fn new(max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Shard::default()),
            next_ubrn: AtomicU64::new(FIRST_UBRN),
            next_number: AtomicU64::new(FIRST_NUMBER),
            max: u64::try_from(max.max(1)).unwrap_or(u64::MAX),
        }
    }

    pub fn reset(&self) {
        self.shards.iter().for_each(|shard| shard.lock().clear());
        self.next_ubrn.store(FIRST_UBRN, Ordering::Relaxed);
        self.next_number.store(FIRST_NUMBER, Ordering::Relaxed);
    }

    /// The referrals of the published samples.
    pub fn seed(&self, at: Timestamp, mut request_id: impl FnMut() -> Uuid) {
        for seed in &demonstration::REFERRALS {
            let letters = demonstration::FILES.iter().filter(|(id, ..)| seed.letters.contains(id)).map(|file| Letter {
                number: self.next_number(),
                file: file.0.parse().expect("the file ids of the demonstration are literals"),
                name: file.1.into(),
                content_type: file.2.into(),
                size: file.4.len(),
                description: Some("referralletter pdf".into()),
                indexed: at,
                attached_by: demonstration::USER.into(),
                organisation: "R69".into(),
            });
            let criteria = serde_json::json!([
                {"name": "priority", "valueCoding": {
                    "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-Priority-1", "code": seed.priority}},
                {"name": "ageAndGenderAppropriate", "valueBoolean": true},
            ]);
            let letters: Vec<Letter> = letters.collect();
            self.insert(Referral {
                ubrn: Ubrn(seed.ubrn),
                version: seed.version,
                request_id: request_id(),
                patient: seed.patient.into(),
                priority: seed.priority,
                criteria: criteria.to_string().into(),
                shortlist: seed.shortlist.iter().map(|id| (*id).into()).collect(),
                pathway_start: None,
                state: State::NotBooked,
                appointment: None,
                clinical_information_first: (!letters.is_empty()).then_some(at),
                clinical_information_last: None,
                letters,
                letter_intended: true,
                referrer: demonstration::USER.into(),
                created: at,
                updated: at,
                organisation: None,
                booking_failure: None,
                additional_requirements: Vec::new(),
                cancellation: None,
                review: Review::Never,
                provider_files: Vec::new(),
                was_advice: false,
            });
        }
    }

    /// Advice requests take theirs from the same numbers. The referral that is `max` numbers older is forgotten,
    /// seeded ones never.
    pub fn next_ubrn(&self) -> Ubrn {
        let number = self.next_ubrn.fetch_add(1, Ordering::Relaxed);
        if let Some(oldest) = number.checked_sub(self.max).filter(|oldest| *oldest >= FIRST_UBRN) {
            self.shard(Ubrn(oldest)).remove(&oldest);
        }
        Ubrn(number)
    }

    pub fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub fn insert(&self, referral: Referral) {
        self.shard(referral.ubrn).insert(referral.ubrn.0, referral);
    }

    #[cfg(test)]
    pub fn remove(&self, ubrn: Ubrn) {
        self.shard(ubrn).remove(&ubrn.0);
    }

    /// Looks at or changes one referral while nobody else can. `None` when there is none.
    pub fn with<T>(&self, ubrn: Ubrn, act: impl FnOnce(&mut Referral) -> T) -> Option<T> {
        self.shard(ubrn).get_mut(&ubrn.0).map(act)
    }

    /// The same for the referral whose latest appointment has this id.
    pub fn with_appointment<T>(&self, id: u64, act: impl FnOnce(&mut Referral) -> T) -> Option<T> {
        for shard in &self.shards {
            let mut referrals = shard.lock();
            let has_it = |referral: &&mut Referral| referral.appointment.as_ref().is_some_and(|found| found.id == id);
            if let Some(referral) = referrals.values_mut().find(has_it) {
                return Some(act(referral));
            }
        }
        None
    }

    /// Copies of all, in order of their UBRNs.
    pub fn all(&self) -> Vec<Referral> {
        let mut all: Vec<Referral> =
            self.shards.iter().flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>()).collect();
        all.sort_unstable_by_key(|referral| referral.ubrn);
        all
    }

    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, ubrn: Ubrn) -> MutexGuard<'_, HashMap<u64, Referral>> {
        let index = usize::try_from(ubrn.0 % SHARDS as u64).expect("a remainder below 64 fits");
        self.shards[index].lock()
    }
}
