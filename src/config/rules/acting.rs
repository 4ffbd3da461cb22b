//! Who acts: the connections of a source, whose sessions they have, and where people sign in.

use std::collections::HashSet;

use super::{BUSINESS_FUNCTIONS, Broken, broken_rule};
use crate::config::problem::did_you_mean;
use crate::config::{Access, Config, EnvironmentName, ProfessionalSession, SignIn, Source, is_nhs_user};

pub(super) const NHS_USER: &str = "is an NHS user id: 12 digits";
/// Where a browser comes back to; the gateway answers there.
const CALLBACK: &str = "/v1/sign-in/callback";

pub(super) fn source_in(config: &Config, index: usize, source: &Source, broken: &mut Vec<Broken>) {
    let key = |field: &str| format!("sources[{index}].{field}");
    let list = match (&source.connection, source.several_connections.is_empty()) {
        (None, true) => {
            let text = "needs connection: the one that carries out its commands, or connections: several";
            return broken.push(broken_rule(format!("sources[{index}]"), text));
        }
        (Some(_), false) => {
            return broken
                .push(broken_rule(key("connections"), "stands in the place of connection: give one of the two"));
        }
        (Some(_), true) => "connection",
        (None, false) => "connections",
    };
    let mut seen = HashSet::new();
    for (number, name) in source.connections().enumerate() {
        let key = if list == "connection" { key(list) } else { key(&format!("{list}[{number}]")) };
        let names = || config.connections.iter().map(|connection| connection.name.as_str());
        if !names().any(|known| known == name) {
            let hint = did_you_mean(name, names());
            broken.push(Broken { hint, ..broken_rule(key, format!("there is no connection \"{name}\"")) });
        } else if !seen.insert(name) {
            broken.push(broken_rule(key, format!("\"{name}\" is there twice")));
        }
    }
    for (local, user) in &source.users {
        if !is_nhs_user(user) {
            broken.push(broken_rule(key(&format!("users.{local}")), NHS_USER));
        }
    }
    sessions_of(config, index, source, broken);
}

/// Where people sign in for what is theirs, a session that somebody seeded is for what names no author, and said so by name.
fn sessions_of(config: &Config, index: usize, source: &Source, broken: &mut Vec<Broken>) {
    let key = |field: &str| format!("sources[{index}].{field}");
    let of_source = |name: &str| {
        let found = config.connections.iter().find(|connection| connection.name == name);
        found.map(|connection| &connection.access)
    };
    let sign_in = source.connections().any(|name| matches!(of_source(name), Some(Access::SignIn(_))));
    let seeded: Vec<&str> =
        source.connections().filter(|name| of_source(name).is_some_and(Access::is_seeded)).collect();
    match &source.shared_session {
        Some(name) if !seeded.contains(&name.as_str()) => {
            let text = "must name one of its connections that is user_restricted (or a professional_session): a seeded session";
            broken.push(Broken { hint: did_you_mean(name, seeded), ..broken_rule(key("shared_session"), text) });
        }
        _ if !sign_in => {}
        shared => {
            for name in seeded.into_iter().filter(|name| shared.as_deref() != Some(name)) {
                let text = format!(
                    "people sign in for what is theirs, so nothing would run in the seeded session of \"{name}\": name it as \
                     shared_session, for commands without an author, or leave it out"
                );
                broken.push(broken_rule(key("connections"), text));
            }
        }
    }
}

/// Nobody acts for another there: no header for it is known.
const NOT_BY_SMARTCARD: &str = "SERVICE_PROVIDER_CLINICIAN_ADMIN";

pub(super) fn professional(at: &str, session: &ProfessionalSession, broken: &mut Vec<Broken>) {
    let key = |field: &str| format!("{at}.{field}");
    let function = session.business_function.as_str();
    if !BUSINESS_FUNCTIONS.contains(&function) || function == NOT_BY_SMARTCARD {
        let known = BUSINESS_FUNCTIONS.into_iter().filter(|known| *known != NOT_BY_SMARTCARD).collect::<Vec<_>>();
        broken.push(Broken {
            hint: did_you_mean(function, known.iter().copied()),
            ..broken_rule(key("business_function"), format!("must be one of {}", known.join(", ")))
        });
    }
    if !is_nhs_user(&session.user) {
        broken.push(broken_rule(key("user"), NHS_USER));
    }
    if session.asid.is_empty() || !session.asid.bytes().all(|byte| byte.is_ascii_digit()) {
        broken.push(broken_rule(key("asid"), "is the accredited system id: digits"));
    }
}

pub(super) fn sign_in(environment: EnvironmentName, at: &str, sign_in: &SignIn, broken: &mut Vec<Broken>) {
    let key = |field: &str| format!("{at}.{field}");
    let urls = [("authorize_url", Some(&sign_in.authorize_url)), ("userinfo_url", sign_in.userinfo_url.as_ref())];
    for (field, url) in urls.into_iter().filter_map(|(field, url)| Some((field, url?))) {
        match reqwest::Url::parse(url) {
            Err(_) => broken.push(broken_rule(key(field), "must be an absolute address, https://…")),
            Ok(url) if url.scheme() != "https" && environment != EnvironmentName::Simulator => {
                broken.push(broken_rule(key(field), "must be https outside the simulator"));
            }
            Ok(_) => {}
        }
    }
    match reqwest::Url::parse(&sign_in.redirect_uri) {
        Ok(uri) if uri.path() == CALLBACK && uri.query().is_none() && uri.fragment().is_none() => {
            let loopback =
                uri.host_str().is_some_and(|host| crate::environment::is_this_machine(host.trim_matches(['[', ']'])));
            if uri.scheme() != "https" && !loopback {
                broken.push(broken_rule(key("redirect_uri"), "must be https: whoever reads it on its way can sign in"));
            }
        }
        _ => broken.push(broken_rule(
            key("redirect_uri"),
            format!("must be this gateway's address as browsers reach it, with {CALLBACK} at its end"),
        )),
    }
    if sign_in.exchange.as_ref().is_some_and(|exchange| exchange.kid.is_empty()) {
        broken.push(broken_rule(key("private_key"), "needs kid, under which its public key is registered"));
    }
    for (number, function) in sign_in.business_functions.iter().enumerate() {
        if !BUSINESS_FUNCTIONS.contains(&function.as_str()) {
            broken.push(Broken {
                hint: did_you_mean(function, BUSINESS_FUNCTIONS),
                ..broken_rule(
                    key(&format!("business_functions[{number}]")),
                    format!("must be one of {}", BUSINESS_FUNCTIONS.join(", ")),
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::broken;
    use crate::config::{Access, Config, Connection, ProfessionalSession, SignIn};

    fn sign_in() -> Connection {
        let mut connection = Config::demonstration().connections.remove(0);
        connection.name = "people".into();
        connection.access = Access::SignIn(SignIn {
            client_secret: "secret".into(),
            authorize_url: "http://127.0.0.1:8480/oauth2/authorize".into(),
            userinfo_url: None,
            issuer: None,
            redirect_uri: "http://127.0.0.1:8080/v1/sign-in/callback".into(),
            scope: None,
            organisations: Vec::new(),
            business_functions: Vec::new(),
            announce_end: std::time::Duration::from_secs(60),
            exchange: None,
        });
        connection
    }

    fn broken_with(source: Value, change: impl FnOnce(&mut SignIn)) -> Vec<String> {
        let mut config = Config::demonstration();
        let mut connection = sign_in();
        if let Access::SignIn(sign_in) = &mut connection.access {
            change(sign_in);
        }
        config.connections.push(connection);
        let mut written = json!({"name": "northmoor"});
        written.as_object_mut().expect("a map").extend(source.as_object().expect("a map").clone());
        config.sources[0] = serde_json::from_value(written).expect("a source");
        broken(&config).into_iter().map(|broken| broken.key).collect()
    }

    #[test]
    fn a_source_names_one_connection_or_several_that_there_are() {
        for (source, keys) in [
            (json!({"connection": "northmoor"}), vec![]),
            (json!({"connections": ["people"]}), vec![]),
            (json!({}), vec!["sources[0]"]),
            (json!({"connection": "northmoor", "connections": ["people"]}), vec!["sources[0].connections"]),
            (json!({"connections": ["people", "nobody"]}), vec!["sources[0].connections[1]"]),
            (json!({"connections": ["people", "people"]}), vec!["sources[0].connections[1]"]),
        ] {
            assert_eq!(broken_with(source.clone(), |_| {}), keys, "{source}");
        }
    }

    #[test]
    fn a_seeded_session_beside_people_is_said_by_name() {
        for (source, keys) in [
            (json!({"connections": ["people", "northmoor"]}), vec!["sources[0].connections"]),
            (json!({"connections": ["people", "northmoor"], "shared_session": "northmoor"}), vec![]),
            (json!({"connections": ["people"], "shared_session": "people"}), vec!["sources[0].shared_session"]),
            (json!({"connection": "people", "users": {"J.SMITH": "555"}}), vec!["sources[0].users.J.SMITH"]),
        ] {
            assert_eq!(broken_with(source.clone(), |_| {}), keys, "{source}");
        }
    }

    #[test]
    fn a_professional_session_says_whose_smartcard_it_is_and_as_what() {
        type Change = fn(&mut ProfessionalSession);
        let keys = |change: Change| {
            let mut session = ProfessionalSession {
                asid: "200000000115".into(),
                smartcard_token: None,
                organisation: "RXX00".into(),
                business_function: "REFERRING_CLINICIAN".into(),
                user: "555012340003".into(),
            };
            change(&mut session);
            let mut config = Config::demonstration();
            let mut connection = config.connections.remove(0);
            connection.access = Access::ProfessionalSession(session);
            config.connections.insert(0, connection);
            broken(&config).into_iter().map(|broken| broken.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(|_| {}), [""; 0]);
        let changes: [(&str, Change); 5] = [
            ("user", |session| session.user = "555".into()),
            ("asid", |session| session.asid = String::new()),
            ("asid", |session| session.asid = "ours".into()),
            ("business_function", |session| session.business_function = "SERVICE_PROVIDER_CLINICIAN_ADMIN".into()),
            ("business_function", |session| session.business_function = "REFERRING".into()),
        ];
        for (field, change) in changes {
            assert_eq!(keys(change), [format!("connections[0].{field}")]);
        }
    }

    #[test]
    fn whoever_signs_in_comes_back_to_this_gateway_over_tls() {
        for (uri, is_good) in [
            ("https://gateway.trust.example/v1/sign-in/callback", true),
            ("http://127.0.0.1:8080/v1/sign-in/callback", true),
            ("http://gateway.trust.example/v1/sign-in/callback", false),
            ("https://gateway.trust.example/", false),
            ("https://gateway.trust.example/v1/sign-in/callback?x=1", false),
        ] {
            let keys = broken_with(json!({"connection": "people"}), |sign_in| sign_in.redirect_uri = uri.into());
            assert_eq!(keys.is_empty(), is_good, "{uri}: {keys:?}");
        }
    }
}
