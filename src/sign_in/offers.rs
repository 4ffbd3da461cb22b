//! What e-RS says that somebody is: organisations and business functions (A030), and for whom they may act (A040).

use serde_json::Value;

use super::person::Offer;
use crate::config::SignIn;

/// Who it is, and what they may choose.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub user: Option<String>,
    pub offers: Vec<Offer>,
}

/// From the result of `RetrieveBusinessFunctions`: FHIR PractitionerRoles.
pub(super) fn told(result: &Value) -> Told {
    let mut told = Told::default();
    for role in result["roles"].as_array().into_iter().flatten() {
        told.user = told.user.or_else(|| role["practitioner"]["identifier"]["value"].as_str().map(str::to_owned));
        let Some(organisation) = role["organization"]["identifier"]["value"].as_str() else { continue };
        let codings = role["code"].as_array().into_iter().flatten().flat_map(|code| code["coding"].as_array());
        let functions: Vec<String> =
            codings.flatten().filter_map(|coding| coding["code"].as_str().map(str::to_owned)).collect();
        match told.offers.iter_mut().find(|offer| offer.organisation == organisation) {
            Some(offer) => offer.business_functions.extend(functions),
            None => told.offers.push(Offer { organisation: organisation.to_owned(), business_functions: functions }),
        }
    }
    for offer in &mut told.offers {
        offer.business_functions.sort();
        offer.business_functions.dedup();
    }
    told
}

/// Of these what the connection is for.
pub(super) fn open_here(offers: Vec<Offer>, sign_in: &SignIn) -> Vec<Offer> {
    let is_open = |allowed: &[String], one: &String| allowed.is_empty() || allowed.contains(one);
    let here = offers.into_iter().filter(|offer| is_open(&sign_in.organisations, &offer.organisation));
    let open = here.map(|mut offer| {
        offer.business_functions.retain(|function| is_open(&sign_in.business_functions, function));
        offer
    });
    open.filter(|offer| !offer.business_functions.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn roles_at_one_organisation_are_one_offer() {
        let role = |organisation: &str, functions: &[&str]| {
            let codes: Vec<Value> = functions.iter().map(|code| json!({"coding": [{"code": code}]})).collect();
            json!({
                "practitioner": {"identifier": {"value": "555000000011"}},
                "organization": {"identifier": {"value": organisation}},
                "code": codes,
            })
        };
        let result = json!({"roles": [role("R69", &["B", "A"]), role("R68", &["A"]), role("R69", &["A", "C"])]});
        let told = told(&result);
        assert_eq!(told.user.as_deref(), Some("555000000011"));
        let shown: Vec<_> =
            told.offers.iter().map(|offer| (&*offer.organisation, &*offer.business_functions)).collect();
        let of = |functions: &[&str]| functions.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        assert_eq!(shown, [("R69", &*of(&["A", "B", "C"])), ("R68", &*of(&["A"]))]);
        assert_eq!(super::told(&json!({"roles": [{"code": 7}]})), Told::default());
    }
}
