//! Hospital systems that the gateway sends HL7 v2 messages to.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::duration;

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

fn answer_timeout() -> Duration {
    Duration::from_secs(30)
}
