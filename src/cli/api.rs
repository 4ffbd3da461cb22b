//! The HTTP API of a running gateway, as a client.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::Value;

use super::exit::CliError;
use crate::inbound::http::{ACTING_PERSON, ACTING_REASON};

/// Longer than any answer that is read as a whole.
const TIMEOUT: Duration = Duration::from_secs(60);

pub struct Api {
    client: Client,
    base: Url,
    /// Who looks, and why.
    said: HeaderMap,
}

impl Api {
    /// `token`: where the gateway asks for one.
    pub fn new(base: &str, token: Option<&str>) -> Result<Self, CliError> {
        let base = base.trim_end_matches('/');
        let base = Url::parse(&format!("{base}/"))
            .map_err(|error| CliError::Usage(format!("--api {base}: {error}; it is like http://127.0.0.1:8080")))?;
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .default_headers(authorization(token)?)
            .build()
            .map_err(|error| CliError::unavailable("the HTTP client", error))?;
        Ok(Self { client, base, said: HeaderMap::new() })
    }

    /// Whatever is shown from here on is shown to this person.
    pub fn says(&mut self, by: &str, why: Option<&str>) -> Result<(), CliError> {
        let texts = [(ACTING_PERSON, Some(by)), (ACTING_REASON, why)];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text?))) {
            let value = HeaderValue::from_bytes(text.as_bytes())
                .map_err(|_| CliError::Usage("--by and --why are text on one line".into()))?;
            self.said.insert(name, value);
        }
        Ok(())
    }

    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, CliError> {
        let request = self.client.get(self.address(path)?).headers(self.said.clone()).query(query).timeout(TIMEOUT);
        self.json(request).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        let request = self.client.request(Method::POST, self.address(path)?).json(body).timeout(TIMEOUT);
        self.json(request).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        let request = self.client.request(Method::PUT, self.address(path)?).json(body).timeout(TIMEOUT);
        self.json(request).await
    }

    /// A file that the answer is about; by whom, as for [`Self::get`].
    pub async fn post_text(&self, path: &str, text: String) -> Result<Value, CliError> {
        let request = self.client.post(self.address(path)?).headers(self.said.clone()).body(text).timeout(TIMEOUT);
        self.json(request).await
    }

    /// A question whose body is kept out of addresses; by whom, as for [`Self::get`].
    pub async fn post_as_said(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        let request = self.client.post(self.address(path)?).headers(self.said.clone()).json(body).timeout(TIMEOUT);
        self.json(request).await
    }

    /// A stream of server-sent events.
    pub async fn follow(&self, path: &str, query: &[(&str, String)]) -> Result<Response, CliError> {
        let request = self.client.get(self.address(path)?).headers(self.said.clone()).query(query);
        let request = request.header(ACCEPT, "text/event-stream");
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    fn address(&self, path: &str) -> Result<Url, CliError> {
        self.base.join(path).map_err(|error| CliError::Usage(format!("{path}: {error}")))
    }

    async fn json(&self, request: reqwest::RequestBuilder) -> Result<Value, CliError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        response.json().await.map_err(|error| CliError::unavailable("the gateway's answer", error))
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let cause = std::iter::successors(std::error::Error::source(error), |cause| cause.source()).last();
        let cause = cause.map_or_else(|| error.to_string(), ToString::to_string);
        CliError::Unavailable(format!(
            "no gateway answers at {}: {cause}; name one with --api, or a stopped one's file with --store",
            self.base
        ))
    }
}

fn authorization(token: Option<&str>) -> Result<HeaderMap, CliError> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let shown = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut shown = shown.map_err(|_| CliError::Usage("ERS_GATEWAY_TOKEN is no token".into()))?;
        shown.set_sensitive(true);
        headers.insert(AUTHORIZATION, shown);
    }
    Ok(headers)
}

/// Problem documents (RFC 9457) say in `detail` what to do.
async fn refusal(response: Response) -> CliError {
    let status = response.status();
    let problem: Value = response.json().await.unwrap_or_default();
    let text = match (problem["title"].as_str(), problem["detail"].as_str()) {
        (Some(title), Some(detail)) => format!("{title}: {detail}"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        (None, None) => format!("the gateway answered {status}"),
    };
    match status {
        StatusCode::NOT_FOUND => CliError::NotFound(text),
        status if status.is_server_error() => CliError::Unavailable(text),
        _ => CliError::No(text),
    }
}
