//! What settings must hold together: names that must exist, limits that must make sense, and what could
//! harm patients outside the simulator.

mod acting;
mod documents;
mod people;
mod tokens;
mod told;
mod traces;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::problem::did_you_mean;
use super::{Access, Config, Connection, Destination, EnvironmentName, Listener, Source, Unattended, is_nhs_user};
use crate::environment::is_this_machine;

/// A broken rule at a key; `load` finds its place in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    pub key: String,
    pub text: String,
    pub hint: Option<String>,
}

fn broken_rule(key: impl Into<String>, text: impl Into<String>) -> Broken {
    Broken { key: key.into(), text: text.into(), hint: None }
}

/// Business functions a user's session may carry (`NHSD-eRS-Business-Function`).
const BUSINESS_FUNCTIONS: [&str; 10] = [
    "REFERRING_CLINICIAN",
    "REFERRING_CLINICIAN_ADMIN",
    "REFERRING_ADMIN",
    "SERVICE_PROVIDER_CLINICIAN",
    "SERVICE_PROVIDER_CLINICIAN_ADMIN",
    "SERVICE_PROVIDER_ADMIN",
    "COMMISSIONER",
    "INFORMATION_ANALYST",
    "BOOKING_MANAGER",
    "ADDITIONAL_REQUIREMENTS_MANAGER",
];

pub fn broken(config: &Config) -> Vec<Broken> {
    let mut broken = Vec::new();
    names(config, &mut broken);
    listeners(config, &mut broken);
    tokens::broken_in(config, &mut broken);
    people::broken_in(config, &mut broken);
    traces::broken_in(config, &mut broken);
    for (index, source) in config.sources.iter().enumerate() {
        one_source(config, index, source, &mut broken);
    }
    for (index, connection) in config.connections.iter().enumerate() {
        one_connection(config.environment, index, connection, &mut broken);
    }
    for (index, destination) in config.destinations.iter().enumerate() {
        one_destination(index, destination, &mut broken);
        told::broken_in(config, index, destination, &mut broken);
    }
    documents::broken_in(config, &mut broken);
    watches(config, &mut broken);
    broker(config, &mut broken);
    delivery(config, &mut broken);
    retention(config, &mut broken);
    pds(config, &mut broken);
    if config.store.sqlite_path().is_none() && !config.store.is_postgres() {
        broken.push(broken_rule("store", "must be sqlite:PATH or postgres://user:password@host/database"));
    }
    if config.store.is_postgres() && config.key_file.is_none() && config.key.is_none() {
        broken.push(broken_rule("key_file", "must be set with a shared store: all its gateways need the same keys"));
    }
    if tracing_subscriber::EnvFilter::try_new(&config.log.filter).is_err() {
        broken.push(broken_rule("log.filter", "must be as in RUST_LOG, such as info or info,ers_gateway=debug"));
    }
    broken
}

/// For how long a finding of PDS may be kept: death and merges move; and what is forgotten at once is asked for ever.
const FINDING_KEPT: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(3_600);

fn pds(config: &Config, broken: &mut Vec<Broken>) {
    let Some(pds) = &config.pds else { return };
    for (key, url) in [("pds.base_url", &pds.base_url), ("pds.token_url", &pds.token_url)] {
        let scheme = if config.environment == EnvironmentName::Simulator { "http" } else { "https://" };
        if !url.starts_with(scheme) {
            broken.push(broken_rule(key, "must be an https:// address (http:// only with environment: simulator)"));
        }
    }
    if !FINDING_KEPT.contains(&pds.keep_finding) {
        broken.push(broken_rule("pds.keep_finding", "must be 10s to 1h: deaths and merges are told within it"));
    }
    if !(0.1..=100.0).contains(&pds.per_second) {
        broken.push(broken_rule("pds.per_second", "must be 0.1 to 100"));
    }
    if config.connections.iter().any(|connection| connection.client_id == pds.client_id) {
        let text = "must be a registration of its own, not that of a connection to e-RS";
        broken.push(broken_rule("pds.client_id", text));
    }
}

/// Names stand in metrics, file names and addresses, so they are short and plain.
fn is_plain_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn names(config: &Config, broken: &mut Vec<Broken>) {
    const PLAIN: &str = "must be 1 to 64 letters, digits, '-', '_' or '.'";
    if !is_plain_name(&config.instance) {
        broken.push(broken_rule("instance", PLAIN));
    }
    let sources = config.sources.iter().map(|source| source.name.as_str());
    let connections = config.connections.iter().map(|connection| connection.name.as_str());
    let destinations = config.destinations.iter().map(|destination| destination.name.as_str());
    for (list, names) in [
        ("sources", sources.collect::<Vec<_>>()),
        ("connections", connections.collect()),
        ("destinations", destinations.collect()),
        ("documents.folders", config.documents.folders.iter().map(|folder| folder.name.as_str()).collect()),
        ("watches", config.watches.iter().map(|watch| watch.name.as_str()).collect()),
    ] {
        let mut seen = HashMap::new();
        for (index, name) in names.into_iter().enumerate() {
            let key = format!("{list}[{index}].name");
            if !is_plain_name(name) {
                broken.push(broken_rule(key, PLAIN));
            } else if let Some(first) = seen.insert(name, index) {
                broken.push(broken_rule(key, format!("\"{name}\" is already the name of {list}[{first}]")));
            }
        }
    }
    let mut senders = HashMap::new();
    for (index, source) in config.sources.iter().enumerate() {
        if source.application.is_none() && source.facility.is_none() {
            continue;
        }
        if let Some(first) = senders.insert((&source.application, &source.facility), index) {
            let text = format!(
                "the same application and facility as sources[{first}]: a shared listener could not tell them apart"
            );
            broken.push(broken_rule(format!("sources[{index}]"), text));
        }
    }
}

fn listeners(config: &Config, broken: &mut Vec<Broken>) {
    let mut addresses = HashMap::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let key = format!("listeners[{index}]");
        let address = listener.listen();
        if address.port() != 0
            && let Some(first) = addresses.insert(address, index)
        {
            broken.push(broken_rule(format!("{key}.listen"), format!("listeners[{first}] already listens there")));
        }
        let (plain, allowed) = match listener {
            Listener::Mllp(listener) => (listener.tls.is_none(), listener.allow_plain),
            Listener::Http(listener) => (listener.tls.is_none(), listener.allow_plain),
        };
        if plain && !allowed && !address.ip().is_loopback() {
            broken.push(Broken {
                hint: Some("allow_plain: true takes it as it is, for a network that is protected otherwise".into()),
                ..broken_rule(
                    format!("{key}.listen"),
                    "other machines reach this address without TLS; give it tls: { certificate, private_key }",
                )
            });
        }
        if let Some(source) = listener.source() {
            source_exists(config, format!("{key}.source"), source, broken);
        }
        match listener {
            Listener::Mllp(mllp) => {
                at_least_one(broken, format!("{key}.connections_max"), mllp.connections_max);
                at_least_one(broken, format!("{key}.frame_bytes_max"), mllp.frame_bytes_max);
                not_zero(broken, format!("{key}.idle_timeout"), mllp.idle_timeout);
                not_zero(broken, format!("{key}.frame_timeout"), mllp.frame_timeout);
            }
            Listener::Http(http) => at_least_one(broken, format!("{key}.body_bytes_max"), http.body_bytes_max),
        }
    }
}

fn source_exists(config: &Config, key: String, name: &str, broken: &mut Vec<Broken>) {
    let known = || config.sources.iter().map(|source| source.name.as_str());
    if !known().any(|source| source == name) {
        broken.push(Broken {
            hint: did_you_mean(name, known()),
            ..broken_rule(key, format!("there is no source \"{name}\""))
        });
    }
}

fn one_source(config: &Config, index: usize, source: &Source, broken: &mut Vec<Broken>) {
    let key = |field: &str| format!("sources[{index}].{field}");
    acting::source_in(config, index, source, broken);
    let asks = |listener: &Listener| matches!(listener, Listener::Mllp(mllp) if mllp.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()));
    if !source.certificates.is_empty() && !config.listeners.iter().any(asks) {
        let text = "no MLLP listener asks for client certificates (tls.client_ca), so it could never send";
        broken.push(broken_rule(key("certificates"), text));
    }
    if encoding_rs::Encoding::for_label(source.charset.as_bytes()).is_none() {
        broken.push(broken_rule(key("charset"), "is not a known charset, such as utf-8, windows-1252 or iso-8859-15"));
    }
    if jiff::tz::TimeZone::get(&source.time_zone).is_err() {
        broken.push(broken_rule(key("time_zone"), "is not a known time zone, such as Europe/London"));
    }
    let destinations = || config.destinations.iter().map(|destination| destination.name.as_str());
    if let Some(name) = source.answers_to.as_deref().filter(|name| !destinations().any(|known| known == *name)) {
        broken.push(Broken {
            hint: did_you_mean(name, destinations()),
            ..broken_rule(key("answers_to"), format!("there is no destination \"{name}\""))
        });
    }
    at_least_one(broken, key("message_bytes_max"), source.message_bytes_max);
    for (number, id) in source.processing_ids.iter().enumerate() {
        let key = key(&format!("processing_ids[{number}]"));
        if !matches!(id.as_str(), "P" | "T" | "D") {
            broken.push(broken_rule(key, "must be P, T or D (HL7 table 0103)"));
        } else if id != "P" && config.environment == EnvironmentName::Production {
            broken.push(broken_rule(key, "training and debugging messages never reach production"));
        }
    }
}

fn one_destination(index: usize, destination: &Destination, broken: &mut Vec<Broken>) {
    let key = |field: &str| format!("destinations[{index}].{field}");
    let host = match destination.address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => host,
        _ => {
            broken.push(broken_rule(key("address"), "must be host:port"));
            return;
        }
    };
    not_zero(broken, key("answer_timeout"), destination.answer_timeout);
    match &destination.tls {
        None if !destination.allow_plain && !is_this_machine(host.trim_matches(['[', ']'])) => broken.push(Broken {
            hint: Some("allow_plain: true takes it as it is, for a network that is protected otherwise".into()),
            ..broken_rule(key("address"), "another machine is reached there without TLS; give it tls: { ca }")
        }),
        Some(tls) if tls.certificate.is_some() != tls.private_key.is_some() => {
            broken.push(broken_rule(key("tls"), "a client certificate and its private_key go together"));
        }
        _ => {}
    }
}

/// Lists that a provider's application may read without a user, by service.
const UNATTENDED_LISTS: [&str; 2] = ["REFERRALS_FOR_REVIEW", "APPOINTMENT_SLOT_ISSUES"];
const WATCHED_LISTS: [&str; 7] = [
    "REFERRALS_FOR_REVIEW",
    "APPOINTMENT_SLOT_ISSUES",
    "AWAITING_BOOKING",
    "LETTERS_OUTSTANDING",
    "REJECTED_TRIAGE_RESPONSE",
    "ASSESSMENT_RETURNED_CANCELLED_DNA",
    "ADVICE_AND_GUIDANCE_REQUESTS",
];
/// What e-RS allows for a service without a user.
const UNATTENDED_A_DAY: usize = 2;
/// e-RS has other work than being asked what is new.
const EVERY_MIN: Duration = Duration::from_secs(60);

fn watches(config: &Config, broken: &mut Vec<Broken>) {
    // Looks a day, by application and service: watches share them.
    let mut looks: HashMap<(&str, &str), usize> = HashMap::new();
    for (index, watch) in config.watches.iter().enumerate() {
        let key = |field: &str| format!("watches[{index}].{field}");
        let connections = || config.connections.iter().map(|connection| connection.name.as_str());
        let connection = config.connections.iter().find(|connection| connection.name == watch.connection);
        if connection.is_none() {
            broken.push(Broken {
                hint: did_you_mean(&watch.connection, connections()),
                ..broken_rule(key("connection"), format!("there is no connection \"{}\"", watch.connection))
            });
        }
        if config.sources.iter().any(|source| source.name == watch.name) {
            broken.push(broken_rule(key("name"), format!("\"{}\" is already the name of a source", watch.name)));
        }
        if !WATCHED_LISTS.contains(&watch.list.as_str()) {
            broken.push(Broken {
                hint: did_you_mean(&watch.list, WATCHED_LISTS),
                ..broken_rule(key("list"), format!("must be one of {}", WATCHED_LISTS.join(", ")))
            });
        }
        if watch.at.is_empty() == watch.every.is_none() {
            broken.push(broken_rule(key("at"), "either times of the day (at), or again and again (every)"));
        }
        if watch.every.is_some_and(|every| every < EVERY_MIN && config.environment != EnvironmentName::Simulator) {
            broken.push(broken_rule(key("every"), "must be 60s or more"));
        }
        if jiff::tz::TimeZone::get(&watch.time_zone).is_err() {
            broken.push(broken_rule(key("time_zone"), "is not a known time zone, such as Europe/London"));
        }
        if let Some(Connection { access: Access::SignIn(_), .. }) = connection {
            let text = "is where people sign in, each for what is theirs; a list is looked at by a seeded session or unattended";
            broken.push(broken_rule(key("connection"), text));
        }
        let Some(Connection { client_id, access: Access::ApplicationRestricted(_), .. }) = connection else { continue };
        if !UNATTENDED_LISTS.contains(&watch.list.as_str()) {
            let text = format!("without a user only {} can be read", UNATTENDED_LISTS.join(" and "));
            broken.push(broken_rule(key("list"), text));
        }
        if watch.services.is_empty() {
            broken.push(broken_rule(key("services"), "must be named: without a user each service is asked for alone"));
        }
        if watch.every.is_some() {
            broken.push(broken_rule(key("every"), "is for users' sessions: without a user, name up to two times (at)"));
        }
        for (number, service) in watch.services.iter().enumerate() {
            let all = looks.entry((client_id, service)).or_default();
            *all += watch.at.len();
            if *all > UNATTENDED_A_DAY {
                let text = format!(
                    "service {service} would be looked at {all} times a day without a user; e-RS allows {UNATTENDED_A_DAY}"
                );
                broken.push(broken_rule(key(&format!("services[{number}]")), text));
            }
        }
    }
}

fn one_connection(environment: EnvironmentName, index: usize, connection: &Connection, broken: &mut Vec<Broken>) {
    let key = |field: &str| format!("connections[{index}].{field}");
    // Where professional sessions are follows from base_url.
    let is_professional = matches!(connection.access, Access::ProfessionalSession(_));
    let token_url = (!is_professional).then_some(("token_url", &connection.token_url));
    for (field, url) in [("base_url", &connection.base_url)].into_iter().chain(token_url) {
        let Ok(parsed) = reqwest::Url::parse(url) else {
            broken.push(broken_rule(key(field), "must be an absolute address, https://…"));
            continue;
        };
        let host = parsed.host_str().unwrap_or_default();
        let is_nhs = host == "nhs.uk" || host.ends_with(".nhs.uk");
        match environment {
            EnvironmentName::Simulator if is_nhs => broken.push(broken_rule(
                key(field),
                "is an NHS address, and environment: simulator lifts limits that protect it; say int or production",
            )),
            EnvironmentName::Int | EnvironmentName::Production if parsed.scheme() != "https" => {
                broken.push(broken_rule(key(field), "must be https outside the simulator"));
            }
            _ => {}
        }
    }
    if let Some(proxy) = &connection.proxy
        && !reqwest::Url::parse(proxy.expose_secret()).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    {
        broken.push(broken_rule(key("proxy"), "must be the address of an HTTP proxy, http://proxy.example:3128"));
    }
    let user = match &connection.access {
        Access::UserRestricted(user) => user,
        Access::ProfessionalSession(session) => {
            return acting::professional(&format!("connections[{index}]"), session, broken);
        }
        Access::SignIn(sign_in) => {
            return acting::sign_in(environment, &format!("connections[{index}]"), sign_in, broken);
        }
        Access::ApplicationRestricted(signed) => return approvals(&key("unattended"), &signed.unattended, broken),
    };
    if !BUSINESS_FUNCTIONS.contains(&user.business_function.as_str()) {
        broken.push(Broken {
            hint: did_you_mean(&user.business_function, BUSINESS_FUNCTIONS),
            ..broken_rule(key("business_function"), format!("must be one of {}", BUSINESS_FUNCTIONS.join(", ")))
        });
    }
    match (&user.on_behalf_of, user.business_function.as_str()) {
        (None, "SERVICE_PROVIDER_CLINICIAN_ADMIN") => broken.push(broken_rule(
            format!("connections[{index}]"),
            "SERVICE_PROVIDER_CLINICIAN_ADMIN needs on_behalf_of, the user whom it acts for",
        )),
        (Some(_), function) if function != "SERVICE_PROVIDER_CLINICIAN_ADMIN" => broken.push(broken_rule(
            key("on_behalf_of"),
            "is for SERVICE_PROVIDER_CLINICIAN_ADMIN only; e-RS refuses it with any other function",
        )),
        _ => {}
    }
    if user.user.as_deref().is_some_and(|user| !is_nhs_user(user)) {
        broken.push(broken_rule(key("user"), acting::NHS_USER));
    }
}

/// Each write once, with the reference of its approval. Whether the operations are right is for the catalogue to say.
fn approvals(key: &str, unattended: &[Unattended], broken: &mut Vec<Broken>) {
    for (index, write) in unattended.iter().enumerate() {
        let key = |field: &str| format!("{key}[{index}].{field}");
        if unattended[..index].iter().any(|earlier| earlier.operation == write.operation) {
            broken.push(broken_rule(key("operation"), format!("{} is there twice", write.operation)));
        }
        if write.approval.trim().is_empty() {
            broken.push(broken_rule(key("approval"), "is the reference under which the NHS approved it"));
        }
    }
}

/// Each is a quorum queue with a log of its own on every node.
const PARTITIONS_MAX: usize = 128;

fn broker(config: &Config, broken: &mut Vec<Broken>) {
    let Some(broker) = &config.broker else { return };
    if broker.urls.is_empty() {
        broken.push(broken_rule("broker.urls", "needs at least one address, amqp://… or amqps://…"));
    }
    for (index, url) in broker.urls.iter().enumerate() {
        if !url.starts_with("amqp://") && !url.starts_with("amqps://") {
            broken.push(broken_rule(format!("broker.urls[{index}]"), "must start with amqp:// or amqps://"));
        }
    }
    at_least_one(broken, "broker.in_flight_max", broker.in_flight_max);
    for (index, input) in broker.inputs.iter().enumerate() {
        source_exists(config, format!("broker.inputs[{index}].source"), &input.source, broken);
        at_least_one(broken, format!("broker.inputs[{index}].prefetch"), usize::from(input.prefetch));
        at_least_one(broken, format!("broker.inputs[{index}].consumers"), input.consumers);
        if input.consumers > 1 && input.single_active_consumer {
            broken.push(Broken {
                hint: Some(
                    "several queues keep each thread's order (docs/broker.md); single_active_consumer: false gives it up"
                        .into(),
                ),
                ..broken_rule(
                    format!("broker.inputs[{index}].consumers"),
                    "only one of them would get messages, because of single_active_consumer",
                )
            });
        }
    }
    if let Some(partitions) = &broker.partitions {
        if !(1..=PARTITIONS_MAX).contains(&partitions.queues) {
            broken.push(broken_rule("broker.partitions.queues", format!("must be 1 to {PARTITIONS_MAX}")));
        }
        if partitions.exchange == broker.exchange {
            broken.push(broken_rule("broker.partitions.exchange", "must be another one than broker.exchange"));
        }
    }
}

fn delivery(config: &Config, broken: &mut Vec<Broken>) {
    let delivery = &config.delivery;
    at_least_one(broken, "delivery.parallel_max", delivery.parallel_max);
    not_zero(broken, "delivery.backoff_base", delivery.backoff_base);
    not_zero(broken, "delivery.lease", delivery.lease);
    if delivery.backoff_ceiling < delivery.backoff_base {
        broken.push(broken_rule("delivery.backoff_ceiling", "must not be less than backoff_base"));
    }
    if !(delivery.pacing.per_second.is_finite() && delivery.pacing.per_second > 0.0) {
        broken.push(broken_rule("delivery.pacing.per_second", "must be more than 0"));
    }
    if !delivery.pacing.enabled && config.environment != EnvironmentName::Simulator {
        broken.push(broken_rule(
            "delivery.pacing.enabled",
            "pacing keeps the gateway within the quota of e-RS; it can be off only with environment: simulator",
        ));
    }
}

/// A slip of the unit (`30m`) would empty the store of what people still ask for.
const RETENTION_MIN: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

fn retention(config: &Config, broken: &mut Vec<Broken>) {
    for (key, age) in config.retention.ages() {
        if age.is_some_and(|age| age < RETENTION_MIN) && config.environment != EnvironmentName::Simulator {
            broken.push(broken_rule(
                format!("retention.{key}"),
                "must be at least 1d; less is for environment: simulator",
            ));
        }
    }
}

fn at_least_one(broken: &mut Vec<Broken>, key: impl Into<String>, number: usize) {
    if number == 0 {
        broken.push(broken_rule(key, "must be at least 1"));
    }
}

fn not_zero(broken: &mut Vec<Broken>, key: impl Into<String>, duration: std::time::Duration) {
    if duration.is_zero() {
        broken.push(broken_rule(key, "must be more than 0"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The demonstration's settings with a change.
    fn broken_after(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::demonstration();
        change(&mut config);
        broken(&config).into_iter().map(|broken| broken.key).collect()
    }

    #[test]
    fn the_demonstration_breaks_no_rule() {
        assert_eq!(broken_after(|_| {}), [""; 0]);
    }

    #[test]
    fn production_refuses_what_could_harm() {
        let keys = broken_after(|config| {
            config.environment = EnvironmentName::Production;
            config.delivery.pacing.enabled = false;
            config.sources[0].processing_ids = vec!["P".into(), "T".into()];
        });
        for key in ["delivery.pacing.enabled", "sources[0].processing_ids[1]", "connections[0].base_url"] {
            assert!(keys.iter().any(|found| found == key), "{key} is not in {keys:?}");
        }
    }

    #[test]
    fn a_day_is_the_least_that_is_kept_outside_the_simulator() {
        let short = |config: &mut Config| config.retention.messages = Some(std::time::Duration::from_secs(60));
        assert_eq!(broken_after(short), [""; 0]);
        let keys = broken_after(|config| {
            short(config);
            config.environment = EnvironmentName::Int;
        });
        assert!(keys.iter().any(|key| key == "retention.messages"), "{keys:?}");
    }

    #[test]
    fn the_simulators_settings_never_reach_the_nhs() {
        let keys = broken_after(|config| {
            config.connections[0].base_url = "https://api.service.nhs.uk/referrals/FHIR".into();
        });
        assert_eq!(keys, ["connections[0].base_url"]);
    }

    #[test]
    fn a_destination_elsewhere_needs_tls_or_a_clear_word() {
        let broken_at = |destination: serde_json::Value| {
            let mut config = Config::demonstration();
            config.sources[0].answers_to = Some("pas".into());
            config.destinations.push(serde_json::from_value(destination).expect("settings"));
            broken(&config).into_iter().map(|broken| broken.key).collect::<Vec<_>>()
        };
        let nothing: [&str; 0] = [];
        assert_eq!(broken_at(json!({"name": "pas", "address": "127.0.0.1:2575"})), nothing);
        assert_eq!(broken_at(json!({"name": "pas", "address": "pas.test:2575"})), ["destinations[0].address"]);
        assert_eq!(broken_at(json!({"name": "pas", "address": "pas.test:2575", "allow_plain": true})), nothing);
        assert_eq!(broken_at(json!({"name": "pas", "address": "pas.test:2575", "tls": {"ca": "ca.pem"}})), nothing);
        assert_eq!(
            broken_at(
                json!({"name": "pas", "address": "pas.test:2575", "tls": {"ca": "ca.pem", "certificate": "c.pem"}})
            ),
            ["destinations[0].tls"]
        );
        for address in ["pas.test", ":2575", "pas.test:x", "pas.test:0"] {
            let found = broken_at(json!({"name": "pas", "address": address, "allow_plain": true}));
            assert_eq!(found, ["destinations[0].address"], "{address}");
        }
        let other = broken_at(json!({"name": "other", "address": "127.0.0.1:2575"}));
        assert_eq!(other, ["sources[0].answers_to"], "it names one that is not there");
    }

    #[test]
    fn an_open_listener_needs_tls_or_a_clear_word() {
        let open = |allow: bool| {
            move |config: &mut Config| {
                let Listener::Mllp(listener) = &mut config.listeners[0] else { panic!("the first is MLLP") };
                listener.listen = "0.0.0.0:2575".parse().expect("an address");
                listener.allow_plain = allow;
            }
        };
        assert_eq!(broken_after(open(false)), ["listeners[0].listen"]);
        assert_eq!(broken_after(open(true)), [""; 0]);
    }

    #[test]
    fn consumers_and_partitions_can_do_what_they_are_for() {
        for (broker, key) in [
            (r#"{"inputs": [{"queue": "q", "source": "northmoor"}], "partitions": {}}"#, None),
            (
                r#"{"inputs": [{"queue": "q", "source": "northmoor", "consumers": 4, "single_active_consumer": false}]}"#,
                None,
            ),
            (
                r#"{"inputs": [{"queue": "q", "source": "northmoor", "consumers": 4}]}"#,
                Some("broker.inputs[0].consumers"),
            ),
            (
                r#"{"inputs": [{"queue": "q", "source": "northmoor", "consumers": 0}]}"#,
                Some("broker.inputs[0].consumers"),
            ),
            (r#"{"partitions": {"queues": 0}}"#, Some("broker.partitions.queues")),
            (r#"{"partitions": {"queues": 129}}"#, Some("broker.partitions.queues")),
            (r#"{"partitions": {"exchange": "ers.events"}}"#, Some("broker.partitions.exchange")),
        ] {
            let mut settings: serde_json::Value = serde_json::from_str(broker).expect("JSON");
            settings["urls"] = serde_json::json!(["amqp://broker"]);
            let keys = broken_after(|config| config.broker = serde_json::from_value(settings).expect("a broker"));
            assert_eq!(keys, key.into_iter().collect::<Vec<_>>(), "{broker}");
        }
    }

    #[test]
    fn names_are_unique_and_what_is_named_exists() {
        for (change, key) in [
            ((|c| c.sources[1].name = "northmoor".into()) as fn(&mut Config), "sources[1].name"),
            (|c| c.sources[1].name = "two words".into(), "sources[1].name"),
            (|c| c.connections[1].name = c.connections[0].name.clone(), "connections[1].name"),
            (|c| c.sources[0].charset = "klingon".into(), "sources[0].charset"),
            (|c| c.sources[0].time_zone = "Europe/Atlantis".into(), "sources[0].time_zone"),
            (|c| c.delivery.parallel_max = 0, "delivery.parallel_max"),
            (|c| c.store = crate::config::StoreUrl("oracle:x".into()), "store"),
            (|c| c.log.filter = "info,=".into(), "log.filter"),
        ] {
            let keys = broken_after(change);
            assert!(keys.iter().any(|found| found == key), "{key} is not in {keys:?}");
        }
    }

    #[test]
    fn an_approval_has_a_reference_and_is_there_once() {
        let write =
            |approval: &str| Unattended { operation: "A013".into(), approval: approval.into(), only: Vec::new() };
        let found = broken_after(|config| {
            let unattended = vec![write("EXAMPLE-1"), write(" ")];
            let signed = super::super::SignedJwt { private_key: "key.pem".into(), kid: "k1".into(), unattended };
            config.connections[0].access = Access::ApplicationRestricted(signed);
        })
        .join("\n");
        for key in ["connections[0].unattended[1].operation", "connections[0].unattended[1].approval"] {
            assert!(found.contains(key), "{key}: {found}");
        }
    }
}
