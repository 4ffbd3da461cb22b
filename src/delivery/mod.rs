//! Carries commands out: claim ▸ resolve ▸ authorise ▸ plan ▸ pace ▸ call ▸ classify ▸ record.
//!
//! Enters: commands that the store says are due. Leaves: e-RS calls, and what became of each command.
//! Guarantees: "about to send" is committed before each write leaves, its result before the next call
//! begins; a write whose outcome is unknown is never sent again from here, and none is sent by who may have
//! lost its lease; one failing command, e-RS or store holds nobody else up for longer than it must.
//!
//! A file a subject, in the order in which a command meets them: [`engine`] claims; [`run`] resolves and
//! walks the plan; [`acting`] says in whose name; [`attempt`] makes one call, with [`pace`], [`breaker`], [`letter`] and [`kept`]; [`answer`] takes in
//! what came back; [`rest`] says how a run ends; [`ledger`] commits, and knows of the [`lease`].
//! [`estimate`] says when what waits will be sent.

mod acting;
mod answer;
mod asking;
mod attempt;
mod backoff;
mod base64_text;
mod breaker;
mod compare;
mod doubts;
mod engine;
mod estimate;
mod follow;
mod keeping;
mod kept;
mod lease;
mod ledger;
mod letter;
mod metrics;
mod pace;
mod patient;
mod plan_record;
mod rest;
mod run;
mod sets;
mod settle;
mod shared_reads;
#[cfg(test)]
mod tests;

pub use asking::{Asker, PatientHold};
pub use engine::{Delivery, DeliveryParts, Hands, SetUpError, Sources};
pub use estimate::Estimator;
pub use metrics::DeliveryMetrics;
pub use plan_record::PlanRecord;
