//! The wire under the client, behind a trait so that a test can stand in for the network.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

pub type BodyStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

pub enum Body {
    Empty,
    Bytes(Bytes),
    /// Sent as it is read; its length is known.
    Stream {
        length: u64,
        stream: BodyStream,
    },
}

pub struct Request {
    pub method: String,
    /// Absolute.
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Body,
    /// From the first byte sent to the last byte of the answer.
    pub timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Nothing of the request left this machine: safe to try again.
    #[error("could not connect to e-RS: {0}")]
    NotSent(String),
    /// The request may have arrived: a write is in doubt.
    #[error("no answer from e-RS: {0}")]
    Unanswered(String),
}

/// Takes a document as it comes, so that it is never whole in memory.
#[async_trait]
pub trait TakesDocument: Send {
    /// Whether an answer with this status and type is one.
    fn wants(&self, status: u16, content_type: Option<&str>) -> bool;
    /// An error ends the exchange.
    async fn take(&mut self, bytes: Bytes) -> Result<(), TransportError>;
}

/// Sends one request once. No retries, no redirects.
#[async_trait]
pub trait Transport: Send + Sync {
    async fn send(&self, request: Request) -> Result<Response, TransportError>;

    /// The same, but that a document goes to who takes it; the body is empty then.
    async fn send_and_keep(&self, request: Request, taker: &mut dyn TakesDocument) -> Result<Response, TransportError> {
        let mut response = self.send(request).await?;
        if taker.wants(response.status, response.header("content-type")) {
            taker.take(std::mem::take(&mut response.body)).await?;
        }
        Ok(response)
    }
}
