//! The e-RS client: tokens, requests, outcomes. Usable on its own; knows nothing of the gateway.
//!
//! Enters: a request and a connection. Leaves: the answer, classified. Guarantees: a token is never
//! logged; a request is never repeated here once its first byte may have left.

mod transport;

pub use transport::{Body, BodyStream, Request, Response, Transport, TransportError};
