//! The directory of services: what exists, what it takes, and which slots are free.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::validation::criteria::Criteria;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Appointment,
    Triage,
    Advice,
}

impl Flow {
    /// In `eRS-RequestFlowType-1`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Appointment => "APPOINTMENT_REQUEST",
            Self::Triage => "TRIAGE_REQUEST",
            Self::Advice => "ADVICE_AND_GUIDANCE_REQUEST",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Service {
    /// Numeric.
    pub id: String,
    pub name: String,
    pub flows: Vec<Flow>,
    pub directly_bookable: bool,
    /// None matches a search for any specialty.
    pub specialty: Option<String>,
    pub organisation: String,
    pub organisation_name: String,
    pub referral_letter_required: bool,
    /// `ROUTINE`, `URGENT`, `TWO_WEEK_WAIT`
    pub priorities: Vec<String>,
    /// A closed service is found by nobody.
    pub offered: bool,
}

impl Service {
    pub fn takes(&self, flow: Flow) -> bool {
        self.flows.contains(&flow)
    }

    /// Would a search with these criteria find it?
    pub fn matches(&self, criteria: &Criteria<'_>) -> bool {
        let specialty = match (&self.specialty, criteria.specialty) {
            (Some(own), Some(wanted)) => own == wanted,
            _ => true,
        };
        let organisation = criteria.organisation.is_none_or(|wanted| self.organisation == wanted);
        self.offered && specialty && organisation && self.priorities.iter().any(|own| own == criteria.priority)
    }
}

#[derive(Clone, Debug)]
pub struct Slot {
    pub id: String,
    pub service: String,
    pub start: Timestamp,
    pub end: Timestamp,
    /// SDS user id, where the schedule names one; then the booking must name them too.
    pub clinician: Option<String>,
}

pub struct Directory {
    services: BTreeMap<String, Service>,
    any: bool,
    slots: Vec<Slot>,
    taken: Mutex<HashSet<String>>,
}

/// Longest id that is taken for a service; real ones are shorter.
const SERVICE_ID_DIGITS_MAX: usize = 10;

impl Directory {
    pub fn new(services: &[Service], slots: &[Slot], any: bool) -> Self {
        let services = services.iter().map(|service| (service.id.clone(), service.clone())).collect();
        Self { services, any, slots: slots.to_vec(), taken: Mutex::default() }
    }

    pub fn reset(&self) {
        self.taken.lock().clear();
    }

    /// The service with this id; an unlisted one where any numeric id is let through.
    pub fn find(&self, id: &str) -> Option<std::borrow::Cow<'_, Service>> {
        use std::borrow::Cow;
        if let Some(service) = self.services.get(id) {
            return Some(Cow::Borrowed(service));
        }
        (self.any && is_service_id(id)).then(|| Cow::Owned(unlisted(id)))
    }

    /// In order of their ids.
    pub fn search(&self, flow: Option<Flow>, criteria: &Criteria<'_>) -> Vec<&Service> {
        self.services
            .values()
            .filter(|service| flow.is_none_or(|flow| service.takes(flow)) && service.matches(criteria))
            .collect()
    }

    pub fn slot(&self, id: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.id == id)
    }

    pub fn is_free(&self, slot: &Slot, now: Timestamp) -> bool {
        slot.start > now && !self.taken.lock().contains(&slot.id)
    }

    pub fn has_free_slots(&self, service: &str, now: Timestamp) -> bool {
        self.slots.iter().any(|slot| slot.service == service && self.is_free(slot, now))
    }

    /// False when somebody was faster.
    pub fn take(&self, slot: &Slot) -> bool {
        self.taken.lock().insert(slot.id.clone())
    }

    /// Free again, after a cancellation.
    pub fn release(&self, slot: &str) {
        self.taken.lock().remove(slot);
    }
}

pub fn is_service_id(text: &str) -> bool {
    (1..=SERVICE_ID_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn unlisted(id: &str) -> Service {
    Service {
        id: id.into(),
        name: format!("Service {id}"),
        flows: vec![Flow::Appointment, Flow::Triage],
        directly_bookable: true,
        specialty: None,
        organisation: "R69".into(),
        organisation_name: "Cicero-Clinic".into(),
        referral_letter_required: false,
        priorities: ["ROUTINE", "URGENT", "TWO_WEEK_WAIT"].map(String::from).to_vec(),
        offered: true,
    }
}
