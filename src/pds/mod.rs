//! The patient check: is the patient of a referral who the sender says, alive, and known by this number?
//!
//! Enters: what a message says of its patient. Leaves: a [`Finding`], or why there is none yet. Guarantees: the
//! record of the Personal Demographics Service is judged and forgotten; what is kept for minutes, and what goes
//! into rows and logs, is the finding alone. Rules: `docs/reference/pds/reference.md` section 8.

mod client;
mod judge;
mod names;
mod record;

pub use client::{Answered, Kept, PatientCheck};
pub use judge::{Claimed, Finding, Hold, Verdict};
