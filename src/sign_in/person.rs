//! Somebody who is signed in: what the store keeps of it, sealed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ers::Role;

/// What may be chosen at one organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// ODS code.
    pub organisation: String,
    pub business_functions: Vec<String>,
}

/// One person's session at one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    pub connection: String,
    /// NHS user id, as e-RS says it.
    pub user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of this sign-in: another has another.
    pub sign_in: Uuid,
    pub since: Timestamp,
    /// Refreshing does not prolong it.
    pub until: Timestamp,
    pub offers: Vec<Offer>,
    /// As whom they act. Nothing is done in their name before it is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// The function that acts for clinicians, who are to be chosen as well.
pub(super) const ACTS_FOR_OTHERS: &str = "SERVICE_PROVIDER_CLINICIAN_ADMIN";

impl Person {
    pub fn is_here(&self, now: Timestamp) -> bool {
        now < self.until
    }

    pub fn offers(&self, organisation: &str, business_function: &str) -> bool {
        let mut here = self.offers.iter().filter(|offer| offer.organisation == organisation);
        here.any(|offer| offer.business_functions.iter().any(|function| function == business_function))
    }

    /// The only role that there is to choose, where there is only one and it needs nobody else.
    pub(super) fn only_role(&self) -> Option<Role> {
        match &self.offers[..] {
            [Offer { organisation, business_functions }] => match &business_functions[..] {
                [function] if function != ACTS_FOR_OTHERS => Some(Role {
                    organisation: organisation.clone(),
                    business_function: function.clone(),
                    on_behalf_of: None,
                }),
                _ => None,
            },
            _ => None,
        }
    }
}
