//! What the endpoints read from a request: its body within a limit, headers, query.

use std::str::FromStr;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap};
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::problem::ProblemDocument;
use crate::command::NhsNumber;
use crate::inbound::content_type::ContentType;

/// From the end of the head to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a body was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyError {
    TooLarge { limit: usize },
    TooSlow,
    Broken,
}

impl From<BodyError> for ProblemDocument {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => Self::too_large(limit),
            BodyError::TooSlow => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "too-slow",
                "The body came too slowly",
                format!("It has to be complete within {} seconds.", BODY_TIMEOUT.as_secs()),
            ),
            BodyError::Broken => Self::bad_request("The body ended before it was complete."),
        }
    }
}

/// Reads at most `limit` bytes; a larger `Content-Length` is refused before anything is read.
pub async fn read_body(request: &HttpRequest, mut payload: web::Payload, limit: usize) -> Result<Bytes, BodyError> {
    let announced = header(request.headers(), CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > limit) {
        return Err(BodyError::TooLarge { limit });
    }
    let read = async {
        let mut body = BytesMut::with_capacity(announced.unwrap_or(0).min(64 * 1024));
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| BodyError::Broken)?;
            if body.len() + chunk.len() > limit {
                return Err(BodyError::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(BODY_TIMEOUT, read).await.unwrap_or(Err(BodyError::TooSlow))
}

/// The first value of a header, if it is text.
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

pub fn content_type(request: &HttpRequest) -> Option<ContentType> {
    header(request.headers(), "content-type").and_then(ContentType::parse)
}

/// An identifier in the path.
pub fn id<T: FromStr>(text: &str) -> Result<T, ProblemDocument> {
    text.parse().map_err(|_| ProblemDocument::not_found("The identifier in the path is not a UUID."))
}

/// An NHS number, as a body gives it. It is not repeated.
pub fn nhs_number(text: &str) -> Result<NhsNumber, ProblemDocument> {
    NhsNumber::parse(text.trim())
        .map_err(|_| ProblemDocument::bad_request("An nhsNumber has ten digits with a valid check digit."))
}

/// The query as `T`; names that `T` does not know are refused. What was sent is not repeated: a name in the
/// wrong place may be a patient's.
pub fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, ProblemDocument> {
    web::Query::<T>::from_query(request.query_string()).map(web::Query::into_inner).map_err(|error| {
        let error = error.to_string();
        let expected = error.rsplit_once(", expected ").map(|(_, expected)| format!(": expected {expected}"));
        let expected = expected.unwrap_or_default();
        ProblemDocument::bad_request(format!("The query has a name or a value that is not taken here{expected}."))
    })
}
