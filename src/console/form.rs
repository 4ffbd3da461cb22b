//! Forms as browsers send them, within a limit of size and of time.

use actix_web::{FromRequest, HttpRequest, dev, web};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

use super::page::Trouble;
use crate::inbound::http::problem::ProblemDocument;
use crate::inbound::http::request::read_body;

/// Some thousands of identifiers.
const FORM_BYTES_MAX: usize = 256 * 1024;

/// What `application/x-www-form-urlencoded` says, as a value. What was sent is never repeated.
pub struct Form<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Form<T> {
    type Error = Trouble;
    type Future = LocalBoxFuture<'static, Result<Self, Trouble>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), web::Payload::from_request(request, payload));
        async move {
            let unreadable = || Trouble::from(ProblemDocument::bad_request("This form cannot be read: try again."));
            let payload = payload.await.map_err(|_| unreadable())?;
            let bytes = read_body(&request, payload, FORM_BYTES_MAX).await.map_err(ProblemDocument::from)?;
            serde_urlencoded::from_bytes(&bytes).map(Self).map_err(|_| unreadable())
        }
        .boxed_local()
    }
}
