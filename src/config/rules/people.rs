//! Rules of people: each has a name of its own.

use std::collections::HashMap;

use super::{Broken, broken_rule, is_plain_name};
use crate::config::Config;

pub(super) fn broken_in(config: &Config, broken: &mut Vec<Broken>) {
    let mut names = HashMap::new();
    for (index, person) in config.people.iter().enumerate() {
        let key = format!("people[{index}].name");
        if !is_plain_name(&person.name) {
            broken.push(broken_rule(key, "must be 1 to 64 letters, digits, '-', '_' or '.'"));
        } else if let Some(first) = names.insert(&person.name, index) {
            broken.push(broken_rule(key, format!("is already the name of people[{first}]")));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Person;

    const DIGEST: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";

    fn person(name: &str, password: &str) -> Result<Person, serde_json::Error> {
        serde_json::from_value(json!({"name": name, "password": password, "role": "viewer"}))
    }

    #[test]
    fn a_person_has_a_name_of_its_own() {
        for (names, keys) in [
            (&["jo.bloggs", "sam"][..], &[][..]),
            (&["jo.bloggs", "jo.bloggs"], &["people[1].name"]),
            (&["Jo Bloggs"], &["people[0].name"]),
        ] {
            let mut config = Config::demonstration();
            config.people = names.iter().map(|name| person(name, DIGEST).expect("a person")).collect();
            let mut broken = Vec::new();
            broken_in(&config, &mut broken);
            assert_eq!(broken.into_iter().map(|broken| broken.key).collect::<Vec<_>>(), keys, "{names:?}");
        }
    }

    #[test]
    fn no_password_stands_in_the_settings_in_clear() {
        assert!(person("jo", DIGEST).is_ok());
        for wrong in [
            "secret",
            "",
            "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0",
        ] {
            let error = person("jo", wrong).expect_err(wrong).to_string();
            assert!(error.contains("people make") && (wrong.is_empty() || !error.contains(wrong)), "{error}");
        }
        assert!(!format!("{:?}", person("jo", DIGEST)).contains("argon2id"));
    }
}
