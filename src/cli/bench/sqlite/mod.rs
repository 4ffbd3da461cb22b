//! What is known of SQLite's files past the store: rows written quickly, and the yardstick.

pub mod bare_loop;
pub(super) mod rows;
