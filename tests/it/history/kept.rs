//! What the store says: the witness beside the ledgers.

use std::collections::BTreeMap;

use ers_gateway::store::{
    AttemptView, CommandView, MessageFilter, MessageView, Result, Store, StoredEvent, TransitionView,
};

/// Of one page.
const MESSAGES: usize = 500;
const EVENTS: usize = 1_000;

#[derive(Default)]
pub struct Kept {
    /// By source and control id; several messages of one only if something went wrong.
    pub messages: BTreeMap<(String, String), Vec<KeptMessage>>,
    /// Those without a control id.
    unnamed: Vec<KeptMessage>,
    pub events: Vec<StoredEvent>,
}

pub struct KeptMessage {
    pub view: MessageView,
    pub commands: Vec<KeptCommand>,
}

pub struct KeptCommand {
    pub view: CommandView,
    pub transitions: Vec<TransitionView>,
    pub attempts: Vec<AttemptView>,
}

impl KeptCommand {
    /// How often it came into this state.
    pub fn entered(&self, state: &str) -> usize {
        let comes = |row: &&TransitionView| row.to == state && row.from.as_deref() != Some(state);
        self.transitions.iter().filter(comes).count()
    }

    pub fn ubrn(&self) -> Option<&str> {
        self.view.known["ubrn"].as_str()
    }
}

impl Kept {
    /// Everything.
    pub async fn by(store: &dyn Store) -> Result<Self> {
        let mut kept = Self::default();
        let mut before = None;
        loop {
            let filter = MessageFilter { before, max: MESSAGES, ..MessageFilter::default() };
            let page = store.messages(filter).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            for view in page {
                let mut commands = Vec::new();
                for command in store.commands_of(view.id).await? {
                    let transitions = store.transitions(command.id).await?;
                    let attempts = store.attempts(command.id).await?;
                    commands.push(KeptCommand { view: command, transitions, attempts });
                }
                kept.add(KeptMessage { view, commands });
            }
        }
        let mut after = 0;
        loop {
            let page = store.events_after(after, EVENTS).await?;
            let Some(last) = page.last() else { break };
            after = last.position;
            kept.events.extend(page);
        }
        Ok(kept)
    }

    fn add(&mut self, message: KeptMessage) {
        match message.view.control_id.clone() {
            Some(key) => self.messages.entry((message.view.source.clone(), key)).or_default().push(message),
            None => self.unnamed.push(message),
        }
    }

    /// Messages that a sender sent under this key.
    pub fn of(&self, source: &str, key: &str) -> &[KeptMessage] {
        self.messages.get(&(source.to_owned(), key.to_owned())).map_or(&[], Vec::as_slice)
    }

    pub fn commands(&self) -> impl Iterator<Item = &KeptCommand> {
        self.messages.values().flatten().chain(&self.unnamed).flat_map(|message| &message.commands)
    }
}
