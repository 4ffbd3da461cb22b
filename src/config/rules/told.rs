//! Rules of what a destination is told, and how its messages are written.

use super::{Broken, broken_rule, is_plain_name, source_exists};
use crate::config::problem::did_you_mean;
use crate::config::{Config, Destination};
use crate::hl7::OwnCharset;

/// The field separator and the others of HL7: a name with one of them would be read as several.
const SEPARATORS: [char; 7] = ['|', '^', '~', '\\', '&', '\r', '\n'];

pub(super) fn broken_in(config: &Config, index: usize, destination: &Destination, broken: &mut Vec<Broken>) {
    let key = |field: &str| format!("destinations[{index}].{field}");
    sources(config, &key, &destination.tells, broken);
    if !is_plain_name(&destination.dialect) {
        broken.push(broken_rule(key("dialect"), "must be the name of a folder under mappings/outbound"));
    }
    if OwnCharset::labelled(&destination.charset).is_none() {
        let known = OwnCharset::labels().collect::<Vec<_>>();
        broken.push(Broken {
            hint: did_you_mean(&destination.charset, known.iter().copied()),
            ..broken_rule(key("charset"), format!("must have a name in HL7 table 0211: one of {}", known.join(", ")))
        });
    }
    if jiff::tz::TimeZone::get(&destination.time_zone).is_err() {
        broken.push(broken_rule(key("time_zone"), "is not a known time zone, such as Europe/London"));
    }
    for (field, name) in [
        ("application", destination.application.as_deref()),
        ("facility", destination.facility.as_deref()),
        ("sending_application", Some(destination.sending_application.as_str())),
        ("sending_facility", destination.sending_facility.as_deref()),
    ] {
        if name.is_some_and(|name| name.is_empty() || name.contains(SEPARATORS)) {
            broken.push(broken_rule(key(field), "must be a name without | ^ ~ \\ & or line ends"));
        }
    }
    match destination.processing_id.as_deref() {
        None | Some("P" | "T" | "D") => {}
        Some(_) => broken.push(broken_rule(key("processing_id"), "must be P, T or D (HL7 table 0103)")),
    }
}

/// Sources and watches whose events are told, each once.
pub(super) fn sources(config: &Config, key: &dyn Fn(&str) -> String, tells: &[String], broken: &mut Vec<Broken>) {
    for (number, source) in tells.iter().enumerate() {
        if !config.watches.iter().any(|watch| watch.name == *source) {
            source_exists(config, key(&format!("tells[{number}]")), source, broken);
        }
        if tells[..number].contains(source) {
            broken.push(broken_rule(key(&format!("tells[{number}]")), format!("\"{source}\" stands there already")));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::EnvironmentName;

    fn broken_with(key: &str, value: Value) -> Vec<String> {
        let mut destination = json!({"name": "pas", "address": "127.0.0.1:2575"});
        destination[key] = value;
        let mut config = Config::demonstration();
        config.destinations.push(serde_json::from_value(destination).expect("settings"));
        super::super::broken(&config).into_iter().map(|broken| broken.key).collect()
    }

    #[test]
    fn what_could_not_be_sent_is_told_with_its_key() {
        for (key, value, broken) in [
            ("tells", json!(["northmoor", "eastvale"]), ""),
            ("tells", json!(["northmor"]), "tells[0]"),
            ("tells", json!(["northmoor", "northmoor"]), "tells[1]"),
            ("dialect", json!("../inbound"), "dialect"),
            ("charset", json!("ISO-8859-15"), ""),
            ("charset", json!("windows-1252"), "charset"),
            ("charset", json!("utf-16"), "charset"),
            ("time_zone", json!("Europe/Cardiff"), "time_zone"),
            ("application", json!("PAS"), ""),
            ("application", json!("PAS^1"), "application"),
            ("facility", json!(""), "facility"),
            ("sending_application", json!("ERS|GW"), "sending_application"),
            ("sending_facility", json!("R&X"), "sending_facility"),
            ("processing_id", json!("T"), ""),
            ("processing_id", json!("X"), "processing_id"),
        ] {
            let expected = if broken.is_empty() { vec![] } else { vec![format!("destinations[0].{broken}")] };
            assert_eq!(broken_with(key, value.clone()), expected, "{key}: {value}");
        }
    }

    #[test]
    fn only_production_is_told_as_production() {
        let mut destination = Destination::at("pas", "127.0.0.1:2575");
        for (place, id) in
            [(EnvironmentName::Simulator, "T"), (EnvironmentName::Int, "T"), (EnvironmentName::Production, "P")]
        {
            assert_eq!(destination.processing_id(place), id, "{place:?}");
        }
        destination.processing_id = Some("D".into());
        assert_eq!(destination.processing_id(EnvironmentName::Production), "D");
    }
}
