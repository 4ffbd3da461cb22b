//! What gateways that share a store tell each other: who is alive, which mapping set all use, who has a duty.
//!
//! Enters: the store, and what this instance holds. Leaves: signs of life, metrics, the newest mapping set taken up.
//! Guarantees: a duty (publishing, purging) is had by one instance at a time as long as clocks run, and by another
//! within seconds when its instance dies; instances that were started with different mapping files end up with the
//! same set, the newest, and who cannot use that says so.

mod beats;
mod changes;
mod duty;
mod sets;

pub use beats::{Beats, BeatsParts};
pub use changes::note_settings;
pub use duty::{Duty, Held};
pub use sets::{Mappings, SetError};
