//! Rules of tokens: whose they are, what they open, and that no address is left without them by oversight.

use std::collections::HashMap;

use super::{Broken, broken_rule, is_plain_name, source_exists};
use crate::config::{Config, Listener, Role};

pub(super) fn broken_in(config: &Config, broken: &mut Vec<Broken>) {
    let (mut names, mut digests) = (HashMap::new(), HashMap::new());
    for (index, token) in config.tokens.iter().enumerate() {
        let key = |field: &str| format!("tokens[{index}].{field}");
        if !is_plain_name(&token.name) {
            broken.push(broken_rule(key("name"), "must be 1 to 64 letters, digits, '-', '_' or '.'"));
        } else if let Some(first) = names.insert(&token.name, index) {
            broken.push(broken_rule(key("name"), format!("is already the name of tokens[{first}]")));
        }
        if let Some(first) = digests.insert(token.sha256, index) {
            let text = format!("is that of tokens[{first}]: each program has a token of its own");
            broken.push(broken_rule(key("sha256"), text));
        }
        for (number, source) in token.sources.iter().enumerate() {
            source_exists(config, format!("{}[{number}]", key("sources")), source, broken);
        }
        match token.role {
            Role::Sender if token.sources.is_empty() => {
                broken.push(broken_rule(key("sources"), "must name the sources as which it may send"));
            }
            Role::Monitor | Role::Viewer | Role::Operator if !token.sources.is_empty() => {
                broken.push(broken_rule(key("sources"), "is for role: sender; the others see every source"));
            }
            _ => {}
        }
        if token.content && matches!(token.role, Role::Sender | Role::Monitor) {
            let text = "is for viewer and operator; a sender sees what became of its own, a monitor only metrics";
            broken.push(broken_rule(key("content"), text));
        }
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        let Listener::Http(http) = listener else { continue };
        let is_known_otherwise = http.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let knows_nobody = config.tokens.is_empty() && config.people.is_empty();
        if http.access.is_none() && knows_nobody && !http.listen.ip().is_loopback() && !is_known_otherwise {
            broken.push(Broken {
                hint: Some("access: open takes it as it is, for a network where everybody may do everything".into()),
                ..broken_rule(
                    format!("listeners[{index}].access"),
                    "whoever reaches this address could read and replay messages: make tokens, or ask for client certificates",
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::HttpListener;

    fn broken_after(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::demonstration();
        change(&mut config);
        let mut broken = Vec::new();
        broken_in(&config, &mut broken);
        broken.into_iter().map(|broken| broken.key).collect()
    }

    fn token(more: serde_json::Value) -> crate::config::Token {
        let mut token = json!({"name": "epr", "sha256": "a5".repeat(32), "role": "viewer"});
        token.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::from_value(token).expect("a token")
    }

    #[test]
    fn a_token_has_a_name_and_a_secret_of_its_own_and_says_what_its_role_needs() {
        for (more, key) in [
            (json!({}), None),
            (json!({"role": "sender", "sources": ["northmoor"]}), None),
            (json!({"role": "operator", "content": true}), None),
            (json!({"name": "two words"}), Some("tokens[0].name")),
            (json!({"role": "sender"}), Some("tokens[0].sources")),
            (json!({"role": "sender", "sources": ["nowhere"]}), Some("tokens[0].sources[0]")),
            (json!({"sources": ["northmoor"]}), Some("tokens[0].sources")),
            (json!({"role": "monitor", "content": true}), Some("tokens[0].content")),
        ] {
            let keys = broken_after(|config| config.tokens = vec![token(more.clone())]);
            assert_eq!(keys, key.into_iter().collect::<Vec<_>>(), "{more}");
        }
        let twice = broken_after(|config| config.tokens = vec![token(json!({})), token(json!({}))]);
        assert_eq!(twice, ["tokens[1].name", "tokens[1].sha256"]);
    }

    #[test]
    fn an_address_that_others_reach_is_open_only_where_somebody_says_so() {
        for (more, tokens, is_broken) in [
            (json!({"listen": "0.0.0.0:8080"}), false, true),
            (json!({"listen": "127.0.0.1:8080"}), false, false),
            (json!({"listen": "0.0.0.0:8080"}), true, false),
            (json!({"listen": "0.0.0.0:8080", "access": "open"}), false, false),
            (json!({"listen": "0.0.0.0:8080", "access": "tokens"}), false, false),
            (json!({"listen": "0.0.0.0:8080", "tls": {"certificate": "c", "private_key": "k"}}), false, true),
            (
                json!({"listen": "0.0.0.0:8080", "tls": {"certificate": "c", "private_key": "k", "client_ca": "a"}}),
                false,
                false,
            ),
        ] {
            let keys = broken_after(|config| {
                let http: HttpListener = serde_json::from_value(more.clone()).expect("a listener");
                config.listeners = vec![Listener::Http(http)];
                config.tokens = if tokens { vec![token(json!({}))] } else { Vec::new() };
            });
            assert_eq!(!keys.is_empty(), is_broken, "{more}: {keys:?}");
        }
    }
}
