//! The history checker: three ledgers beside each other, with the store as their witness.
//!
//! Enters: what senders were told, what e-RS did, what consumers got, and what the store says of it all, once
//! everything has come to rest. Leaves: whatever contradicts section 4 of the design, in words; nothing if it was kept.
//! Guarantees: it knows how a history came about from nothing but the ledgers, so the same checker judges processes that
//! were killed, gateways that share a database and simulated worlds.
//!
//! | File | Asks |
//! |---|---|
//! | `told` | is anything missing that a sender was told is in good hands; was a resend answered as before |
//! | `done` | did e-RS do anything twice, unannounced, blindly, or in another order than it was asked for |
//! | `heard` | did consumers get every event, in order, and does each tell of one change |
//! | `states` | is every command's life one that can be, and does its end agree with what e-RS did |

mod done;
mod heard;
pub mod kept;
mod states;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ers_gateway::command::CommandId;
use ers_gateway::mapping::MappingSet;
use ers_gateway::simulator::{Creation, Entry, ReferralView, SimulatorHandle};
use serde_json::Value;

use self::kept::{Kept, KeptCommand};

/// What a sender sent, and what it was told. In one referral's order of sending.
#[derive(Clone, Debug)]
pub struct Sent {
    pub source: String,
    /// Control id or idempotency key.
    pub key: String,
    /// The sender's own name for the referral.
    pub referral: String,
    pub asked: Asked,
    /// Every answer that arrived.
    pub answers: Vec<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// For a patient who is in no other.
    Referral {
        nhs_number: String,
    },
    /// With a file name that no other letter of the referral has.
    Letter {
        file_name: String,
    },
    Cancellation,
    /// The referral once more, under another key: nothing new.
    Again,
    /// Something else under a key that was used before: it is refused.
    KeyUsedAgain,
    /// What e-RS, or its rules, let nobody do: a person sees to it.
    Forbidden,
    /// What no gateway can carry out.
    Nonsense,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is in good hands. The words in which it was said, to be compared with those of a resend.
    Taken(String),
    Refused,
    /// Not now: come again.
    Later,
}

/// What e-RS did.
#[derive(Default)]
pub struct Done {
    pub calls: Vec<Entry>,
    pub made: Vec<Creation>,
    pub referrals: Vec<ReferralView>,
}

impl Done {
    pub fn by(ers: &SimulatorHandle) -> Self {
        Self { calls: ers.ledger(), made: ers.creations(), referrals: ers.referrals() }
    }
}

pub struct History {
    pub sent: Vec<Sent>,
    pub done: Done,
    /// Events as consumers got them, repeats included, in the order of their arrival.
    pub heard: Vec<Value>,
    pub kept: Kept,
}

/// A promise that was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// Acknowledged, and not to be found, or at a standstill that nobody sees.
    Missing,
    /// A resend was not answered as the message was.
    AnsweredOtherwise,
    /// e-RS did something twice.
    Twice,
    /// A write came to e-RS that no row announced.
    Unannounced,
    /// A write was sent again although the one before may have been carried out.
    Blind,
    /// Something of one referral was done before what came before it.
    Overtaken,
    /// An event is missing, invented, changed or out of order.
    Unheard,
    /// An event does not tell of exactly one change.
    Unmatched,
    /// A state, or a step to it, that cannot be.
    Illegal,
    /// What the store says is done, and what e-RS did, differ.
    Untrue,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub broken: Broken,
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.broken, self.how)
    }
}

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, broken: Broken, how: impl Into<String>) {
        self.0.push(Violation { broken, how: how.into() });
    }

    /// Unless it holds.
    fn expect(&mut self, holds: bool, broken: Broken, how: impl FnOnce() -> String) {
        if !holds {
            self.add(broken, how());
        }
    }
}

/// What came of everything, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub referrals: u64,
    pub letters: u64,
    pub completed: u64,
    pub in_doubt: u64,
    pub failed: u64,
    pub held: u64,
    pub repeated_events: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { referrals, letters, completed, in_doubt, failed, held, repeated_events } = self;
        write!(
            f,
            "{referrals} referrals and {letters} letters: {completed} done, {in_doubt} in doubt, {failed} failed, \
             {held} held; {repeated_events} events repeated"
        )
    }
}

impl Outcome {
    /// Of several histories.
    pub fn add(&mut self, other: &Self) {
        self.referrals += other.referrals;
        self.letters += other.letters;
        self.completed += other.completed;
        self.in_doubt += other.in_doubt;
        self.failed += other.failed;
        self.held += other.held;
        self.repeated_events += other.repeated_events;
    }
}

impl History {
    /// Everything that contradicts the promises. `set`: says which calls are writes.
    pub fn check(&self, set: &MappingSet) -> Vec<Violation> {
        let mut findings = Findings::default();
        let facts = Facts::of(self);
        told::check(self, &facts, &mut findings);
        done::check(self, &facts, set, &mut findings);
        heard::check(self, &mut findings);
        states::check(self, &facts, &mut findings);
        findings.0
    }

    /// The same as a test wants it.
    pub fn expect_kept(&self, set: &MappingSet) -> Outcome {
        let violations = self.check(set);
        let told: Vec<String> = violations.iter().map(Violation::to_string).collect();
        assert!(violations.is_empty(), "{} promises are broken:\n{}", told.len(), told.join("\n"));
        self.outcome()
    }

    pub fn outcome(&self) -> Outcome {
        let mut outcome = Outcome::default();
        for sent in self.sent.iter().filter(|sent| sent.is_taken()) {
            match sent.asked {
                Asked::Referral { .. } => outcome.referrals += 1,
                Asked::Letter { .. } => outcome.letters += 1,
                Asked::Cancellation | Asked::Again | Asked::KeyUsedAgain | Asked::Forbidden | Asked::Nonsense => {}
            }
        }
        for command in self.kept.commands() {
            *match command.view.state.name() {
                "in_doubt" => &mut outcome.in_doubt,
                "failed" => &mut outcome.failed,
                "queued" => &mut outcome.held,
                _ => &mut outcome.completed,
            } += 1;
        }
        let ids: BTreeSet<&str> = self.heard.iter().filter_map(|event| event["id"].as_str()).collect();
        outcome.repeated_events = (self.heard.len() - ids.len()) as u64;
        outcome
    }
}

/// What contradicts the order of threads in events as they arrived.
pub fn out_of_order(heard: &[Value]) -> Vec<Violation> {
    let mut findings = Findings::default();
    heard::in_order(heard, &mut findings);
    findings.0
}

impl Sent {
    pub fn is_taken(&self) -> bool {
        self.answers.iter().any(|told| matches!(told, Told::Taken(_)))
    }

    fn is_refused(&self) -> bool {
        self.answers.contains(&Told::Refused)
    }
}

/// The ledgers by what they have in common.
struct Facts<'h> {
    /// Places of messages in the order of one sender's referral.
    by_command: BTreeMap<CommandId, &'h KeptCommand>,
    /// Attempts by the correlation id under which e-RS saw them: command and step.
    by_correlation: BTreeMap<&'h str, (&'h KeptCommand, &'h str)>,
    made: BTreeMap<&'h str, Vec<&'h Creation>>,
    referrals: BTreeMap<&'h str, &'h ReferralView>,
}

impl<'h> Facts<'h> {
    fn of(history: &'h History) -> Self {
        let mut facts = Self {
            by_command: BTreeMap::new(),
            by_correlation: BTreeMap::new(),
            made: BTreeMap::new(),
            referrals: history.done.referrals.iter().map(|referral| (referral.ubrn.as_str(), referral)).collect(),
        };
        for command in history.kept.commands() {
            facts.by_command.insert(command.view.id, command);
            for attempt in &command.attempts {
                facts.by_correlation.insert(&attempt.correlation_id, (command, &attempt.step));
            }
        }
        for creation in &history.done.made {
            facts.made.entry(&creation.nhs_number).or_default().push(creation);
        }
        facts
    }
}
