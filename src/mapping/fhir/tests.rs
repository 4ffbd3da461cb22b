//! Selectors over messages.
