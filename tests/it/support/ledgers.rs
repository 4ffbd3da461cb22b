//! The three ledgers beside each other, with the store as their witness.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ers_gateway::command::State;
use ers_gateway::config::StoreUrl;
use ers_gateway::environment::Environment;
use ers_gateway::simulator::{Creation, SimulatorHandle};
use ers_gateway::store::{self, CommandView, MessageFilter, Store};

use super::consumer::Heard;
use super::load::{Told, ToldLetter};

/// What came of the load.
#[derive(Default)]
pub struct Found {
    pub referrals: u64,
    pub letters: u64,
    pub completed: u64,
    pub in_doubt: u64,
    pub held: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { referrals, letters, completed, in_doubt, held } = self;
        write!(f, "{referrals} referrals and {letters} letters: {completed} done, {in_doubt} in doubt, {held} held")
    }
}

struct Ledgers<'a> {
    store: Arc<dyn Store>,
    heard: &'a Heard,
    ers: &'a SimulatorHandle,
    /// What e-RS made, by patient.
    made: BTreeMap<String, Creation>,
    /// UBRNs whose making nobody was told of.
    answer_lost: BTreeSet<String>,
}

pub async fn compare(told: &[Told], ers: &SimulatorHandle, store: &StoreUrl, heard: &Heard) -> Found {
    let mut made = BTreeMap::new();
    for creation in ers.creations() {
        let before = made.insert(creation.nhs_number.to_string(), creation);
        assert!(before.is_none(), "made twice: {before:?}");
    }
    let lost = ers.ledger().into_iter().filter(|entry| entry.operation == "A011" && !entry.delivered);
    let answer_lost = lost.filter_map(|entry| entry.ubrn).map(|ubrn| ubrn.to_string()).collect();
    let environment = Environment::system();
    let store = store::open_to_act(store, &environment).await.expect("the store is whole");
    let ledgers = Ledgers { store, heard, ers, made, answer_lost };
    let mut found = Found::default();
    for referral in told {
        ledgers.referral(referral, &mut found).await;
    }
    let known: BTreeSet<&str> = told.iter().map(|told| told.nhs_number.as_str()).collect();
    for patient in ledgers.made.keys() {
        assert!(known.contains(patient.as_str()), "nobody asked for a referral of {patient}");
    }
    ledgers.events().await;
    ledgers.store.verify().await.expect("the store is whole");
    found
}

impl Ledgers<'_> {
    /// The one command of a message that its sender was told of.
    async fn command(&self, source: &str, key: &str) -> CommandView {
        let filter = MessageFilter {
            source: Some(source.into()),
            control_id: Some(key.into()),
            max: 10,
            ..MessageFilter::default()
        };
        let messages = self.store.messages(filter).await.expect("the store is whole");
        assert_eq!(messages.len(), 1, "{source} {key} was acknowledged and is stored once");
        let mut commands = self.store.commands_of(messages[0].id).await.expect("the store is whole");
        assert_eq!(commands.len(), 1, "{source} {key}");
        commands.remove(0)
    }

    async fn referral(&self, told: &Told, found: &mut Found) {
        let command = self.command(told.source, &told.key).await;
        let id = command.id.to_string();
        let made = self.made.get(&told.nhs_number);
        let created: Vec<_> = self.heard.about("ReferralCreated", &id).collect();
        found.referrals += 1;
        match &command.state {
            State::Completed => {
                found.completed += 1;
                let made = made.unwrap_or_else(|| panic!("{} is completed and not in e-RS", told.key));
                let ubrn = made.ubrn.to_string();
                assert_eq!(command.known["ubrn"], ubrn.as_str(), "{}", told.key);
                assert!(!self.answer_lost.contains(&ubrn), "{}: nobody can know that it was done", told.key);
            }
            State::InDoubt { .. } => {
                found.in_doubt += 1;
                assert!(self.heard.about("CommandInDoubt", &id).count() > 0, "{} is in doubt in silence", told.key);
            }
            state => panic!("{} is {state:?}", told.key),
        }
        match command.known["ubrn"].as_str() {
            Some(ubrn) => {
                assert_eq!(created.len(), 1, "{}: one ReferralCreated", told.key);
                assert_eq!(created[0]["data"]["ubrn"], ubrn);
                assert_eq!(made.map(|made| made.ubrn.to_string()).as_deref(), Some(ubrn));
            }
            None => {
                assert!(matches!(&command.state, State::InDoubt { step, .. } if step == "create"), "{}", told.key);
                assert_eq!(created.len(), 0);
            }
        }
        self.was_not_sent_blindly(&command, "A011").await;
        self.was_not_sent_blindly(&command, "A012").await;
        self.letters(told, &command, found).await;
    }

    /// After an attempt without an answer nothing of the kind was sent again.
    async fn was_not_sent_blindly(&self, command: &CommandView, call: &str) {
        let attempts = self.store.attempts(command.id).await.expect("the store is whole");
        let sent: Vec<_> = attempts.iter().filter(|attempt| attempt.call == call).collect();
        for (number, attempt) in sent.iter().enumerate() {
            let left = !matches!(attempt.outcome.as_deref(), Some("not_connected" | "not_sent"));
            let unanswered = attempt.status.is_none() && left;
            let last = number + 1 == sent.len();
            assert!(last || !unanswered, "{call} of {} was sent again: {sent:?}", command.id);
        }
    }

    /// Letters come after their referral, in their order; those behind one that is in doubt are held.
    async fn letters(&self, told: &Told, create: &CommandView, found: &mut Found) {
        let mut linked = Vec::new();
        let mut holder = match create.state {
            State::Completed => None,
            _ => Some(create.id),
        };
        for ToldLetter { key, file_name } in &told.letters {
            let command = self.command(told.source, key).await;
            let id = command.id.to_string();
            found.letters += 1;
            assert_eq!(command.thread, create.thread, "{key}");
            match (&command.state, holder) {
                (State::Completed, None) => {
                    found.completed += 1;
                    assert_eq!(self.heard.about("ReferralLetterAttached", &id).count(), 1, "{key}");
                    linked.push(file_name.as_str());
                }
                (State::InDoubt { .. }, None) => {
                    found.in_doubt += 1;
                    assert!(self.heard.about("CommandInDoubt", &id).count() > 0, "{key} is in doubt in silence");
                    holder = Some(command.id);
                }
                (State::Queued, Some(holder)) => {
                    found.held += 1;
                    assert_eq!(command.held_by, Some(holder), "{key}");
                }
                (state, holder) => panic!("{key} is {state:?}, held by {holder:?}"),
            }
            self.was_not_sent_blindly(&command, "A012").await;
        }
        let Some(ubrn) = create.known["ubrn"].as_str() else { return };
        let in_ers = self.ers.referral(ubrn).expect("e-RS has it").letters;
        let followed: Vec<&str> =
            in_ers.iter().map(String::as_str).filter(|name| name.starts_with("letter-")).collect();
        // One that is in doubt may be there as well, after those that are known to be.
        assert!(followed.starts_with(&linked), "{}: {followed:?} instead of {linked:?}", told.key);
        assert!(followed.is_sorted(), "{}: {followed:?}", told.key);
    }

    /// What is in the outbox is what consumers got, no more and no less.
    async fn events(&self) {
        let mut stored = Vec::new();
        let mut after = 0;
        loop {
            let page = self.store.events_after(after, 1_000).await.expect("the store is whole");
            let Some(last) = page.last() else { break };
            after = last.position;
            stored.extend(page.into_iter().map(|event| event.id.to_string()));
        }
        stored.sort_unstable();
        assert_eq!(self.heard.ids(), stored);
    }
}
