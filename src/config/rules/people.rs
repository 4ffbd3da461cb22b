//! Rules of people: each has a name of its own, and an identity provider is asked over TLS.

use std::collections::HashMap;

use super::{Broken, broken_rule, is_plain_name};
use crate::config::{Config, Groups, IdentityProvider};
use crate::environment::is_this_machine;

const BACK: &str = "/console/sign-in/back";

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
    if let Some(provider) = &config.identity_provider {
        broken_provider(provider, broken);
    }
}

fn broken_provider(provider: &IdentityProvider, broken: &mut Vec<Broken>) {
    let at = |name: &str| format!("identity_provider.{name}");
    let after = provider.post_logout_redirect_uri.iter().map(|uri| ("post_logout_redirect_uri", uri));
    for (name, url) in [("issuer", &provider.issuer), ("redirect_uri", &provider.redirect_uri)].into_iter().chain(after)
    {
        let is_safe = reqwest::Url::parse(url).is_ok_and(|url| {
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
            url.scheme() == "https" || url.scheme() == "http" && is_this_machine(host)
        });
        if !is_safe {
            broken.push(broken_rule(at(name), "must be an absolute address with https (http on this machine only)"));
        }
    }
    if !provider.redirect_uri.ends_with(BACK) {
        broken.push(broken_rule(at("redirect_uri"), format!("must end with {BACK}: browsers come back there")));
    }
    if !provider.scope.split(' ').any(|one| one == "openid") {
        broken.push(broken_rule(at("scope"), "must have openid among its words"));
    }
    let Groups { viewer, operator, administrator, .. } = &provider.groups;
    if [viewer, operator, administrator].iter().all(|groups| groups.is_empty()) {
        broken.push(broken_rule(
            at("groups"),
            "must name a group for viewer, operator or administrator: else nobody gets in",
        ));
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
    fn an_identity_provider_is_asked_over_tls_and_lets_somebody_in() {
        let keys = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut provider = json!({
                "issuer": "https://sso.trust.test", "client_id": "gateway", "client_secret": "s",
                "redirect_uri": "https://gateway.trust.test/console/sign-in/back", "groups": {"viewer": ["staff"]},
            });
            change(&mut provider);
            let mut config = Config::demonstration();
            config.identity_provider = Some(serde_json::from_value(provider).expect("a provider"));
            let mut broken = Vec::new();
            broken_in(&config, &mut broken);
            broken.into_iter().map(|broken| broken.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(&|_| {}), [""; 0]);
        assert_eq!(keys(&|one| one["issuer"] = "http://127.0.0.1:8080".into()), [""; 0]);
        for (name, value) in [
            ("issuer", json!("http://sso.trust.test")),
            ("issuer", json!("sso.trust.test")),
            ("redirect_uri", json!("https://gateway.trust.test/console")),
            ("post_logout_redirect_uri", json!("http://gateway.trust.test/console/sign-in")),
            ("redirect_uri", json!("http://gateway.trust.test/console/sign-in/back")),
            ("scope", json!("profile")),
            ("groups", json!({"content": ["staff"]})),
        ] {
            assert_eq!(keys(&|one| one[name] = value.clone()), [format!("identity_provider.{name}")], "{value}");
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
