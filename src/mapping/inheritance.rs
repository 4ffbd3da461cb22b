//! What a dialect extends, for inbound and outbound alike.
//!
//! Enters: dialects as their own folders say them. Leaves: the chain of one. Guarantees: it ends; a dialect that is not
//! there, and a circle, are told at the `dialect.yaml` of whose chain it is.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostics, Place, did_you_mean};

/// How often a dialect may extend another that extends another.
const INHERITANCE_MAX: usize = 8;

/// A dialect as its own folder says it.
pub(super) trait Extends {
    /// The name of the one that it inherits from.
    fn extends(&self) -> Option<&str>;
}

/// The dialect and those that it extends, nearest first. `room`: `inbound` or `outbound`.
pub(super) fn chain<'o, T: Extends>(
    room: &str,
    name: &str,
    own: &'o BTreeMap<&str, T>,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<&'o T>> {
    let file = format!("{room}/{name}/dialect.yaml");
    let mut links = Vec::new();
    let mut next = Some(name);
    while let Some(wanted) = next {
        let Some(link) = own.get(wanted) else {
            let hint = did_you_mean(wanted, own.keys().copied());
            diagnostics.report_with_hint(&file, Place::default(), format!("there is no dialect {wanted}"), hint);
            return None;
        };
        links.push(link);
        if links.len() > INHERITANCE_MAX {
            diagnostics.report(&file, Place::default(), "dialects extend each other in a circle, or too deeply");
            return None;
        }
        next = link.extends();
    }
    Some(links)
}
