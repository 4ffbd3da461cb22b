//! The HTTP listener, over real sockets.

mod access;
mod audit;
mod commands;
mod events;
mod fuzz;
mod hl7v2;
mod limits;
mod messages;
mod patients;
pub mod people;
mod tls;
mod watching;
