//! HL7 over HTTP, and canonical commands.

use std::path::Path;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use serde_json::Value;

use super::super::exit::CliError;
use super::acknowledgement::{self, Verdict};

pub struct Connection {
    client: Client,
    address: Url,
}

impl Connection {
    /// An address without a path is that of a gateway: `/v1/hl7v2`.
    pub fn new(to: &str, timeout: Duration) -> Result<Self, CliError> {
        let mut address = Url::parse(to).map_err(|error| CliError::Usage(format!("--to {to}: {error}")))?;
        if address.path() == "/" {
            address.set_path("/v1/hl7v2");
        }
        let client = Client::builder()
            .timeout(timeout)
            .build()
            .map_err(|error| CliError::unavailable("the HTTP client", error))?;
        Ok(Self { client, address })
    }

    pub async fn send(&self, path: &Path, content: &[u8]) -> Result<Verdict, CliError> {
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        // Without a charset parameter MSH-18 decides, as on MLLP.
        let media_type = if is_json { "application/json" } else { "application/hl7-v2" };
        let response = self
            .client
            .post(self.address.clone())
            .header(CONTENT_TYPE, media_type)
            .body(content.to_vec())
            .send()
            .await
            .map_err(|error| CliError::unavailable(&self.address, error))?;
        let status = response.status();
        let answered_in_hl7 = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|media_type| media_type.contains("hl7-v2"));
        let body = response.bytes().await.map_err(|error| CliError::unavailable("the answer", error))?;
        if answered_in_hl7 {
            return Ok(acknowledgement::read(&body));
        }
        if body.is_empty() && status.is_success() {
            return Ok(Verdict::silence());
        }
        Ok(Verdict {
            accepted: status.is_success(),
            code: format!("HTTP {}", status.as_u16()),
            control_id: String::new(),
            errors: problems(&body),
            words: format!("HTTP {status}: {}", String::from_utf8_lossy(&body).trim()),
        })
    }
}

/// The problems of a problem document (RFC 9457).
fn problems(body: &[u8]) -> Vec<String> {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let problems = document["problems"].as_array().into_iter().flatten();
    problems
        .map(|problem| {
            format!("{}: {}", problem["location"].as_str().unwrap_or("–"), problem["text"].as_str().unwrap_or("–"))
        })
        .collect()
}
