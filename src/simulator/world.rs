//! e-RS itself: its state, and the way of one call through it.
//!
//! Enters: a [`Call`]. Leaves: a [`Reply`]. Guarantees: every call is in the ledger, lost answers included;
//! a write is either carried out whole or not at all.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::access;
use super::advice::AdviceRequests;
use super::clock::SimulatorClock;
use super::demographics::{Demographics, PDS_PATH};
use super::exchange::{Answer, Call, Delivery, Reply};
use super::faults::{Action, Faults, Subject};
use super::files::Files;
use super::issue::Issue;
use super::ledger::{Entry, Ledger};
use super::operations::{Act, BodyKind, Target};
use super::people::Register;
use super::professional_sessions::{self, LEGACY_PATH, ProfessionalSessions};
use super::quota::QuotaKeeper;
use super::reference_data::ReferenceData;
use super::referral::{BookingFailure, Referrals, Ubrn};
use super::refusal::{Fhir, Refusal, usual_code};
use super::services::Directory;
use super::settings::SimulatorConfig;
use super::tokens::{Holder, Tokens};
use super::worklist_quota::WorklistQuota;
use crate::environment::Environment;

pub const API_PATH: &str = "/referrals/FHIR";
pub const TOKEN_PATH: &str = "/oauth2/token";
pub const AUTHORIZE_PATH: &str = "/oauth2/authorize";
pub const USERINFO_PATH: &str = "/oauth2/userinfo";

/// Where clients reach what the simulator serves.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub base_url: String,
    pub token_url: String,
    /// On a port of its own, as the real object store is another host.
    pub object_store_url: String,
}

pub struct World {
    pub settings: SimulatorConfig,
    pub environment: Environment,
    pub addresses: Addresses,
    pub clock: SimulatorClock,
    pub tokens: Tokens,
    pub professional: ProfessionalSessions,
    pub referrals: Referrals,
    pub advice: AdviceRequests,
    pub files: Files,
    pub services: Directory,
    pub reference_data: ReferenceData,
    pub patients: Register,
    pub clinicians: Register,
    pub demographics: Demographics,
    pub faults: Faults,
    pub ledger: Ledger,
    pub quota: QuotaKeeper,
    pub worklists: WorklistQuota,
    locked: RwLock<HashSet<Ubrn>>,
    transactions: AtomicU64,
}

impl World {
    pub fn new(settings: SimulatorConfig, environment: Environment, addresses: Addresses) -> Self {
        let clock = SimulatorClock::new(environment.clone());
        let now = clock.now();
        let retention = settings.retention;
        let world = Self {
            tokens: Tokens::new(&settings, environment.clone(), addresses.token_url.clone(), now),
            professional: ProfessionalSessions::new(&settings, environment.clone()),
            referrals: Referrals::new(retention.referrals_max),
            advice: AdviceRequests::new(retention.referrals_max),
            files: Files::new(retention.files_max, retention.file_bytes_max, settings.scan_delay),
            services: Directory::new(&settings.services, &settings.slots, settings.any_service),
            reference_data: ReferenceData::new(&addresses.base_url, settings.any_reference_code),
            patients: Register::new(&settings.patients, settings.any_patient),
            clinicians: Register::new(&settings.clinicians, settings.any_clinician),
            demographics: Demographics::new(),
            faults: Faults::default(),
            ledger: Ledger::new(retention),
            quota: QuotaKeeper::new(settings.quota),
            worklists: WorklistQuota::default(),
            locked: RwLock::default(),
            transactions: AtomicU64::new(1),
            settings,
            environment,
            addresses,
            clock,
        };
        world.seed(now);
        world
    }

    /// Back to the start; the clock keeps its setting.
    pub fn reset(&self) {
        self.faults.clear();
        self.ledger.reset();
        self.files.reset();
        self.referrals.reset();
        self.advice.reset();
        self.services.reset();
        self.worklists.reset();
        self.demographics.reset();
        self.locked.write().clear();
        self.quota.set(self.settings.quota);
        let now = self.now();
        self.tokens.reset(now);
        self.professional.reset();
        self.seed(now);
    }

    fn seed(&self, now: Timestamp) {
        if self.settings.seed_samples {
            self.files.seed();
            self.referrals.seed(now, || self.environment.random_id());
            self.advice.seed(now, || self.environment.random_id());
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// As if a user of the web application had the record open.
    pub fn lock(&self, ubrn: Ubrn) {
        self.locked.write().insert(ubrn);
    }

    pub fn unlock(&self, ubrn: Ubrn) {
        self.locked.write().remove(&ubrn);
    }

    pub fn is_locked(&self, ubrn: Ubrn) -> bool {
        self.locked.read().contains(&ubrn)
    }

    /// And not converted into a referral, which has the same UBRN.
    pub fn is_advice_request(&self, ubrn: Ubrn) -> bool {
        self.advice.with(ubrn, |_| ()).is_some() && self.referrals.with(ubrn, |_| ()).is_none()
    }

    /// Answers one call of a client; waits where a fault says so.
    pub async fn answer(&self, call: Call) -> Reply {
        let mut entry = self.blank_entry(&call);
        let mut reply = self.process(&call, &mut entry).await;
        entry.status = reply.answer.status;
        entry.ubrn = reply.answer.ubrn.or(entry.ubrn);
        self.ledger.record(entry, reply.delivery);
        let transaction = self.transactions.fetch_add(1, Ordering::Relaxed);
        let request_id = match call.header("X-Request-ID") {
            // The Personal Demographics Service echoes the one that it asks for; e-RS and the platform make theirs.
            Some(given) if call.path.starts_with(PDS_PATH) => given.to_owned(),
            _ => format!("{}-{transaction}", self.environment.random_id()),
        };
        let named = if call.path.starts_with(LEGACY_PATH) { "X_ERS_TRANSACTION_ID" } else { "X-Request-ID" };
        reply.answer.headers.push((named, request_id));
        if let Some(correlation_id) = call.header("X-Correlation-ID") {
            reply.answer.headers.push(("X-Correlation-ID", correlation_id.to_owned()));
        }
        reply
    }

    fn blank_entry(&self, call: &Call) -> Entry {
        let full = self.ledger.in_full();
        let digest = (full && !call.body.is_empty()).then(|| format!("{:x}", Sha256::digest(&call.body)).into());
        Entry {
            number: 0,
            at: self.now(),
            operation: "none",
            client_id: None,
            user: None,
            correlation_id: call.header("X-Correlation-ID").filter(|_| full).map(Into::into),
            status: 0,
            ubrn: None,
            body_sha256: digest,
            delivered: true,
        }
    }

    async fn process(&self, call: &Call, entry: &mut Entry) -> Reply {
        if call.path == TOKEN_PATH {
            entry.operation = "token";
            let subject = Subject { operation: "token", nhs_number: None, ubrn: None };
            let fault = self.faults.strike(&subject);
            return self.carry_out(fault, Fhir::Stu3, || self.tokens.answer(call, self.now())).await;
        }
        if call.path == AUTHORIZE_PATH {
            entry.operation = "authorize";
            return Reply::sent(self.tokens.authorize(call, self.now()));
        }
        if call.path == USERINFO_PATH {
            entry.operation = "userinfo";
            let holder = access::identify(self, call);
            return Reply::sent(match holder {
                Ok(holder) => self.tokens.userinfo(&holder),
                Err(refusal) => refusal.answer(Fhir::R4, self.now()),
            });
        }
        if call.path == "/referrals/_ping" {
            return Reply::sent(Answer::json(200, &serde_json::json!({"version": env!("CARGO_PKG_VERSION")})));
        }
        if let Some(path) = call.path.strip_prefix(PDS_PATH) {
            entry.operation = "PDS";
            let holder = access::identify(self, call).ok();
            let number = path.rsplit('/').next();
            let fault = self.faults.strike(&Subject { operation: "PDS", nhs_number: number, ubrn: None });
            return self.carry_out(fault, Fhir::R4, || self.demographics.answer(call, path, holder.as_deref())).await;
        }
        if let Some(path) = call.path.strip_prefix(LEGACY_PATH) {
            return self.legacy(call, path, entry).await;
        }
        let path = call.path.strip_prefix(API_PATH).filter(|path| path.starts_with('/'));
        let Some(path) = path else { return Reply::sent(Answer::empty_text(404)) };
        let fhir = Fhir::of_path(path);
        let Some(target) = Target::of(&call.method, path) else {
            return Reply::sent(Refusal::Status(404).answer(fhir, self.now()));
        };
        entry.operation = target.operation().number;
        self.call(&target, call, fhir, entry).await
    }

    async fn call(&self, target: &Target, call: &Call, fhir: Fhir, entry: &mut Entry) -> Reply {
        let refused = |refusal: Refusal| Reply::sent(refusal.answer(fhir, self.now()));
        match access::identify(self, call) {
            Ok(holder) => self.call_as(holder, target, call, fhir, entry).await,
            Err(refusal) => refused(refusal),
        }
    }

    /// The retired interface: sessions, and calls in one.
    async fn legacy(&self, call: &Call, path: &str, entry: &mut Entry) -> Reply {
        if let Some(operation) = ProfessionalSessions::operation(&call.method, path) {
            entry.operation = operation;
            let fault = self.faults.strike(&Subject { operation, nhs_number: None, ubrn: None });
            let answer = || self.professional.answer(call, path);
            let answer = || answer().unwrap_or_else(|refusal| refusal.answer(Fhir::Stu3, self.now()));
            return self.carry_out(fault, Fhir::Stu3, answer).await;
        }
        let translated = self.professional.translate(call.clone(), path, API_PATH);
        let (call, holder) = match translated {
            Ok(translated) => translated,
            Err(refusal) => return Reply::sent(refusal.answer(Fhir::Stu3, self.now())),
        };
        let target = call.path.strip_prefix(API_PATH).and_then(|path| Target::of(&call.method, path));
        let Some(target) = target else { return Reply::sent(Answer::empty_text(404)) };
        entry.operation = target.operation().number;
        let mut reply = self.call_as(holder, &target, &call, Fhir::Stu3, entry).await;
        professional_sessions::as_legacy(&mut reply.answer);
        reply
    }

    async fn call_as(&self, holder: Arc<Holder>, target: &Target, call: &Call, fhir: Fhir, entry: &mut Entry) -> Reply {
        let refused = |refusal: Refusal| Reply::sent(refusal.answer(fhir, self.now()));
        if let Err(refusal) = access::assure(&holder) {
            return refused(refusal);
        }
        entry.client_id = Some(holder.client_id.as_str().into());
        entry.user = Some(holder.user().into());
        if !self.quota.admits(&holder.client_id, self.now()) {
            return refused(Refusal::Status(429));
        }
        let operation = target.operation();
        let admitted = access::admit(self, call, operation, holder)
            .and_then(|caller| access::check_media_types(call, operation).map(|()| caller))
            .and_then(|caller| Ok((caller, read_body(call, operation.body)?)));
        let (caller, body) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return refused(refusal),
        };
        entry.ubrn = target.ubrn(call, &body);
        let fault = if self.faults.any() { self.strike(operation.number, entry.ubrn, &body) } else { None };
        self.carry_out(fault, fhir, || {
            let now = self.now();
            let act = Act { world: self, call, caller: &caller, body: &body, now };
            target.perform(&act).unwrap_or_else(|refusal| refusal.answer(fhir, now))
        })
        .await
    }

    fn strike(&self, operation: &'static str, ubrn: Option<Ubrn>, body: &Value) -> Option<Action> {
        let named = patient_in(body).map(String::from);
        let patient = named.or_else(|| self.referrals.with(ubrn?, |referral| referral.patient.clone()));
        let action = self.faults.strike(&Subject { operation, nhs_number: patient.as_deref(), ubrn });
        // A booking that the provider's system let down is what permits the deferral after it.
        if let (Some(Action::Answer { status: status @ (502 | 504), .. }), "A016", Some(ubrn)) =
            (&action, operation, ubrn)
        {
            let failure =
                if *status == 502 { BookingFailure::PasRespondedWithError } else { BookingFailure::PasNotResponding };
            self.referrals.with(ubrn, |referral| referral.booking_failure = Some(failure));
        }
        action
    }

    /// Does what was asked, before or after what the fault does to it.
    async fn carry_out(&self, fault: Option<Action>, fhir: Fhir, perform: impl FnOnce() -> Answer) -> Reply {
        let undone = |delivery| Reply { answer: Answer::bare(0), delivery, held: Duration::ZERO };
        let lost = |answer, delivery| Reply { answer, delivery, held: Duration::ZERO };
        match fault {
            None => Reply::sent(perform()),
            Some(Action::Answer { status, code, diagnostics, retry_after, body }) => {
                Reply::sent(self.injected(fhir, status, code, diagnostics, retry_after, body))
            }
            Some(Action::Delay { millis, after_commit: false }) => {
                self.environment.sleep(Duration::from_millis(millis)).await;
                Reply::sent(perform())
            }
            Some(Action::Delay { millis, after_commit: true }) => {
                Reply { answer: perform(), delivery: Delivery::Sent, held: Duration::from_millis(millis) }
            }
            Some(Action::Hang { after_commit: false }) => undone(Delivery::Hung),
            Some(Action::Hang { after_commit: true }) => lost(perform(), Delivery::Hung),
            Some(Action::Reset { after_commit: false }) => undone(Delivery::Reset),
            Some(Action::Reset { after_commit: true }) => lost(perform(), Delivery::Reset),
            Some(Action::Truncate) => lost(perform(), Delivery::Truncated),
        }
    }

    fn injected(
        &self,
        fhir: Fhir,
        status: u16,
        code: Option<String>,
        diagnostics: Option<String>,
        retry_after: Option<u64>,
        body: Option<String>,
    ) -> Answer {
        let usual = usual_code(status, fhir);
        let answer = match (body, code) {
            (Some(body), _) => {
                let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
                Answer::bare(status).with("Content-Type", kind.into()).with_body(body)
            }
            (None, None) if usual.is_empty() => Refusal::Status(status).answer(fhir, self.now()),
            (None, code) => {
                let mut issue = Issue { code: code.unwrap_or_else(|| usual.into()), kind: None, diagnostics };
                if status == 401 {
                    issue.kind = Some("login");
                }
                Refusal::one(status, issue).answer(fhir, self.now())
            }
        };
        match retry_after {
            Some(seconds) => answer.with("Retry-After", seconds.to_string()),
            None => answer,
        }
    }
}

/// Parsed JSON, or null where the operation takes none.
fn read_body(call: &Call, kind: BodyKind) -> Result<Value, Refusal> {
    if kind != BodyKind::Fhir {
        return Ok(Value::Null);
    }
    if call.body_cut {
        return Err(Refusal::Status(400));
    }
    serde_json::from_slice(&call.body).map_err(|_| Refusal::Status(400))
}

/// The NHS number that a body names: as a parameter of what is searched for or created, as a participant of an
/// appointment.
fn patient_in(body: &Value) -> Option<&str> {
    let in_parameters = body["parameter"].as_array().into_iter().flatten();
    let parameter = in_parameters.into_iter().find(|part| part["name"].as_str() == Some("patient"));
    let identifiers = body["participant"].as_array().into_iter().flatten().map(|part| &part["actor"]["identifier"]);
    let participant = identifiers.into_iter().find(|id| id["system"].as_str() == Some(NHS_NUMBER));
    parameter.map(|part| &part["valueIdentifier"]).or(participant)?["value"].as_str()
}

pub const NHS_NUMBER: &str = "http://fhir.nhs.net/Id/nhs-number";
