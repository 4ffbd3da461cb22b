//! The HTTP listener, over real sockets.

mod access;
mod audit;
mod commands;
mod events;
mod hl7v2;
mod limits;
mod messages;
pub mod people;
mod tls;
mod watching;
