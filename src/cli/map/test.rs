//! `map test`: the tests that stand beside the mappings.

use std::collections::BTreeSet;

use bytes::Bytes;
use clap::Args;

use super::subject::Subject;
use crate::cli::exit::{CliError, Done};
use crate::config::{Config, Source};
use crate::events::EventSchemas;
use crate::intake::{Sources, try_message};
use crate::mapping::{MappingFiles, MappingSet, MappingTest, OutboundTest, TestOutcome};
use crate::outbound::try_event;

/// Run the tests beside the mappings (inbound/DIALECT/tests/*.yaml, outbound/DIALECT/tests/*.yaml)
#[derive(Args)]
#[command(after_help = "\
Examples:
  ers-gateway map test                                  the built-in mappings
  ers-gateway map test --mappings mappings northmoor    one dialect of a folder

A test is a message and what must come of it:
  message: |
    MSH|^~\\&|NMPAS|RXX00|ERSGW|RXX00|20260316||REF^I12|1|P|2.3
    …
  expect: { ack: AA, command: CreateReferral, body: { /priority: ROUTINE }, calls: [A011], unused: [] }

or, under outbound, an event and every message that comes of it:
  event: ReferralReceived
  data: { ubrn: \"000000070000\", … }
  expect: [ … ]

Exit codes: 0 all pass, 1 some fail.")]
pub struct Test {
    /// Only this dialect
    dialect: Option<String>,
    #[command(flatten)]
    subject: Subject,
}

impl Test {
    pub fn run(self) -> Done {
        let config = self.subject.config()?;
        let files = self.subject.files(&config)?;
        let set = self.subject.set(&config)?;
        let is_known = |name: &str| set.dialect(name).is_some() || set.outbound(name).is_some();
        if let Some(wanted) = self.dialect.as_deref().filter(|wanted| !is_known(wanted)) {
            let known: BTreeSet<&str> =
                set.dialects().map(|dialect| dialect.name()).chain(set.outbound_dialects()).collect();
            let known: Vec<&str> = known.into_iter().collect();
            return Err(CliError::NotFound(format!("there is no dialect {wanted}; there are {}", known.join(", "))));
        }
        let (mut passed, mut failed) = (0, 0);
        for folder in ["inbound", "outbound"] {
            for dialect in files.folders_in(folder) {
                if self.dialect.as_deref().is_some_and(|wanted| wanted != dialect) {
                    continue;
                }
                for (name, file, text) in files.in_folder(&format!("{folder}/{dialect}/tests"), "yaml") {
                    let differences = match folder {
                        "outbound" => run_event(&set, dialect, text),
                        _ => run_one(&config, &set, dialect, text),
                    };
                    if differences.is_empty() {
                        passed += 1;
                        println!("ok      {dialect}/{name}");
                    } else {
                        failed += 1;
                        println!("FAILED  {dialect}/{name} (mappings/{file})");
                        differences.iter().for_each(|difference| println!("          {difference}"));
                    }
                }
            }
        }
        report_untested(&files, self.dialect.as_deref());
        println!("{passed} passed, {failed} failed");
        match (passed, failed) {
            (0, 0) => Err(CliError::No("there are no tests: add some under inbound/DIALECT/tests".into())),
            (_, 0) => Ok(()),
            _ => Err(CliError::No(format!("{failed} of {} mapping tests fail", passed + failed))),
        }
    }
}

fn report_untested(files: &MappingFiles, only: Option<&str>) {
    for dialect in files.folders_in("inbound") {
        let asked = only.is_none_or(|wanted| wanted == dialect);
        let has_mappings = files.in_folder(&format!("inbound/{dialect}"), "yaml").len() > 1;
        if asked && has_mappings && files.in_folder(&format!("inbound/{dialect}/tests"), "yaml").is_empty() {
            println!("note    {dialect} has mappings but no tests");
        }
    }
}

/// Every difference; a test that cannot be read is one.
fn run_one(config: &Config, set: &MappingSet, dialect: &str, text: &str) -> Vec<String> {
    let test: MappingTest = match serde_saphyr::from_str(text) {
        Ok(test) => test,
        Err(error) => {
            return vec![format!("the test cannot be read: {}", error.to_string().lines().next().unwrap_or_default())];
        }
    };
    let Some(source) = source_for(config, dialect, &test) else { return vec!["the settings have no source".into()] };
    let sources = Sources::new(std::slice::from_ref(&source));
    let Some(known) = sources.named(&source.name) else { return vec!["the source cannot be made".into()] };
    let connection = super::subject::connection(config, &source, test.business_function.as_deref());
    let trial = match try_message(set, known, &connection, &Bytes::from(test.message.clone())) {
        Ok(trial) => trial,
        Err(problem) => return vec![format!("the plan cannot be made: {problem}")],
    };
    let trial = serde_json::to_value(&trial).unwrap_or_default();
    test.expect.differences(&TestOutcome { trial: &trial })
}

/// The same of an event, whose data must be what its schema takes.
fn run_event(set: &MappingSet, dialect: &str, text: &str) -> Vec<String> {
    let test: OutboundTest = match serde_saphyr::from_str(text) {
        Ok(test) => test,
        Err(error) => {
            return vec![format!("the test cannot be read: {}", error.to_string().lines().next().unwrap_or_default())];
        }
    };
    let misfits = EventSchemas::built_in().violations(&test.event, &test.data);
    let mut differences: Vec<String> =
        misfits.iter().map(|misfit| format!("data{}: {}", misfit.pointer, misfit.text)).collect();
    match try_event(set, dialect, &test) {
        Ok(made) => differences.extend(test.differences(&made)),
        Err(why) => differences.push(why),
    }
    differences
}

/// The configured source of this dialect, or one with defaults; the test's own settings go over it.
fn source_for(config: &Config, dialect: &str, test: &MappingTest) -> Option<Source> {
    let speaks = |source: &&Source| source.dialect.as_deref().unwrap_or(&source.name) == dialect;
    let configured = config.sources.iter().find(speaks).or(config.sources.first()).cloned();
    let mut source = configured.or_else(|| Config::demonstration().sources.into_iter().next())?;
    source.dialect = Some(dialect.to_owned());
    for (name, value) in &test.settings {
        match (name.as_str(), value.as_bool()) {
            ("trustUntraced", Some(flag)) => source.trust_untraced = flag,
            ("searchFirst", Some(flag)) => source.search_first = flag,
            ("followScans", Some(flag)) => source.follow_scans = flag,
            ("bookByWish", Some(flag)) => source.book_by_wish = flag,
            _ => {
                source.settings.insert(name.clone(), value.clone());
            }
        }
    }
    Some(source)
}
