//! A settings file from disk to a checked [`Config`].
//!
//! Enters: a path. Leaves: settings that hold together, or every problem found. Relative paths in the file
//! start from the file's own folder, so that the gateway may be started from anywhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::located::{self, Node};
use super::problem::{ConfigError, ConfigProblem};
use super::reader::{self, Misfit};
use super::references::{self, Surroundings};
use super::{Access, Config, Listener, LogFormat, StoreUrl, rules};
use crate::mapping::hex;

/// Settings are kilobytes; anything larger is a mistaken path.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

const EXAMPLE: &str = include_str!("../../gateway.example.yaml");

/// Every key there is: the example shows them all (tested below).
fn known_keys() -> BTreeSet<String> {
    located::parse(EXAMPLE).map(|tree| reader::read::<Config>(&tree).offered).unwrap_or_default()
}

impl Config {
    /// Reads, resolves and checks a settings file, then applies the `ERS_GATEWAY_…` variables.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::load_in(file, Surroundings::Here(&|name| std::env::var(name).ok()))
    }

    /// As [`Config::load`], but variables and secret files are those of another machine: not looked at.
    pub fn load_for_another_machine(file: &Path) -> Result<Self, ConfigError> {
        Self::load_in(file, Surroundings::Elsewhere)
    }

    fn load_in(file: &Path, surroundings: Surroundings<'_>) -> Result<Self, ConfigError> {
        let text = read(file).map_err(|text| {
            ConfigError(vec![ConfigProblem {
                file: file.to_owned(),
                line: 0,
                column: 0,
                key: String::new(),
                text,
                hint: Some("--config names the settings file; gateway.example.yaml is one to start from".to_owned()),
            }])
        })?;
        Self::parse_in(&text, file, surroundings)
    }

    /// As [`Config::load`], with the text at hand and the environment's variables given.
    pub fn parse(text: &str, file: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::parse_in(text, file, Surroundings::Here(variable))
    }

    fn parse_in(text: &str, file: &Path, surroundings: Surroundings<'_>) -> Result<Self, ConfigError> {
        let in_file = |misfit: Misfit| ConfigProblem {
            file: file.to_owned(),
            line: misfit.place.line,
            column: misfit.place.column,
            key: misfit.key,
            text: misfit.text,
            hint: misfit.hint,
        };
        let mut tree = located::parse(text).map_err(|error| ConfigError(vec![not_yaml(file, &error)]))?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut problems: Vec<ConfigProblem> = references::resolve(&mut tree, surroundings, folder)
            .into_iter()
            .map(|unresolved| ConfigProblem {
                file: file.to_owned(),
                line: unresolved.place.0,
                column: unresolved.place.1,
                key: unresolved.key,
                text: unresolved.text,
                hint: None,
            })
            .collect();

        let read = reader::read::<Self>(&tree);
        let complete = read.misfits.is_empty();
        problems.extend(read.misfits.into_iter().map(in_file));
        if !read.unknown.is_empty() {
            let offered = known_keys();
            problems.extend(read.unknown.into_iter().map(|unknown| {
                let hint = unknown.hint(&offered);
                in_file(Misfit { key: unknown.key, place: unknown.place, text: "there is no such key".into(), hint })
            }));
        }
        // The rules look across sections: with a part left out they would blame the wrong one.
        let config = match read.value {
            Some(mut config) if complete => {
                config.digest = Some(hex(&Sha256::digest(text)));
                config.start_paths_from(folder);
                problems.extend(config.override_from(file, &|name| surroundings.variable(name)));
                problems.extend(rules::broken(&config).into_iter().map(|broken| {
                    let place = place_of(&tree, &broken.key);
                    in_file(Misfit { key: broken.key, place, text: broken.text, hint: broken.hint })
                }));
                Some(config)
            }
            _ => None,
        };
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => {
                problems.sort_by_key(|problem| (problem.line, problem.column));
                Err(ConfigError(problems))
            }
        }
    }

    /// `gateway.example.yaml`: every key with its meaning, default and warnings.
    pub fn example_text() -> &'static str {
        EXAMPLE
    }

    /// `ERS_GATEWAY_STORE`, `_KEY_FILE`, `_INSTANCE`, `_LOG`, `_LOG_FORMAT`: what differs between two
    /// machines that share a file.
    fn override_from(&mut self, file: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Vec<ConfigProblem> {
        if let Some(store) = variable("ERS_GATEWAY_STORE") {
            self.store = StoreUrl(store);
        }
        if let Some(key_file) = variable("ERS_GATEWAY_KEY_FILE") {
            self.key_file = Some(PathBuf::from(key_file));
        }
        if let Some(instance) = variable("ERS_GATEWAY_INSTANCE") {
            self.instance = instance;
        }
        if let Some(filter) = variable("ERS_GATEWAY_LOG") {
            self.log.filter = filter;
        }
        match variable("ERS_GATEWAY_LOG_FORMAT").as_deref() {
            None => Vec::new(),
            Some("json") => {
                self.log.format = LogFormat::Json;
                Vec::new()
            }
            Some("text") => {
                self.log.format = LogFormat::Text;
                Vec::new()
            }
            Some(_) => vec![ConfigProblem {
                file: file.to_owned(),
                line: 0,
                column: 0,
                key: "ERS_GATEWAY_LOG_FORMAT".to_owned(),
                text: "must be json or text".to_owned(),
                hint: None,
            }],
        }
    }

    fn start_paths_from(&mut self, folder: &Path) {
        let anchor = |path: &mut PathBuf| *path = folder.join(&*path);
        if let Some(path) = self.store.sqlite_path() {
            self.store = StoreUrl(format!("sqlite:{}", folder.join(path).display()));
        }
        self.key_file.as_mut().map(anchor);
        self.mappings.as_mut().map(anchor);
        if let Some(pds) = &mut self.pds {
            anchor(&mut pds.private_key);
        }
        for connection in &mut self.connections {
            connection.ca.as_mut().map(anchor);
            match &mut connection.access {
                Access::ApplicationRestricted(signed) => anchor(&mut signed.private_key),
                Access::SignIn(sign_in) => {
                    if let Some(exchange) = &mut sign_in.exchange {
                        anchor(&mut exchange.private_key);
                    }
                }
                Access::UserRestricted(_) | Access::ProfessionalSession(_) => {}
            }
        }
        for tls in self.destinations.iter_mut().filter_map(|destination| destination.tls.as_mut()) {
            anchor(&mut tls.ca);
            tls.certificate.as_mut().map(anchor);
            tls.private_key.as_mut().map(anchor);
        }
        for listener in &mut self.listeners {
            let tls = match listener {
                Listener::Mllp(listener) => &mut listener.tls,
                Listener::Http(listener) => &mut listener.tls,
            };
            if let Some(tls) = tls {
                anchor(&mut tls.certificate);
                anchor(&mut tls.private_key);
                tls.client_ca.as_mut().map(anchor);
            }
        }
    }
}

fn read(file: &Path) -> Result<String, String> {
    let size = std::fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes; this is no settings file"));
    }
    std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))
}

fn not_yaml(file: &Path, error: &serde_saphyr::Error) -> ConfigProblem {
    let (line, column) = error.location().map_or((0, 0), |location| {
        (u32::try_from(location.line()).unwrap_or(0), u32::try_from(location.column()).unwrap_or(0))
    });
    ConfigProblem {
        file: file.to_owned(),
        line,
        column,
        key: String::new(),
        text: format!("is not valid YAML: {error}"),
        hint: None,
    }
}

/// Where a key stands; its nearest enclosing place if it is not written in the file.
fn place_of(tree: &Node, key: &str) -> located::Place {
    let mut node = tree;
    let mut place = tree.place;
    for part in key.split('.') {
        let (name, index) = match part.split_once('[') {
            Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        let located::Value::Map(entries) = &node.value else { return place };
        let Some(entry) = entries.iter().find(|entry| entry.key == name) else { return place };
        (node, place) = (&entry.node, entry.node.place);
        if let (Some(index), located::Value::List(items)) = (index, &node.value)
            && let Some(item) = items.get(index)
        {
            (node, place) = (item, item.place);
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        match Config::parse(text, Path::new("gateway.yaml"), &|_| None) {
            Ok(_) => Vec::new(),
            Err(ConfigError(problems)) => problems.iter().map(ConfigProblem::to_string).collect(),
        }
    }

    #[test]
    fn every_problem_is_shown_at_once_with_its_place_and_a_hint() {
        let text = "\
environment: simulater
instanc: one
pacing: { enabled: false }
listeners:
  - kind: mllp
    listen: 127.0.0.1:2575
    idle_timeout: 5 minutes
    sorce: northmoor
  - kind: mlp
    listen: 127.0.0.1:2576
connections:
  - name: ers
    access: user_restricted
    base_url: http://127.0.0.1:1/FHIR
    token_url: http://127.0.0.1:1/token
    client_id: 42
    client_secret: s
    organisation: RXX00
    business_function: REFERRING_CLINICIAN_ADMIN
sources:
  - name: northmoor
    trust_untraced: maybe
    connection: esr
";
        assert_eq!(
            problems(text),
            [
                "gateway.yaml:1:14: environment: must be one of simulator, int, production (did you mean \"simulator\"?)",
                "gateway.yaml:2:1: instanc: there is no such key (did you mean \"instance\"?)",
                "gateway.yaml:3:1: pacing: there is no such key (it belongs to delivery.pacing)",
                "gateway.yaml:7:19: listeners[0].idle_timeout: a duration is a number and a unit, such as 250ms, 20s, 5m, 4h or 30d",
                "gateway.yaml:8:5: listeners[0].sorce: there is no such key (did you mean \"source\"?)",
                "gateway.yaml:9:11: listeners[1]: must be one of mllp, http (did you mean \"mllp\"?)",
                "gateway.yaml:16:16: connections[0].client_id: must be text, not a number (put it in quotes)",
                "gateway.yaml:22:21: sources[0].trust_untraced: must be a boolean",
            ]
        );
    }

    #[test]
    fn once_every_section_reads_well_they_must_fit_together() {
        let text = Config::demonstration_text().replacen("connection: northmoor", "connection: northmor", 1).replacen(
            "listen: 127.0.0.1:8080",
            "listen: 127.0.0.1:8080\n    source: estvale",
            1,
        );
        let problems = problems(&text);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].ends_with("there is no source \"estvale\" (did you mean \"eastvale\"?)"), "{problems:?}");
        assert!(
            problems[1].ends_with("there is no connection \"northmor\" (did you mean \"northmoor\"?)"),
            "{problems:?}"
        );
    }

    #[test]
    fn the_example_is_valid_and_shows_every_key() {
        let example = Config::example_text();
        Config::parse(example, Path::new("gateway.example.yaml"), &|name| {
            (!name.starts_with("ERS_GATEWAY_")).then(|| "a-secret".into())
        })
        .expect("the example holds together");
        let tree = located::parse(example).expect("YAML");
        let mut written = BTreeSet::new();
        collect_keys(&tree, "", &mut written);
        let missing: Vec<_> = known_keys().difference(&written).cloned().collect();
        assert_eq!(missing, [""; 0], "keys that gateway.example.yaml does not show");
    }

    fn collect_keys(node: &Node, path: &str, keys: &mut BTreeSet<String>) {
        match &node.value {
            located::Value::Map(entries) => {
                for entry in entries {
                    let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                    collect_keys(&entry.node, &path, keys);
                    keys.insert(path);
                }
            }
            located::Value::List(items) => {
                for item in items {
                    collect_keys(item, &format!("{path}[]"), keys);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn a_key_of_the_other_kind_of_access_is_refused() {
        let text = "\
connections:
  - name: ers
    access: application_restricted
    base_url: http://127.0.0.1:1/FHIR
    token_url: http://127.0.0.1:1/token
    client_id: one
    private_key: key.pem
    kid: k1
    organisation: RXX00
";
        assert_eq!(
            problems(text),
            [
                "gateway.yaml:9:5: connections[0].organisation: there is no such key (connections of another kind have it)"
            ]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = "sources:\n  - name: northmoor\n";
        let told = problems(text);
        assert!(told[0].starts_with("gateway.yaml:2:5: sources[0]: needs connection: "), "{told:?}");
    }

    #[test]
    fn variables_override_what_differs_between_machines() {
        let config = Config::parse("instance: one\n", Path::new("/etc/ers-gateway/gateway.yaml"), &|name| match name {
            "ERS_GATEWAY_INSTANCE" => Some("two".into()),
            "ERS_GATEWAY_STORE" => Some("sqlite:/var/lib/ers-gateway/store.db".into()),
            _ => None,
        })
        .expect("settings that hold together");
        assert_eq!(config.instance, "two");
        assert_eq!(config.store.sqlite_path(), Some(PathBuf::from("/var/lib/ers-gateway/store.db")));
    }

    #[test]
    fn relative_paths_start_from_the_folder_of_the_file() {
        let text = "store: sqlite:store.db\nkey_file: keys/gateway.key\n";
        let config =
            Config::parse(text, Path::new("/etc/ers-gateway/gateway.yaml"), &|_| None).expect("two good settings");
        assert_eq!(config.store.sqlite_path(), Some(PathBuf::from("/etc/ers-gateway/store.db")));
        assert_eq!(config.key_file, Some(PathBuf::from("/etc/ers-gateway/keys/gateway.key")));
    }

    #[test]
    fn a_secret_never_stands_in_a_problem() {
        let text = "\
connections:
  - { name: ers, access: user_restricted, base_url: x, token_url: y, client_id: z, client_secret: [hunter2] }
broker: { urls: amqp://gateway:hunter2@broker, in_flight_max: hunter2 }
";
        let problems = problems(text).join("\n");
        assert!(problems.contains("client_secret") && problems.contains("broker.urls"), "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
    }

    #[test]
    fn text_that_is_not_yaml_says_where_it_breaks() {
        let problems = problems("instance: one\nsources: [\n");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("gateway.yaml:"), "{problems:?}");
        assert!(problems[0].contains("is not valid YAML"), "{problems:?}");
    }
}
