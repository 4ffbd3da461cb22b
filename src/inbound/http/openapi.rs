//! `/openapi.json`: the description of this API, as it is in `schemas/openapi.json`; `/asyncapi.json`: that of the events.

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_TYPE;

pub const DOCUMENT: &str = include_str!("../../../schemas/openapi.json");

pub async fn get() -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/json")).body(DOCUMENT)
}

pub async fn asyncapi() -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/json")).body(crate::events::asyncapi::document())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::inbound::http::routes::ROUTES;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).expect("schemas/openapi.json is JSON")
    }

    #[test]
    fn every_route_is_described_and_every_description_has_a_route() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths is an object");
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().expect("a path is an object").keys().map(|method| (method.clone(), path.clone()))
            })
            .collect();
        let served = ROUTES.iter().map(|(method, path, ..)| ((*method).to_owned(), (*path).to_owned())).collect();
        assert_eq!(described, served);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(entries) => entries.iter().for_each(|entry| references(entry, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("all references stay in the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_parameter_in_a_path_is_described() {
        let document = document();
        for (_, path, ..) in ROUTES {
            for (method, operation) in document["paths"][path].as_object().expect("described") {
                for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                    let parameters = operation["parameters"].as_array().unwrap_or_else(|| panic!("{method} {path}"));
                    assert!(parameters.iter().any(|p| p["name"] == part && p["in"] == "path"), "{method} {path}");
                }
            }
        }
    }
}
