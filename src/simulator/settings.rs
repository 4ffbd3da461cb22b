//! What can be set about the simulator; the defaults suit a demonstration.

use std::net::SocketAddr;
use std::time::Duration;

use super::applications::{Application, Smartcard, TestPerson};
use super::demonstration;
use super::people::Person;
use super::services::{Service, Slot};

#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that serve connections.
    pub workers: usize,
    pub applications: Vec<Application>,
    /// Who can sign in.
    pub test_people: Vec<TestPerson>,
    /// Accredited systems of the retired interface.
    pub asids: Vec<String>,
    /// In, until they are taken out.
    pub smartcards: Vec<Smartcard>,
    pub access_token_lifetime: Duration,
    /// From the login (the start of the simulator); refreshing does not prolong it.
    pub refresh_token_lifetime: Duration,
    /// None: as fast as it goes.
    pub quota: Option<Quota>,
    /// A numeric service id that is not in `services` is taken for a service that books and triages.
    pub any_service: bool,
    /// A well-formed NHS number that is not in `patients` is taken for a known patient.
    pub any_patient: bool,
    /// A well-formed SDS user id that is not in `clinicians` is taken for an active referring clinician.
    pub any_clinician: bool,
    /// A code in the right form that is not in the published (incomplete) lists is taken for a known one.
    pub any_reference_code: bool,
    pub services: Vec<Service>,
    pub slots: Vec<Slot>,
    pub patients: Vec<Person>,
    pub clinicians: Vec<Person>,
    /// Organisations that search criteria may not name.
    pub closed_organisations: Vec<String>,
    /// The referrals, files and advice requests that the published samples speak of.
    pub seed_samples: bool,
    /// How long the scan of an upload takes; it is `PENDING` until then.
    pub scan_delay: Duration,
    pub retention: Retention,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            workers: 1,
            applications: demonstration::applications(),
            test_people: demonstration::test_people(),
            asids: vec![demonstration::ASID.into()],
            smartcards: demonstration::smartcards(),
            access_token_lifetime: Duration::from_secs(599),
            refresh_token_lifetime: Duration::from_secs(43_199),
            quota: None,
            any_service: true,
            any_patient: true,
            any_clinician: true,
            any_reference_code: true,
            services: demonstration::services(),
            slots: demonstration::slots(),
            patients: demonstration::patients(),
            clinicians: demonstration::clinicians(),
            closed_organisations: vec!["CLOSED".into()],
            seed_samples: true,
            scan_delay: Duration::from_secs(30),
            retention: Retention::default(),
        }
    }
}

/// The limits of the API platform, per registered application (`600` and `720` in production).
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    pub per_minute: u32,
    /// Smoothed: no two requests closer than a minute divided by this.
    pub spike_arrest_per_minute: u32,
}

impl Quota {
    pub const PRODUCTION: Self = Self { per_minute: 600, spike_arrest_per_minute: 720 };
}

/// What is kept before the oldest is forgotten, so that memory stays bounded on long runs.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub referrals_max: usize,
    pub files_max: usize,
    /// Of contents, all files together; a file whose content is gone can be linked, not downloaded.
    pub file_bytes_max: usize,
    pub ledger_entries_max: usize,
    /// Without it bodies are not digested and correlation ids are not kept.
    pub ledger_in_full: bool,
    pub creations_max: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            referrals_max: 200_000,
            files_max: 100_000,
            file_bytes_max: 64 * 1024 * 1024,
            ledger_entries_max: 200_000,
            ledger_in_full: true,
            creations_max: 1_000_000,
        }
    }
}
