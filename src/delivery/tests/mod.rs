//! Delivery end to end, with the real store, the shipped mappings and a stand-in for e-RS or its simulator.

mod acting;
mod advice;
mod appointments;
mod attachments;
mod breadth;
mod changes;
mod decisions;
mod deferrals;
mod doubt;
mod fake_ers;
mod halting_store;
mod lease;
mod order;
mod patience;
mod patients;
mod professional;
mod quota;
mod scans;
mod sending;
mod sessions;
mod settling;
mod watching;
mod wishes;
mod world;
