//! The e-RS client: tokens, requests, outcomes. Usable on its own; knows nothing of the gateway.
//!
//! Enters: a request and a connection. Leaves: the answer, classified. Guarantees: a token is never
//! logged; a request is never repeated here once its first byte may have left.

mod client;
mod error_body;
mod outcome;
mod professional_session;
mod refresh_token;
mod reqwest_transport;
pub mod retry_after;
mod sign_in;
mod signed_jwt;
#[cfg(test)]
pub mod specification;
mod token;
mod token_endpoint;
mod transport;
mod ways;

pub use client::{Client, Role, refuses};
pub use outcome::{Classified, OutcomeTable, OutcomeTableError, Verdict};
pub use refresh_token::{Session, SessionVault, VaultError};
pub use reqwest_transport::ReqwestTransport;
pub use sign_in::{Come, Door, IdClaims, SignInRefused, Sureness};
pub use signed_jwt::{PrivateKeyError, public_jwk};
pub use token::{AccessToken, TokenSource};
pub use token_endpoint::{TokenError, encode_form};
pub use transport::{Body, BodyStream, Request, Response, TakesDocument, Transport, TransportError};
pub use ways::Ways;
