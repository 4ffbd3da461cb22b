//! Listeners and the sending systems behind them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Fingerprint, HttpAccess, Network, duration};

/// Told apart by the key `kind` (see `reader.rs`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename = "kind", rename_all = "lowercase")]
pub enum Listener {
    Mllp(MllpListener),
    Http(HttpListener),
}

impl Listener {
    pub fn listen(&self) -> SocketAddr {
        match self {
            Self::Mllp(listener) => listener.listen,
            Self::Http(listener) => listener.listen,
        }
    }

    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Mllp(listener) => listener.source.as_deref(),
            Self::Http(listener) => listener.source.as_deref(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MllpListener {
    pub listen: SocketAddr,
    /// The source that every message belongs to; without it, MSH-3 and MSH-4 choose.
    #[serde(default)]
    pub source: Option<String>,
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Without TLS on an address that other machines reach: refused unless said by name.
    #[serde(default)]
    pub allow_plain: bool,
    #[serde(default = "connections_max")]
    pub connections_max: usize,
    /// A connection without a byte for so long is closed.
    #[serde(default = "idle_timeout", with = "duration")]
    pub idle_timeout: Duration,
    /// From a frame's start block to its end block.
    #[serde(default = "frame_timeout", with = "duration")]
    pub frame_timeout: Duration,
    /// The largest frame of any source on this listener; a source may ask for less.
    #[serde(default = "frame_bytes_max")]
    pub frame_bytes_max: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpListener {
    pub listen: SocketAddr,
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Without TLS on an address that other machines reach: refused unless said by name.
    #[serde(default)]
    pub allow_plain: bool,
    /// Who may use it. Absent: whoever shows a token, if the settings have any or other machines reach the address;
    /// else everybody.
    #[serde(default)]
    pub access: Option<HttpAccess>,
    /// The source of `POST /v1/commands/…` and `/v1/hl7v2` without one of their own.
    #[serde(default)]
    pub source: Option<String>,
    #[serde(default = "frame_bytes_max")]
    pub body_bytes_max: usize,
    /// `Prefer: wait=N` is cut to this.
    #[serde(default = "wait_max", with = "duration")]
    pub wait_max: Duration,
    /// `text/plain` is taken as HL7 v2.
    #[serde(default)]
    pub accept_text_plain: bool,
    /// The pages for people are served here.
    #[serde(default = "yes")]
    pub console: bool,
}

impl HttpListener {
    /// Who may use it; nobody without a token unless somebody said so.
    pub fn access(&self) -> HttpAccess {
        self.access.unwrap_or(HttpAccess::Tokens)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
    /// CAs of client certificates; given, a client without one is refused.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// One configured sending system.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub name: String,
    /// Folder under `mappings/inbound`; the source's own name if absent.
    #[serde(default)]
    pub dialect: Option<String>,
    /// MSH-3.1 and MSH-4.1 by which a shared listener knows it.
    #[serde(default)]
    pub application: Option<String>,
    #[serde(default)]
    pub facility: Option<String>,
    /// Client certificates with which it sends over MLLP; without any, whatever the listener takes.
    #[serde(default)]
    pub certificates: Vec<Fingerprint>,
    /// Networks from which it sends over MLLP; without any, from anywhere.
    #[serde(default)]
    pub networks: Vec<Network>,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default)]
    pub reply: ReplyMode,
    /// With `reply: result`, the answer waits at most this long for e-RS, then falls back to *stored*.
    #[serde(default = "reply_wait", with = "duration")]
    pub reply_wait: Duration,
    /// The connection that carries out its commands. See [`Source::connections`].
    #[serde(default)]
    pub connection: Option<String>,
    /// In its place: several, in order of preference.
    #[serde(default, rename = "connections")]
    pub several_connections: Vec<String>,
    /// The seeded session in which commands without an author run, where others are people's.
    #[serde(default)]
    pub shared_session: Option<String>,
    /// NHS user ids of its own users, by what its messages call them.
    #[serde(default)]
    pub users: BTreeMap<String, String>,
    /// Charset of messages with an empty MSH-18 that are not UTF-8 (WHATWG label).
    #[serde(default = "charset")]
    pub charset: String,
    #[serde(default)]
    pub undecodable_text: UndecodableText,
    /// IANA zone of times without an offset, when MSH-7 has none either.
    #[serde(default = "time_zone")]
    pub time_zone: String,
    /// MSH-11 that are taken; `T` and `D` never reach production.
    #[serde(default = "processing_ids")]
    pub processing_ids: Vec<String>,
    #[serde(default = "frame_bytes_max")]
    pub message_bytes_max: usize,
    #[serde(default)]
    pub same_control_id_other_content: ControlIdReuse,
    /// NHS numbers without a tracing status are taken.
    #[serde(default = "yes")]
    pub trust_untraced: bool,
    /// The sender's services are checked with A010 before A011.
    #[serde(default)]
    pub search_first: bool,
    /// A slot is chosen for a patient where a sender names a time span instead. The patient must then be told.
    #[serde(default)]
    pub book_by_wish: bool,
    /// Letters are watched until e-RS has scanned them.
    #[serde(default = "yes")]
    pub follow_scans: bool,
    /// MSH-13: messages are taken in the order of their numbers, none left out (sequence protocol).
    #[serde(default)]
    pub sequence_protocol: bool,
    /// All pieces of a message (DSC, MSH-14) must have come so long after the first.
    #[serde(default = "continuation_wait", with = "duration")]
    pub continuation_wait: Duration,
    /// The destination that gets the application answers which enhanced mode asks for (MSH-16), in place of the
    /// connection that a message came by.
    #[serde(default)]
    pub answers_to: Option<String>,
    /// Settings of the dialect, visible to mappings as `settings`.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Services that somebody has switched to a mode of their own: never from the file.
    #[serde(skip)]
    pub services: BTreeMap<String, Mode>,
}

impl Source {
    /// The mode of a command for these services: of several, the most careful; without any, the source's own.
    pub fn mode_for<S: AsRef<str>>(&self, services: &[S]) -> Mode {
        mode_for(self.mode, &self.services, services)
    }

    /// The connections that may carry out its commands, the preferred one first.
    pub fn connections(&self) -> impl Iterator<Item = &str> {
        self.connection.iter().chain(&self.several_connections).map(String::as_str)
    }

    /// What it is known by where one is enough: its pace, and what it looks like in a plan.
    pub fn first_connection(&self) -> &str {
        self.connections().next().unwrap_or_default()
    }

    /// The NHS user whom a message of this source means.
    pub fn user(&self, author: &str) -> Option<String> {
        let mapped = self.users.get(author).map(String::as_str);
        mapped.or(is_nhs_user(author).then_some(author)).map(str::to_owned)
    }

    /// `settings` of mappings: its own, and those of the gateway that concern them.
    pub fn seen_by_mappings(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut settings = self.settings.clone();
        settings.insert("trustUntraced".into(), self.trust_untraced.into());
        settings.insert("searchFirst".into(), self.search_first.into());
        settings.insert("followScans".into(), self.follow_scans.into());
        settings.insert("bookByWish".into(), self.book_by_wish.into());
        settings.insert("timeZone".into(), self.time_zone.as_str().into());
        settings
    }
}

/// The form of an NHS user id (UUID of CIS2, SDS user id): 12 digits.
pub fn is_nhs_user(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Live,
    /// Everything but the sending.
    Shadow,
    /// Messages are stored and acknowledged; their commands wait.
    Paused,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
            Self::Paused => "paused",
        }
    }
}

/// Of a command for these services, where `mode` is everybody's and `switched` what some services have instead. A pause of
/// the whole is for all.
pub fn mode_for<S: AsRef<str>>(mode: Mode, switched: &BTreeMap<String, Mode>, services: &[S]) -> Mode {
    if mode == Mode::Paused || services.is_empty() {
        return mode;
    }
    let any = |wanted: Mode| services.iter().any(|one| *switched.get(one.as_ref()).unwrap_or(&mode) == wanted);
    match () {
        () if any(Mode::Paused) => Mode::Paused,
        () if any(Mode::Shadow) => Mode::Shadow,
        () => Mode::Live,
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplyMode {
    #[default]
    Stored,
    Result,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UndecodableText {
    #[default]
    Refuse,
    Replace,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlIdReuse {
    /// AR 205
    #[default]
    Refuse,
    /// For senders known to reset their counter.
    Accept,
}

fn connections_max() -> usize {
    1_000
}
fn idle_timeout() -> Duration {
    Duration::from_secs(3_600)
}
fn frame_timeout() -> Duration {
    Duration::from_secs(60)
}
fn frame_bytes_max() -> usize {
    16 * 1024 * 1024
}
fn wait_max() -> Duration {
    Duration::from_secs(60)
}
fn reply_wait() -> Duration {
    Duration::from_secs(20)
}
fn continuation_wait() -> Duration {
    Duration::from_secs(600)
}
fn charset() -> String {
    "windows-1252".into()
}
fn time_zone() -> String {
    "Europe/London".into()
}
fn processing_ids() -> Vec<String> {
    vec!["P".into()]
}
fn yes() -> bool {
    true
}
