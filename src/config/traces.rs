//! Where traces of messages go, if anywhere (OpenTelemetry protocol).

use secrecy::SecretString;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// OTLP over HTTP with protobuf: `http://127.0.0.1:4318/v1/traces`
    pub endpoint: String,
    /// Sent along, such as `authorization`.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretString>,
    /// Of all messages, this share; which ones is the same on every instance.
    #[serde(default = "all")]
    pub share: f64,
}

fn all() -> f64 {
    1.0
}
