//! Advice requests as e-RS keeps them, and the register of them all.

use std::collections::BTreeMap;

use jiff::Timestamp;
use parking_lot::Mutex;
use uuid::Uuid;

use super::demonstration;
use super::referral::{Letter, Ubrn};

/// As in the published sample.
pub const FIRST_VERSION: u32 = 1;

/// Somebody in a role at an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// SDS user id.
    pub user: String,
    pub organisation: String,
    pub function: String,
}

impl Role {
    /// `{user}.{organisation}.{function}`, as e-RS names a PractitionerRole.
    pub fn id(&self) -> String {
        format!("{}.{}.{}", self.user, self.organisation, self.function.replace('_', "-"))
    }
}

/// One message of the conversation.
#[derive(Clone, Debug)]
pub struct Message {
    pub number: u64,
    pub sent: Timestamp,
    /// Guidance, not a request for it.
    pub of_provider: bool,
    pub author: Role,
    /// Whom the author acts for.
    pub requester: Role,
    pub text: String,
    pub files: Vec<Letter>,
}

#[derive(Clone, Debug)]
pub struct AdviceRequest {
    pub ubrn: Ubrn,
    pub version: u32,
    /// Behind `a.` on the wire.
    pub request_id: Uuid,
    pub patient: String,
    pub priority: &'static str,
    pub specialty: Option<String>,
    /// The `parameter` array of the search criteria, as JSON text.
    pub criteria: Box<str>,
    pub services: Vec<String>,
    /// In `eRS-ProviderConversionAuthorisation-1`.
    pub conversion: &'static str,
    /// In `eRS-AdviceAndGuidanceStatus-1`.
    pub status: &'static str,
    pub requester: Role,
    pub messages: Vec<Message>,
    /// The referring organisation; absent for a seeded one, to which everybody is related.
    pub organisation: Option<String>,
}

impl AdviceRequest {
    /// The provider has written: `status` is in `eRS-AdviceAndGuidanceStatus-1`.
    pub fn respond(&mut self, status: &'static str, priority: &'static str, message: Message) {
        (self.status, self.priority) = (status, priority);
        self.messages.push(message);
        self.version += 1;
    }
}

/// All advice requests; the oldest are forgotten once there are more than `max`.
pub struct AdviceRequests {
    kept: Mutex<BTreeMap<Ubrn, AdviceRequest>>,
    max: usize,
}

impl AdviceRequests {
    pub fn new(max: usize) -> Self {
        Self { kept: Mutex::default(), max }
    }

    pub fn reset(&self) {
        self.kept.lock().clear();
    }

    /// The advice request of the published samples.
    pub fn seed(&self, at: Timestamp, mut request_id: impl FnMut() -> Uuid) {
        for ubrn in demonstration::ADVICE_REQUESTS {
            let requester = Role {
                user: demonstration::USER.into(),
                organisation: "R69".into(),
                function: "REFERRING_CLINICIAN".into(),
            };
            let criteria = serde_json::json!([
                {"name": "priority", "valueCoding": {
                    "system": "https://fhir.nhs.uk/STU3/CodeSystem/eRS-Priority-1", "code": "ROUTINE"}},
                {"name": "ageAndGenderAppropriate", "valueBoolean": true},
            ]);
            let message = Message {
                number: ubrn,
                sent: at,
                of_provider: false,
                author: requester.clone(),
                requester: requester.clone(),
                text: "Please advise me on this patient".into(),
                files: Vec::new(),
            };
            self.insert(AdviceRequest {
                ubrn: Ubrn(ubrn),
                version: FIRST_VERSION,
                request_id: request_id(),
                patient: "9912003888".into(),
                priority: "ROUTINE",
                specialty: Some("CARDIOLOGY".into()),
                criteria: criteria.to_string().into(),
                services: vec!["11014".into()],
                conversion: "AUTHORISED_TO_CONVERT",
                status: "PROVIDER_RESPONSE_REQUIRED",
                requester,
                messages: vec![message],
                organisation: None,
            });
        }
    }

    pub fn insert(&self, advice: AdviceRequest) {
        let mut kept = self.kept.lock();
        kept.insert(advice.ubrn, advice);
        if kept.len() > self.max {
            kept.pop_first();
        }
    }

    /// Looks at one while nobody else can. `None` when there is none.
    pub fn with<T>(&self, ubrn: Ubrn, act: impl FnOnce(&mut AdviceRequest) -> T) -> Option<T> {
        self.kept.lock().get_mut(&ubrn).map(act)
    }

    pub fn ubrns(&self) -> Vec<Ubrn> {
        self.kept.lock().keys().copied().collect()
    }
}
