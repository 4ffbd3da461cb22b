//! Which connection carries out which command of which source, as far as settings and catalogue say.
//!
//! Enters: settings and a mapping set. Leaves: for each source every command, with the calls that its connection never may
//! make. Guarantees: nothing is asked of e-RS; what depends on a session or on a record is not known here.

use serde_json::{Value, json};

use crate::config::{Access, Config, Connection};
use crate::ers::refuses;
use crate::mapping::{CommandPlan, InboundOutcome, MappingSet};

/// What one connection can do for one command.
#[derive(Debug, PartialEq, Eq)]
enum Reach {
    /// Every call of its plan.
    All,
    /// Some calls, by what the plan comes upon: these not.
    Part(Vec<String>),
    /// No call that does what the command is for; the first of them, and why.
    None { call: String, why: &'static str },
}

/// One source with everything that it may ask for.
pub struct SourceReach<'a> {
    index: usize,
    source: &'a str,
    connection: &'a Connection,
    /// By name; true where the source's dialect makes it of messages.
    commands: Vec<(&'a str, bool, Reach)>,
}

/// Of every source whose connection is configured.
pub fn of_sources<'a>(config: &'a Config, set: &'a MappingSet) -> Vec<SourceReach<'a>> {
    let sources = config.sources.iter().enumerate();
    sources
        .filter_map(|(index, source)| {
            let connection = config.connections.iter().find(|connection| connection.name == source.connection)?;
            let dialect =
                set.dialect(source.dialect.as_deref().unwrap_or(&source.name)).or_else(|| set.dialect("default"));
            let made = |name: &str| {
                let mappings = dialect.into_iter().flat_map(|dialect| dialect.all());
                mappings
                    .into_iter()
                    .any(|mapping| matches!(&mapping.outcome, InboundOutcome::Command(made) if made == name))
            };
            let commands = set.plans().map(|plan| {
                let name = plan.command();
                (name, made(name), reach(&connection.access, plan, set))
            });
            Some(SourceReach { index, source: &source.name, connection, commands: commands.collect() })
        })
        .collect()
}

fn reach(access: &Access, plan: &CommandPlan, set: &MappingSet) -> Reach {
    let is_read = plan.is_read();
    let (mut refused, mut does) = (Vec::new(), false);
    for (_, call) in plan.calls() {
        let Some(operation) = set.operation(call) else { continue };
        // What a command is for: of one that only reads any call, of others a call that writes.
        let is_purpose = is_read || operation.effect.leaves_doubt();
        match refuses(access, call, operation) {
            None => does |= is_purpose,
            Some(why) => refused.push((call.to_owned(), why, is_purpose)),
        }
    }
    match refused.iter().find(|(_, _, is_purpose)| *is_purpose).or(refused.first()) {
        None => Reach::All,
        Some((call, why, _)) if !does => Reach::None { call: call.clone(), why },
        Some(_) => {
            let mut calls: Vec<String> = refused.into_iter().map(|(call, ..)| call).collect();
            calls.sort();
            calls.dedup();
            Reach::Part(calls)
        }
    }
}

impl SourceReach<'_> {
    /// A source of whose messages nothing can come.
    pub fn problem(&self) -> Option<String> {
        let mut made = self.commands.iter().filter(|(_, made, _)| *made).peekable();
        made.peek()?;
        let mut first = None;
        for (name, _, reach) in made {
            match reach {
                Reach::None { call, why } => first = first.or(Some((name, call, why))),
                Reach::All | Reach::Part(_) => return None,
            }
        }
        let (name, call, why) = first?;
        Some(format!(
            "sources[{}].connection: {} can carry out nothing that {} sends, such as {name}: {call} is not for it, {why}",
            self.index, self.connection.name, self.source
        ))
    }

    /// In lines: what its connection does, in part, and not.
    pub fn told(&self) -> String {
        let names = |wanted: fn(&Reach) -> bool| -> Vec<String> {
            let of = self.commands.iter().filter(|(_, _, reach)| wanted(reach));
            of.map(|(name, _, reach)| match reach {
                Reach::Part(calls) => format!("{name} (not {})", calls.join(", ")),
                Reach::All | Reach::None { .. } => (*name).to_owned(),
            })
            .collect()
        };
        let mut lines = format!(
            "{} by connection {} ({})\n",
            self.source,
            self.connection.name,
            in_whose_name(&self.connection.access)
        );
        for (word, names) in [
            ("does", names(|reach| *reach == Reach::All)),
            ("does in part", names(|reach| matches!(reach, Reach::Part(_)))),
            ("cannot", names(|reach| matches!(reach, Reach::None { .. }))),
        ] {
            if !names.is_empty() {
                lines.push_str(&format!("  {word}: {}\n", names.join(", ")));
            }
        }
        lines
    }

    pub fn as_json(&self) -> Value {
        let commands = self.commands.iter().map(|(name, made, reach)| {
            let mut told = json!({"command": name, "fromMessages": made, "reach": match reach {
                Reach::All => "all",
                Reach::Part(_) => "part",
                Reach::None { .. } => "none",
            }});
            match reach {
                Reach::All => {}
                Reach::Part(calls) => told["without"] = json!(calls),
                Reach::None { call, why } => told["why"] = json!(format!("{call}: {why}")),
            }
            told
        });
        json!({
            "source": self.source,
            "connection": self.connection.name,
            "access": in_whose_name(&self.connection.access),
            "commands": commands.collect::<Vec<_>>(),
        })
    }
}

fn in_whose_name(access: &Access) -> String {
    match access {
        Access::ApplicationRestricted(signed) => match signed.unattended.len() {
            0 => "unattended, reads only".to_owned(),
            1 => "unattended, with 1 approval".to_owned(),
            more => format!("unattended, with {more} approvals"),
        },
        Access::UserRestricted(user) => format!("a signed-in {}", user.business_function),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SignedJwt, Unattended};

    fn with_function(function: &str) -> Config {
        let mut config = Config::demonstration();
        for connection in &mut config.connections {
            if let Access::UserRestricted(user) = &mut connection.access {
                user.business_function = function.into();
            }
        }
        config
    }

    fn unattended(approved: &[&str]) -> Config {
        let mut config = Config::demonstration();
        for connection in &mut config.connections {
            let approval = |call: &&str| Unattended {
                operation: (*call).into(),
                approval: "EXAMPLE-1".into(),
                only: vec!["RETURN_TO_REFERRER_WITH_ADVICE".into()],
            };
            connection.access = Access::ApplicationRestricted(SignedJwt {
                private_key: "key.pem".into(),
                kid: "k1".into(),
                unattended: approved.iter().map(approval).collect(),
            });
        }
        config
    }

    fn reach_of(config: &Config, command: &str) -> Value {
        let set = MappingSet::built_in().expect("the shipped mappings are whole");
        let told = of_sources(config, &set).remove(0).as_json();
        let commands = told["commands"].as_array().expect("a list").clone();
        commands.into_iter().find(|one| one["command"] == command).expect("a command")
    }

    #[test]
    fn who_may_do_what_follows_from_access_and_function() {
        let (referrer, provider) = (with_function("REFERRING_CLINICIAN"), with_function("SERVICE_PROVIDER_CLINICIAN"));
        for (config, command, reach) in [
            (&referrer, "CreateReferral", "all"),
            (&provider, "CreateReferral", "none"),
            (&referrer, "RejectReferral", "none"),
            // A040 is for administrators, who act for somebody.
            (&provider, "RejectReferral", "part"),
            (&provider, "RetrieveReferral", "all"),
            (&unattended(&[]), "RecordReviewOutcome", "none"),
            (&unattended(&[]), "CreateReferral", "none"),
            (&unattended(&[]), "RetrieveReferral", "all"),
        ] {
            let told = reach_of(config, command);
            assert_eq!(told["reach"], reach, "{command}: {told}");
        }
        let approved = reach_of(&unattended(&["A028"]), "RecordReviewOutcome");
        assert_ne!(approved["reach"], "none", "{approved}");
    }

    #[test]
    fn a_source_of_whose_messages_nothing_can_come_is_a_problem() {
        let set = MappingSet::built_in().expect("the shipped mappings are whole");
        let none = |config: &Config| of_sources(config, &set).iter().all(|reach| reach.problem().is_none());
        assert!(none(&with_function("REFERRING_CLINICIAN")));
        assert!(none(&with_function("SERVICE_PROVIDER_CLINICIAN")));
        let config = with_function("INFORMATION_ANALYST");
        let problems: Vec<_> = of_sources(&config, &set).iter().filter_map(SourceReach::problem).collect();
        assert_eq!(problems.len(), config.sources.len(), "{problems:?}");
        assert!(
            problems[0].starts_with("sources[0].connection: ") && problems[0].contains("is not for it"),
            "{problems:?}"
        );
    }
}
