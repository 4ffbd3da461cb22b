//! Which connection carries out which command of which source, as far as settings and catalogue say.
//!
//! Enters: settings and a mapping set. Leaves: for each source every command, with the connection that does it, which others
//! stand in for that one, and the calls that they never may make. Guarantees: nothing is asked of e-RS; what depends on a session or on a record is not known here.

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
    /// In order of preference.
    connections: Vec<&'a Connection>,
    commands: Vec<CommandReach<'a>>,
}

struct CommandReach<'a> {
    name: &'a str,
    /// The source's dialect makes it of messages.
    made: bool,
    /// Of each connection.
    by: Vec<Reach>,
}

impl CommandReach<'_> {
    /// The place of the connection that does it: the first that does all, else the first that does some.
    fn doer(&self) -> Option<usize> {
        let all = self.by.iter().position(|reach| *reach == Reach::All);
        all.or_else(|| self.by.iter().position(|reach| matches!(reach, Reach::Part(_))))
    }
}

/// Of every source whose connections are configured.
pub fn of_sources<'a>(config: &'a Config, set: &'a MappingSet) -> Vec<SourceReach<'a>> {
    let sources = config.sources.iter().enumerate();
    sources
        .filter_map(|(index, source)| {
            let found = |name: &str| config.connections.iter().find(|connection| connection.name == name);
            let connections: Vec<&Connection> = source.connections().filter_map(found).collect();
            if connections.is_empty() {
                return None;
            }
            let dialect =
                set.dialect(source.dialect.as_deref().unwrap_or(&source.name)).or_else(|| set.dialect("default"));
            let made = |name: &str| {
                let mappings = dialect.into_iter().flat_map(|dialect| dialect.all());
                mappings
                    .into_iter()
                    .any(|mapping| matches!(&mapping.outcome, InboundOutcome::Command(made) if made == name))
            };
            let commands = set.plans().map(|plan| CommandReach {
                name: plan.command(),
                made: made(plan.command()),
                by: connections.iter().map(|connection| reach(&connection.access, plan, set)).collect(),
            });
            let commands = commands.collect();
            Some(SourceReach { index, source: &source.name, connections, commands })
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
        let mut made = self.commands.iter().filter(|command| command.made).peekable();
        made.peek()?;
        if made.any(|command| command.doer().is_some()) {
            return None;
        }
        self.nobody_does().into_iter().next()
    }

    /// What its messages ask for and none of its connections can do, one by one.
    pub fn nobody_does(&self) -> Vec<String> {
        let names: Vec<&str> = self.connections.iter().map(|connection| connection.name.as_str()).collect();
        let none = self.commands.iter().filter(|command| command.made && command.doer().is_none());
        let told = none.filter_map(|command| {
            let Reach::None { call, why } = command.by.first()? else { return None };
            Some(format!(
                "sources[{}].{}: {} cannot carry out what {} sends, {}: {call} is not for it, {why}",
                self.index,
                if names.len() == 1 { "connection" } else { "connections" },
                names.join(", "),
                self.source,
                command.name,
            ))
        });
        told.collect()
    }

    /// In lines: what each of its connections does, in part, and what none of them does.
    pub fn told(&self) -> String {
        let names: Vec<String> = self
            .connections
            .iter()
            .map(|connection| format!("{} ({})", connection.name, in_whose_name(&connection.access)))
            .collect();
        let word = if names.len() == 1 { "connection" } else { "connections" };
        let mut lines = format!("{} by {word} {}\n", self.source, names.join(", "));
        for (place, connection) in self.connections.iter().enumerate() {
            for (word, part) in [("does", false), ("does in part", true)] {
                let done = self.commands.iter().filter(|command| command.doer() == Some(place));
                let told: Vec<String> = done
                    .filter_map(|command| match (&command.by[place], part) {
                        (Reach::All, false) => Some(command.name.to_owned()),
                        (Reach::Part(calls), true) => Some(format!("{} (not {})", command.name, calls.join(", "))),
                        _ => None,
                    })
                    .collect();
                push_line(&mut lines, &self.of_several(connection, word), &told);
            }
            let stand_in = self.commands.iter().filter(|command| {
                command.doer().is_some_and(|doer| doer < place) && !matches!(command.by[place], Reach::None { .. })
            });
            let told: Vec<String> = stand_in.map(|command| command.name.to_owned()).collect();
            push_line(&mut lines, &self.of_several(connection, "stands in for"), &told);
        }
        let none = self.commands.iter().filter(|command| command.doer().is_none());
        let told: Vec<String> = none.map(|command| command.name.to_owned()).collect();
        push_line(&mut lines, "cannot", &told);
        lines
    }

    fn of_several(&self, connection: &Connection, word: &str) -> String {
        if self.connections.len() == 1 { word.to_owned() } else { format!("{} {word}", connection.name) }
    }

    pub fn as_json(&self) -> Value {
        let commands = self.commands.iter().map(|command| {
            let doer = command.doer();
            let best = doer.map_or(&command.by[0], |place| &command.by[place]);
            let mut told = as_json(best);
            told["command"] = command.name.into();
            told["fromMessages"] = command.made.into();
            told["connection"] = doer.map_or(Value::Null, |place| self.connections[place].name.as_str().into());
            if self.connections.len() > 1 {
                let each = command.by.iter().zip(&self.connections).map(|(reach, connection)| {
                    let mut told = as_json(reach);
                    told["connection"] = connection.name.as_str().into();
                    told
                });
                told["byConnection"] = each.collect();
            }
            told
        });
        let connections = self
            .connections
            .iter()
            .map(|connection| json!({ "connection": connection.name, "access": in_whose_name(&connection.access) }));
        json!({
            "source": self.source,
            "connections": connections.collect::<Vec<_>>(),
            "commands": commands.collect::<Vec<_>>(),
        })
    }
}

fn push_line(lines: &mut String, word: &str, names: &[String]) {
    if !names.is_empty() {
        lines.push_str(&format!("  {word}: {}\n", names.join(", ")));
    }
}

fn as_json(reach: &Reach) -> Value {
    match reach {
        Reach::All => json!({ "reach": "all" }),
        Reach::Part(calls) => json!({ "reach": "part", "without": calls }),
        Reach::None { call, why } => json!({ "reach": "none", "why": format!("{call}: {why}") }),
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
        Access::ProfessionalSession(session) => {
            format!("user {} by smartcard, as {}", session.user, session.business_function)
        }
        Access::SignIn(sign_in) if sign_in.business_functions.is_empty() => "whoever signs in".to_owned(),
        Access::SignIn(sign_in) => format!("whoever signs in as {}", sign_in.business_functions.join(" or ")),
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
    fn of_several_connections_the_preferred_one_does_it_and_others_stand_in() {
        let mut config = unattended(&["A028"]);
        let mut person = with_function("REFERRING_CLINICIAN").connections.remove(0);
        person.name = "person".into();
        config.connections.push(person);
        config.sources[0].several_connections = vec!["person".into(), config.connections[0].name.clone()];
        config.sources[0].connection = None;
        let told = reach_of(&config, "CreateReferral");
        assert_eq!((&told["reach"], &told["connection"]), (&json!("all"), &json!("person")), "{told}");
        assert_eq!(told["byConnection"][1]["reach"], "none", "{told}");
        // The first that does it wholly, whatever stands before it.
        let review = reach_of(&config, "RecordReviewOutcome");
        assert_eq!(review["connection"], config.connections[0].name.as_str(), "{review}");
        let set = MappingSet::built_in().expect("the shipped mappings are whole");
        let lines = of_sources(&config, &set)[0].told();
        assert!(lines.contains("stands in for: ") && lines.contains("person does: "), "{lines}");
        assert_eq!(reach_of(&config, "RejectReferral")["connection"], Value::Null);
        let none = of_sources(&config, &set)[0].nobody_does();
        assert!(none.iter().any(|line| line.contains("RejectReferral")), "{none:?}");
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
