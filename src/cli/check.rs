//! `check`: everything that can be known to be wrong before the gateway runs.

mod reach;

use std::path::Path;

use clap::Args;
use serde_json::json;

use self::reach::{SourceReach, of_sources};

use super::exit::{CliError, Done};
use super::settings::{self, Settings};
use crate::config::{Access, Config, Listener};
use crate::mapping::{Dialect, Effect, MappingFiles, MappingSet, Operation};

/// Check settings, mappings and the files that they name; sends nothing
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway check --config gateway.yaml     every problem with file, line, column and a hint
  ers-gateway check --example > gateway.yaml  a commented settings file to start from
  ers-gateway check                           the built-in demonstration
  ers-gateway check --config gateway.yaml --reach          which connection does which command of which source
  ers-gateway check --config gateway.yaml --reach --strict fails where none of them may
  ers-gateway check --config gateway.yaml --reach --json   the same for a program

Exit codes: 0 all is well, 1 there are problems.")]
pub struct Check {
    #[command(flatten)]
    settings: Settings,
    /// Do not look for the variables, certificates and keys that the settings name
    #[arg(long, requires = "config")]
    for_another_machine: bool,
    /// Say of every source and command which of the source's connections carries it out
    #[arg(long, conflicts_with = "example")]
    reach: bool,
    /// With --reach: a problem for each command that a source sends and none of its connections may carry out
    #[arg(long, requires = "reach")]
    strict: bool,
    /// With --reach: JSON, for a program
    #[arg(long, requires = "reach")]
    json: bool,
    /// Print a settings file that shows every key, and stop
    #[arg(long)]
    example: bool,
}

impl Check {
    pub fn run(self) -> Done {
        if self.example {
            print!("{}", Config::example_text());
            return Ok(());
        }
        let (config, problems) = match (&self.settings.config, self.for_another_machine) {
            (Some(file), true) => (Config::load_for_another_machine(file).map_err(settings::problems)?, Vec::new()),
            _ => {
                let config = self.settings.load()?;
                let missing = missing_files(&config);
                (config, missing)
            }
        };
        let mut problems: Vec<String> =
            problems.into_iter().map(|problem| format!("{}: {problem}", self.settings.name())).collect();
        match mapping_set(&config) {
            Err(found) => problems.extend(found),
            Ok(set) => {
                problems.extend(mapping_problems(&config, &set));
                let reaches = of_sources(&config, &set);
                problems.extend(match self.strict {
                    true => reaches.iter().flat_map(SourceReach::nobody_does).collect::<Vec<_>>(),
                    false => reaches.iter().filter_map(SourceReach::problem).collect(),
                });
                if self.reach {
                    self.tell(&reaches);
                }
            }
        }
        for problem in &problems {
            eprintln!("{problem}");
        }
        if !problems.is_empty() {
            return Err(CliError::No(format!("{} found", count(problems.len(), "problem"))));
        }
        if self.json {
            return Ok(());
        }
        println!(
            "{}: {}, {}, {}: no problem found",
            self.settings.name(),
            count(config.sources.len(), "source"),
            count(config.listeners.len(), "listener"),
            count(config.connections.len(), "connection"),
        );
        Ok(())
    }
}

impl Check {
    fn tell(&self, reaches: &[SourceReach<'_>]) {
        if self.json {
            println!("{:#}", json!({ "sources": reaches.iter().map(SourceReach::as_json).collect::<Vec<_>>() }));
            return;
        }
        for reach in reaches {
            println!("{}", reach.told());
        }
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// The set that the gateway would use, or everything that is wrong with its files.
fn mapping_set(config: &Config) -> Result<MappingSet, Vec<String>> {
    let files = match &config.mappings {
        None => MappingFiles::built_in(),
        Some(folder) => MappingFiles::from_folder(folder).map_err(|error| vec![format!("mappings: {error}")])?,
    };
    MappingSet::load(files).map_err(|diagnostics| diagnostics.iter().map(ToString::to_string).collect())
}

/// What sources, destinations and approvals ask of the mapping files, and is not there.
fn mapping_problems(config: &Config, set: &MappingSet) -> Vec<String> {
    let told: Vec<&str> = set.outbound_dialects().collect();
    let tells = config.destinations.iter().enumerate().filter(|(_, destination)| !destination.tells.is_empty());
    let unknown = tells.filter(|(_, destination)| !told.contains(&destination.dialect.as_str()));
    let mut problems: Vec<String> = unknown
        .map(|(index, destination)| {
            let (dialect, known) = (&destination.dialect, told.join(", "));
            format!(
                "destinations[{index}].dialect: there is no folder outbound/{dialect} among the mappings (there are {known})"
            )
        })
        .collect();
    let dialects: Vec<&str> = set.dialects().map(Dialect::name).collect();
    let asked =
        config.sources.iter().enumerate().filter_map(|(index, source)| Some((index, source.dialect.as_deref()?)));
    let unknown = asked.filter(|(_, dialect)| !dialects.contains(dialect)).map(|(index, dialect)| {
        let known = dialects.join(", ");
        format!("sources[{index}].dialect: there is no folder inbound/{dialect} among the mappings (there are {known})")
    });
    problems.extend(unknown);
    problems.extend(unattended_problems(config, set));
    problems
}

/// What is approved for unattended software must be a write that e-RS opens to it, and as narrow as that can be said.
fn unattended_problems(config: &Config, set: &MappingSet) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, connection) in config.connections.iter().enumerate() {
        let Access::ApplicationRestricted(signed) = &connection.access else { continue };
        for (number, write) in signed.unattended.iter().enumerate() {
            let at = |field: &str| format!("connections[{index}].unattended[{number}].{field}");
            let open = |operation: &&Operation| operation.application_restricted && operation.effect != Effect::Read;
            let Some(operation) = set.operation(&write.operation).filter(open) else {
                let text = "is no write that e-RS opens to unattended software (mappings/ers/operations.yaml)";
                problems.push(format!("{}: {} {text}", at("operation"), write.operation));
                continue;
            };
            match (&operation.limited_by, write.only.is_empty()) {
                (Some(parameter), true) => problems.push(format!(
                    "{}: which codes of {parameter} does the approval name? {} is open to these only",
                    at("only"),
                    write.operation
                )),
                (None, false) => {
                    problems.push(format!("{}: {} has no outcomes or reasons", at("only"), write.operation));
                }
                _ => {}
            }
        }
    }
    problems
}

/// Files that must be readable when the gateway starts.
fn missing_files(config: &Config) -> Vec<String> {
    let mut missing = Vec::new();
    let mut look = |key: String, path: &Path| {
        if let Err(error) = std::fs::File::open(path) {
            missing.push(format!("{key}: cannot read {}: {error}", path.display()));
        }
    };
    for (index, listener) in config.listeners.iter().enumerate() {
        let tls = match listener {
            Listener::Mllp(listener) => &listener.tls,
            Listener::Http(listener) => &listener.tls,
        };
        let Some(tls) = tls else { continue };
        look(format!("listeners[{index}].tls.certificate"), &tls.certificate);
        look(format!("listeners[{index}].tls.private_key"), &tls.private_key);
        if let Some(ca) = &tls.client_ca {
            look(format!("listeners[{index}].tls.client_ca"), ca);
        }
    }
    for (index, destination) in config.destinations.iter().enumerate() {
        let Some(tls) = &destination.tls else { continue };
        let key = |field: &str| format!("destinations[{index}].tls.{field}");
        look(key("ca"), &tls.ca);
        for (field, path) in [("certificate", &tls.certificate), ("private_key", &tls.private_key)] {
            if let Some(path) = path {
                look(key(field), path);
            }
        }
    }
    for (index, connection) in config.connections.iter().enumerate() {
        if let Some(ca) = &connection.ca {
            look(format!("connections[{index}].ca"), ca);
        }
        let key = match &connection.access {
            Access::ApplicationRestricted(signed) => Some(&signed.private_key),
            Access::SignIn(sign_in) => sign_in.exchange.as_ref().map(|exchange| &exchange.private_key),
            Access::UserRestricted(_) | Access::ProfessionalSession(_) => None,
        };
        if let Some(key) = key {
            look(format!("connections[{index}].private_key"), key);
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SignedJwt, Unattended};

    #[test]
    fn files_that_are_not_there_are_named_by_their_keys() {
        let config = Config::parse(Config::example_text(), Path::new("gateway.example.yaml"), &|name| {
            (!name.starts_with("ERS_GATEWAY_")).then(|| "a-secret".into())
        })
        .expect("the example holds together");
        let missing = missing_files(&config).join("\n");
        for key in [
            "listeners[1].tls.certificate",
            "listeners[1].tls.client_ca",
            "destinations[0].tls.ca",
            "destinations[0].tls.private_key",
            "connections[0].ca",
            "connections[4].private_key",
        ] {
            assert!(missing.contains(key), "{key} is not in {missing}");
        }
    }

    #[test]
    fn approvals_are_for_writes_that_e_rs_opens_and_as_narrow_as_these_can_be() {
        let set = MappingSet::built_in().expect("the shipped mappings are whole");
        for (operation, only, says) in [
            ("A013", vec![], None),
            ("A013", vec!["OTHER"], Some("unattended[0].only: A013 has no outcomes or reasons")),
            ("A028", vec!["ACCEPT_REFER_BOOK_LATER"], None),
            ("A028", vec![], Some("unattended[0].only: which codes of reviewOutcome")),
            ("A036", vec![], Some("which codes of cancellationReason")),
            ("A014", vec!["OTHER"], Some("unattended[0].operation: A014 is no write that e-RS opens")),
            ("A005", vec![], Some("A005 is no write")),
            ("A999", vec![], Some("A999 is no write")),
        ] {
            let mut config = Config::demonstration();
            let only = only.iter().map(|code: &&str| (*code).to_owned()).collect();
            let unattended = vec![Unattended { operation: operation.into(), approval: "EXAMPLE-1".into(), only }];
            config.connections[0].access = Access::ApplicationRestricted(SignedJwt {
                private_key: "key.pem".into(),
                kid: "k1".into(),
                unattended,
            });
            let problems = unattended_problems(&config, &set);
            match says {
                None => assert_eq!(problems, Vec::<String>::new(), "{operation}"),
                Some(says) => assert!(problems.len() == 1 && problems[0].contains(says), "{operation}: {problems:?}"),
            }
        }
    }
}
