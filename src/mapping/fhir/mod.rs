//! FHIR R4 in JSON as mappings see it: resources, the references between them, and selectors over both.
//!
//! Enters: the text of one resource, or of a Bundle of type message or transaction. Leaves: the values that selectors
//! ask for, with their places as FHIRPath. Guarantees: nothing outside of the message is looked at; depth, entries
//! and work are limited; no value of the message stands in a problem's text.

mod coverage;
mod document;
mod json;
mod selector;

pub use coverage::{Elements, IgnoredElement};
pub use document::{FhirDocument, Node};
pub use json::{Json, JsonError};
pub use selector::{FhirSelector, Took};

#[cfg(test)]
mod tests;
