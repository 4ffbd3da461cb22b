//! Hospital systems that the gateway sends HL7 v2 messages to.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{EnvironmentName, duration};

/// One receiving system, reached over MLLP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    pub name: String,
    /// `host:port`
    pub address: String,
    #[serde(default)]
    pub tls: Option<DestinationTls>,
    /// Without TLS to another machine: refused unless said by name.
    #[serde(default)]
    pub allow_plain: bool,
    /// For the connection, and for each answer.
    #[serde(default = "answer_timeout", with = "duration")]
    pub answer_timeout: Duration,
    #[serde(default)]
    pub acknowledgement: Acknowledgement,
    /// Sources whose events it is told.
    #[serde(default)]
    pub tells: Vec<String>,
    /// Put back into the settings after it was left out: it is told what happened meanwhile, not only what comes.
    #[serde(default)]
    pub catch_up: bool,
    /// Folder under `mappings/outbound`.
    #[serde(default = "dialect")]
    pub dialect: String,
    /// MSH-5 and MSH-6 of what it is told.
    #[serde(default)]
    pub application: Option<String>,
    #[serde(default)]
    pub facility: Option<String>,
    /// MSH-3 and MSH-4.
    #[serde(default = "sending_application")]
    pub sending_application: String,
    #[serde(default)]
    pub sending_facility: Option<String>,
    /// WHATWG label of a charset that HL7 table 0211 has a name for (MSH-18).
    #[serde(default = "charset")]
    pub charset: String,
    /// IANA zone that MSH-7 is written in.
    #[serde(default = "time_zone")]
    pub time_zone: String,
    /// MSH-11; see [`Destination::processing_id`].
    #[serde(default)]
    pub processing_id: Option<String>,
    /// Settings of the dialect, visible to mappings as `settings`.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl Destination {
    /// As one that is only told what concerns its own messages, with defaults for the rest.
    pub fn at(name: &str, address: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: address.to_owned(),
            tls: None,
            allow_plain: false,
            answer_timeout: answer_timeout(),
            acknowledgement: Acknowledgement::default(),
            tells: Vec::new(),
            catch_up: false,
            dialect: dialect(),
            application: None,
            facility: None,
            sending_application: sending_application(),
            sending_facility: None,
            charset: charset(),
            time_zone: time_zone(),
            processing_id: None,
            settings: serde_json::Map::new(),
        }
    }

    /// MSH-11. Only production is taken for production: a hospital system must not book test patients in.
    pub fn processing_id(&self, place: EnvironmentName) -> &str {
        match (&self.processing_id, place) {
            (Some(id), _) => id,
            (None, EnvironmentName::Production) => "P",
            (None, EnvironmentName::Simulator | EnvironmentName::Int) => "T",
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestinationTls {
    /// CAs of the receiver's certificate.
    pub ca: PathBuf,
    /// The name that the receiver's certificate must have; the host of the address if absent.
    #[serde(default)]
    pub server_name: Option<String>,
    /// A client certificate and its key, both or none.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    #[serde(default)]
    pub private_key: Option<PathBuf>,
}

/// What the receiver answers to a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acknowledgement {
    /// AA, AE or AR. An application answer of ours asks for a commit answer instead: acknowledgements are not
    /// acknowledged otherwise.
    #[default]
    Application,
    /// CA, CE or CR (enhanced mode).
    Commit,
    /// Nothing: what is written counts as delivered, and a broken connection may lose it.
    None,
}

fn dialect() -> String {
    "default".into()
}
fn sending_application() -> String {
    "ERS-GATEWAY".into()
}
fn charset() -> String {
    "utf-8".into()
}
fn time_zone() -> String {
    "Europe/London".into()
}
fn answer_timeout() -> Duration {
    Duration::from_secs(30)
}
