//! **ers-gateway** translates local HL7 v2, FHIR and queue messages to the NHS e-Referral Service.
//!
//! The house, in the order in which a message passes it:
//!
//! | Room | Enters | Leaves |
//! |---|---|---|
//! | [`inbound`] | bytes from MLLP, HTTP, AMQP | raw messages; answers go back out |
//! | [`intake`] | a raw message | one durable commit, then the answer |
//! | [`command`] | JSON | canonical commands and their states |
//! | [`mapping`] | messages, commands | commands, calls |
//! | [`store`] | intentions | rows on disk, and the proof of it |
//! | [`delivery`] | claimed commands | e-RS calls, outcomes |
//! | [`sign_in`] | people's sign-ins | who is here, and clients that act in their name |
//! | [`waiting`] | who asks | what waits for whom, and confirmed commands |
//! | [`ers`] | calls | answers of e-RS |
//! | [`events`] | the outbox | AMQP, the feed |
//! | [`outbound`] | answers that are owed, events | HL7 v2 messages to hospital systems, and what became of them |
//! | [`instances`] | signs of life | duties, one mapping set for all |
//! | [`modes`] | who switches what, from when on | sources, connections and destinations as they are now |
//! | [`problems`] | what is grouped by its cause | what it means, who can mend it, what to do |
//! | [`trials`] | messages of the store | what their mapping made of which field, what other mappings would make of them |
//! | [`replays`] | what a person decides about many | each carried out once, at a share of the quota |
//! | [`reports`] | a day | what was received put against what became of it |
//! | [`retention`] | ages | a store without what is finished and old |
//!
//! [`hl7`], [`amqp`], [`metrics`] and [`tls`] are beneath; [`keys`], [`given`], [`config`], [`telemetry`], [`cli`] and [`simulator`] stand beside.

#![forbid(unsafe_code)]

pub mod amqp;
mod backoff;
pub mod cli;
pub mod command;
pub mod config;
pub mod console;
pub mod delivery;
pub mod encryption;
pub mod environment;
pub mod ers;
pub mod events;
pub mod gateway;
pub mod given;
pub mod hl7;
pub mod inbound;
pub mod instances;
pub mod intake;
pub mod keys;
pub mod mapping;
pub mod metrics;
pub mod modes;
pub mod outbound;
pub mod patients;
pub mod pds;
pub mod problems;
pub mod replays;
pub mod reports;
pub mod retention;
pub mod sign_in;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod trials;
pub mod waiting;
