//! e-RS in a box: the NHS e-Referral Service as its specification has it, for tests, demonstrations and benchmarks.
//!
//! Enters: HTTP requests of an e-RS client (or [`crate::ers::Request`]s, without a socket), and what the control
//! API asks for. Leaves: the documented answers, and a ledger of everything that was done. Guarantees: it
//! refuses what e-RS would refuse, naming every issue; it keeps versions, roles, access modes, quotas and
//! locks; it loses answers, hangs and fails only when told to.
//!
//! Served: sign-in and the token endpoint; professional sessions of the retired interface (A001 to A003), and STU3 calls in one; everything of referrers and of providers, that is A004 to A044 but for A009, A017 and A018 of an
//! older API, and A039, which is assigned in no source; of the Personal Demographics Service a patient by number.
//! Everything in it is invented, and it listens on this machine only unless told otherwise.

mod access;
mod advice;
mod advice_resource;
pub mod applications;
mod clock;
mod control;
mod decisions;
mod demographics;
pub mod demonstration;
mod exchange;
pub mod faults;
mod files;
mod in_process;
mod issue;
pub mod ledger;
mod operations;
mod pdf;
pub mod people;
mod percent;
mod professional_sessions;
mod quota;
mod reference_data;
mod referral;
mod referral_resource;
mod refusal;
mod server;
pub mod services;
pub mod settings;
mod state;
mod tokens;
mod validation;
mod view;
mod worklist_quota;
mod world;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use uuid::Uuid;

pub use self::clock::SimulatorClock;
pub use self::faults::{Action, Fault, FaultId};
pub use self::files::Availability;
pub use self::in_process::InProcess;
pub use self::ledger::{Creation, Entry};
pub use self::referral::{AdditionalRequirement, Ubrn};
pub use self::settings::{Quota, Retention, SimulatorConfig};
pub use self::view::ReferralView;

use self::decisions::ReviewOutcome;
use self::professional_sessions::LEGACY_PATH;
use self::server::{Listeners, OBJECT_STORE_PATH, Serving};
use self::world::{API_PATH, AUTHORIZE_PATH, Addresses, TOKEN_PATH, USERINFO_PATH, World};
use crate::environment::Environment;

#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    #[error("the simulator cannot listen on {address}; choose another address with --listen")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

pub struct Simulator;

impl Simulator {
    /// Listens and serves until the handle stops it or the environment shuts down.
    pub fn start(config: SimulatorConfig, environment: Environment) -> Result<SimulatorHandle, SimulatorError> {
        let address = config.listen;
        let listen = |source| SimulatorError::Listen { address, source };
        let listeners = Listeners::bind(address).map_err(listen)?;
        let origin = format!("http://{}", listeners.api().map_err(listen)?);
        let object_store = format!("http://{}", listeners.object_store().map_err(listen)?);
        let world = Arc::new(World::new(config, environment, addresses(&origin, &object_store)));
        let serving = Serving::start(listeners, world.clone()).map_err(listen)?;
        Ok(SimulatorHandle { control_url: format!("{origin}{}", control::PATH), world, serving: Some(serving) })
    }

    /// Without a socket: reached through [`SimulatorHandle::transport`] only.
    pub fn in_process(config: SimulatorConfig, environment: Environment) -> SimulatorHandle {
        let origin = "http://simulator.invalid";
        let world = World::new(config, environment, addresses(origin, "http://object-store.invalid"));
        SimulatorHandle { world: Arc::new(world), control_url: format!("{origin}{}", control::PATH), serving: None }
    }
}

fn addresses(origin: &str, object_store: &str) -> Addresses {
    Addresses {
        base_url: format!("{origin}{API_PATH}"),
        token_url: format!("{origin}{TOKEN_PATH}"),
        object_store_url: format!("{object_store}{OBJECT_STORE_PATH}"),
    }
}

/// Serves until the environment is asked to shut down; `started` learns the addresses.
pub async fn run(
    config: SimulatorConfig,
    environment: Environment,
    started: impl FnOnce(&SimulatorHandle),
) -> Result<(), SimulatorError> {
    let handle = Simulator::start(config, environment.clone())?;
    started(&handle);
    environment.shutdown().cancelled().await;
    handle.stop().await;
    Ok(())
}

/// A simulator that runs: where it is, what it has seen, and the means to hurt it.
pub struct SimulatorHandle {
    world: Arc<World>,
    control_url: String,
    serving: Option<Serving>,
}

impl SimulatorHandle {
    /// What connections call their base URL; `…/referrals/FHIR`.
    pub fn base_url(&self) -> &str {
        &self.world.addresses.base_url
    }

    pub fn token_url(&self) -> &str {
        &self.world.addresses.token_url
    }

    /// Where browsers are sent to sign in.
    pub fn authorize_url(&self) -> String {
        self.world.addresses.token_url.replace(TOKEN_PATH, AUTHORIZE_PATH)
    }

    pub fn userinfo_url(&self) -> String {
        self.world.addresses.token_url.replace(TOKEN_PATH, USERINFO_PATH)
    }

    /// Of the retired interface; `…/ers-api`.
    pub fn legacy_base_url(&self) -> String {
        self.world.addresses.token_url.replace(TOKEN_PATH, LEGACY_PATH)
    }

    /// A smartcard is taken out: its professional sessions end, and its token makes no other.
    pub fn take_out_smartcard(&self, token: &str) {
        self.world.professional.take_out(token);
    }

    /// Ends all professional sessions; the smartcards stay in.
    pub fn end_professional_sessions(&self) {
        self.world.professional.end_all();
    }

    /// How many there are.
    pub fn professional_sessions(&self) -> usize {
        self.world.professional.count()
    }

    pub fn control_url(&self) -> &str {
        &self.control_url
    }

    /// The registered applications; the default ones are described in [`demonstration`].
    pub fn applications(&self) -> &[applications::Application] {
        &self.world.settings.applications
    }

    /// Straight into the simulator, without a socket.
    pub fn transport(&self) -> InProcess {
        InProcess::new(self.world.clone())
    }

    pub fn inject(&self, fault: Fault) -> FaultId {
        self.world.faults.inject(fault)
    }

    pub fn clear_faults(&self) {
        self.world.faults.clear();
    }

    /// How often the fault has struck.
    pub fn fired(&self, id: FaultId) -> u64 {
        self.world.faults.list().iter().find(|armed| armed.id == id).map_or(0, |armed| armed.fired)
    }

    /// The record of a patient there; changed by `change`, and found by another number if `by` names one.
    pub fn change_patient(&self, number: &str, by: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let mut record = self.world.demographics.get(number).unwrap_or_default();
        change(&mut record);
        self.world.demographics.put(by, Some(record));
    }

    /// Withdraws the record of a patient there.
    pub fn withdraw_patient(&self, number: &str) {
        self.world.demographics.put(number, None);
    }

    pub fn clock(&self) -> &SimulatorClock {
        &self.world.clock
    }

    pub fn set_quota(&self, quota: Option<Quota>) {
        self.world.quota.set(quota);
    }

    /// Writes to this UBRN get 423. Does nothing for what is no UBRN.
    pub fn lock(&self, ubrn: &str) {
        if let Some(ubrn) = Ubrn::parse(ubrn) {
            self.world.lock(ubrn);
        }
    }

    pub fn unlock(&self, ubrn: &str) {
        if let Some(ubrn) = Ubrn::parse(ubrn) {
            self.world.unlock(ubrn);
        }
    }

    /// As if a user of the web application had noted what the patient needs. False when there is no such referral.
    pub fn note_requirement(&self, ubrn: &str, requirement: AdditionalRequirement) -> bool {
        let note = |referral: &mut referral::Referral| referral.additional_requirements.push(requirement);
        Ubrn::parse(ubrn).and_then(|ubrn| self.world.referrals.with(ubrn, note)).is_some()
    }

    /// As if e-RS, or somebody in its web application, had changed the record: its version rises. False when there is
    /// no such referral.
    pub fn touch(&self, ubrn: &str) -> bool {
        let touched = |referral: &mut referral::Referral| referral.raise_version(self.world.now());
        Ubrn::parse(ubrn).and_then(|ubrn| self.world.referrals.with(ubrn, touched)).is_some()
    }

    /// As if its referrer had sent it to this service for triage. False when there is no such referral.
    pub fn send_for_triage(&self, ubrn: &str, service: &str) -> bool {
        let (number, now) = (self.world.referrals.next_number(), self.world.now());
        let send = |referral: &mut referral::Referral| {
            referral.send_for_triage(number, service, now);
            referral.raise_version(now);
        };
        Ubrn::parse(ubrn).and_then(|ubrn| self.world.referrals.with(ubrn, send)).is_some()
    }

    /// As if its referrer had handed it to this service, which offered no slot. False when there is no such referral.
    pub fn defer(&self, ubrn: &str, service: &str) -> bool {
        let (number, now) = (self.world.referrals.next_number(), self.world.now());
        let defer = |referral: &mut referral::Referral| {
            referral.defer(number, service, now);
            referral.raise_version(now);
        };
        Ubrn::parse(ubrn).and_then(|ubrn| self.world.referrals.with(ubrn, defer)).is_some()
    }

    /// As if somebody had booked this slot in the web application, as the appointment with this number. False when there is
    /// no such referral or slot, or the slot is taken.
    pub fn book(&self, ubrn: &str, appointment: u64, slot: &str) -> bool {
        let (now, services) = (self.world.now(), &self.world.services);
        let Some(slot) = services.slot(slot).filter(|slot| services.is_free(slot, now)) else { return false };
        let book =
            |referral: &mut referral::Referral| services.take(slot).then(|| referral.book(appointment, slot, now));
        Ubrn::parse(ubrn).and_then(|ubrn| self.world.referrals.with(ubrn, book)).flatten().is_some()
    }

    /// As if the hospital had booked it in its own system, for this time and at this indirectly bookable service. False when
    /// there is no such referral.
    pub fn book_indirectly(&self, ubrn: &str, appointment: u64, service: &str, start: &str) -> bool {
        let now = self.world.now();
        let book = |referral: &mut referral::Referral| {
            referral.send_for_triage(appointment, service, now);
            if let Some(booked) = &mut referral.appointment {
                (booked.status, booked.reason) = ("booked", None);
                (booked.start, booked.end) = (Some(start.into()), Some(start.into()));
            }
            (referral.state, referral.review) = (referral::State::Booked, referral::Review::Never);
            referral.raise_version(now);
        };
        Ubrn::parse(ubrn).and_then(|ubrn| self.world.referrals.with(ubrn, book)).is_some()
    }

    /// As if the provider had reviewed, in the web application, a referral that was sent for triage, and will book it
    /// later. False when it is not waiting for that.
    pub fn accept_to_book_later(&self, ubrn: &str) -> bool {
        let now = self.world.now();
        let review = |referral: &mut referral::Referral| {
            let waits = referral.awaits_review_outcome();
            if waits {
                referral.review_ended(ReviewOutcome::AcceptReferBookLater, "Invented", None, Vec::new(), now);
            }
            waits
        };
        Ubrn::parse(ubrn).and_then(|ubrn| self.world.referrals.with(ubrn, review)).unwrap_or(false)
    }

    /// UBRNs of the advice requests, the seeded one among them.
    pub fn advice_requests(&self) -> Vec<String> {
        self.world.advice.ubrns().iter().map(Ubrn::to_string).collect()
    }

    /// What the scan of each file with this name will find that is uploaded from now on.
    pub fn scan_finds(&self, file_name: &str, finding: Availability) {
        self.world.files.set_finding(file_name, finding);
    }

    /// Ends the scan of a file with this verdict. False when there is no such file.
    pub fn set_availability(&self, file: Uuid, availability: Availability) -> bool {
        self.world.files.set_verdict(file, availability)
    }

    /// Makes every access token invalid.
    pub fn revoke_tokens(&self) {
        self.world.tokens.revoke_all();
    }

    /// As an application of its own would get it for a test person who signs in there.
    pub fn id_token_of(&self, user: &str) -> Option<String> {
        self.world.tokens.id_token_of(user, self.world.now())
    }

    /// The platform withdraws an application, or has it back.
    pub fn revoke_client(&self, client_id: &str, revoked: bool) {
        self.world.tokens.revoke_client(client_id, revoked);
    }

    /// A-numbers in order of arrival.
    pub fn calls(&self) -> Vec<&'static str> {
        self.world.ledger.calls()
    }

    pub fn ledger(&self) -> Vec<Entry> {
        self.world.ledger.entries(0, usize::MAX)
    }

    pub fn creations(&self) -> Vec<Creation> {
        self.world.ledger.creations()
    }

    /// Referrals ever made, whatever is forgotten.
    pub fn created(&self) -> u64 {
        self.world.ledger.created()
    }

    /// Groups of referrals that say the same; empty when nothing was made twice.
    pub fn duplicates(&self) -> Vec<Vec<Creation>> {
        self.world.ledger.duplicates()
    }

    pub fn referrals(&self) -> Vec<ReferralView> {
        ReferralView::all(&self.world)
    }

    pub fn referral(&self, ubrn: &str) -> Option<ReferralView> {
        self.world.referrals.with(Ubrn::parse(ubrn)?, |referral| ReferralView::of(referral))
    }

    pub fn reset(&self) {
        self.world.reset();
    }

    /// Stops listening and cuts open connections.
    pub async fn stop(&self) {
        if let Some(serving) = &self.serving {
            serving.stop().await;
        }
    }
}
