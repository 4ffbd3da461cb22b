//! Rows in memory, behind the store's traits of reading rooms.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ers_gateway::command::{AttemptId, Class, CommandId, Estimate, EventId, MessageId, State, ThreadId, Verdict};
use ers_gateway::inbound::http::Estimates;
use ers_gateway::store::{
    Act, AttemptView, Beat, CommandView, Depth, FetchedStore, Finding, Hold, InstanceStore, InstanceView,
    MessageFilter, MessageView, OperatorStore, OutboxDepth, OutboxStore, Problem, ProblemFilter, Queue, Result,
    SearchStore, Settled, Signals, StoreError, StoredEvent, TransitionView, Transport,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use uuid::Uuid;

/// An event with data that its schema allows.
pub fn event(position: u64, thread: &str, sequence: u64) -> StoredEvent {
    let some = Uuid::from_u128(u128::from(position));
    StoredEvent {
        position,
        id: EventId(some),
        name: "ReferralCreated".into(),
        at: Timestamp::now(),
        source: "northmoor".into(),
        subject: some.to_string(),
        thread: thread.into(),
        sequence,
        data: json!({"ubrn": "000000070000", "message": some, "command": some, "priority": "URGENT"}),
    }
}

pub fn message(id: MessageId) -> MessageView {
    MessageView {
        id,
        source: "northmoor".into(),
        transport: Transport::Http,
        control_id: Some("MSG00001".into()),
        kind: "REF^I12".into(),
        received_at: Timestamp::UNIX_EPOCH,
        acknowledged_at: None,
        verdict: Verdict::Accepted,
        size: 1_629,
        charset: "UTF-8".into(),
        problems: json!([]),
        acknowledgement: bytes::Bytes::new(),
    }
}

pub fn command(id: CommandId, message: MessageId, state: State) -> CommandView {
    CommandView {
        id,
        message,
        source: "northmoor".into(),
        name: "CreateReferral".into(),
        state,
        class: Class::Urgent,
        thread: ThreadId(Uuid::from_u128(7)),
        held_by: None,
        received_at: Timestamp::UNIX_EPOCH,
        changed_at: Timestamp::UNIX_EPOCH,
        not_after: None,
        mapping_set: "set".into(),
        body: json!({"patient": {"nhsNumber": "9994120034"}}),
        plan: json!({}),
        known: json!({"ubrn": "000000070000"}),
    }
}

#[derive(Default)]
pub struct Records {
    pub signals: Signals,
    messages: Mutex<Vec<MessageView>>,
    commands: Mutex<Vec<CommandView>>,
    acts: Mutex<Vec<(&'static str, CommandId, Act)>>,
    events: Mutex<Vec<(StoredEvent, bool)>>,
    pub instances: Mutex<Vec<InstanceView>>,
}

impl Records {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn add_message(&self, message: MessageView) {
        self.messages.lock().push(message);
    }

    pub fn add_command(&self, command: CommandView) {
        self.commands.lock().push(command);
    }

    /// Changes a command's state and rings the bell.
    pub fn settle(&self, id: CommandId, state: State) {
        let mut commands = self.commands.lock();
        let command = commands.iter_mut().find(|c| c.id == id).expect("the scenario added this command");
        command.state = state;
        // Nobody may be listening.
        let _ = self.signals.settled.send(Settled { message: command.message, command: id });
    }

    pub fn acts(&self) -> Vec<(&'static str, CommandId, String, String)> {
        self.acts.lock().iter().map(|(act, id, a)| (*act, *id, a.by.clone(), a.why.clone())).collect()
    }

    pub fn publish(&self, event: StoredEvent) {
        self.events.lock().push((event, false));
        self.signals.outbox.notify_waiters();
    }

    pub fn unconfirmed_count(&self) -> usize {
        self.events.lock().iter().filter(|(_, confirmed)| !confirmed).count()
    }

    pub fn unconfirmed_positions(&self) -> Vec<u64> {
        let events = self.events.lock();
        events.iter().filter(|(_, confirmed)| !confirmed).map(|(event, _)| event.position).collect()
    }

    fn act(&self, name: &'static str, id: CommandId, act: Act) -> Result<()> {
        let mut commands = self.commands.lock();
        let command = commands.iter_mut().find(|c| c.id == id).ok_or(StoreError::NotFound)?;
        command.state = match (name, &command.state) {
            ("replay", State::Failed { .. }) | ("release", State::Unauthorised { .. }) => State::Queued,
            ("discard", State::Failed { .. }) => State::Discarded,
            ("decide", State::InDoubt { step, since, .. }) => {
                State::InDoubt { step: step.clone(), since: *since, look_at: Some(act.at) }
            }
            _ => return Err(StoreError::Outdated("another state".into())),
        };
        self.acts.lock().push((name, id, act));
        Ok(())
    }
}

/// Everything is sent at once.
impl Estimates for Records {
    fn estimate(&self, command: &CommandView) -> Estimate {
        Estimate::At { at: command.received_at, coarse: false }
    }
}

/// Alone with its rows.
#[async_trait]
impl InstanceStore for Records {
    async fn beat(&self, _beat: Beat) -> Result<()> {
        Ok(())
    }

    async fn instances(&self) -> Result<Vec<InstanceView>> {
        Ok(self.instances.lock().clone())
    }

    async fn take_duty(&self, _duty: &str, _instance: &str, hold: Duration) -> Result<Option<Timestamp>> {
        Ok(Some(Timestamp::now() + hold))
    }

    async fn leave_duty(&self, _duty: &str, _instance: &str, _until: Timestamp) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl SearchStore for Records {
    async fn message(&self, id: MessageId) -> Result<Option<MessageView>> {
        Ok(self.messages.lock().iter().find(|m| m.id == id).cloned())
    }

    async fn messages(&self, filter: MessageFilter) -> Result<Vec<MessageView>> {
        let messages = self.messages.lock();
        let wanted = messages.iter().rev().filter(|m| {
            filter.source.as_ref().is_none_or(|source| m.source == *source)
                && filter.verdict.is_none_or(|verdict| m.verdict == verdict)
                && filter.before.is_none_or(|before| m.id < before)
        });
        Ok(wanted.take(filter.max).cloned().collect())
    }

    async fn command(&self, id: CommandId) -> Result<Option<CommandView>> {
        Ok(self.commands.lock().iter().find(|c| c.id == id).cloned())
    }

    async fn commands_of(&self, message: MessageId) -> Result<Vec<CommandView>> {
        Ok(self.commands.lock().iter().filter(|c| c.message == message).cloned().collect())
    }

    async fn transitions(&self, _: CommandId) -> Result<Vec<TransitionView>> {
        Ok(vec![TransitionView {
            at: Timestamp::UNIX_EPOCH,
            from: None,
            to: "queued".into(),
            why: "stored".into(),
            by: "intake".into(),
        }])
    }

    async fn attempts(&self, _: CommandId) -> Result<Vec<AttemptView>> {
        Ok(vec![AttemptView {
            id: ers_gateway::command::AttemptId(Uuid::from_u128(9)),
            step: "create".into(),
            call: "A011".into(),
            is_write: true,
            correlation_id: "c".into(),
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: None,
            status: None,
            outcome: None,
            duration_ms: None,
            request: json!({"body": "9994120034"}),
            response: json!(null),
        }])
    }

    async fn problems(&self, _: ProblemFilter) -> Result<Vec<Problem>> {
        Ok(Vec::new())
    }

    async fn holds(&self, _: usize) -> Result<Vec<Hold>> {
        Ok(Vec::new())
    }

    async fn depths(&self) -> Result<Vec<Depth>> {
        Ok(Vec::new())
    }

    async fn queue(&self, _: u64) -> Result<Queue> {
        Ok(Queue::default())
    }

    async fn outbox_depth(&self) -> Result<OutboxDepth> {
        let events = self.events.lock();
        let mut waiting = events.iter().filter(|(_, confirmed)| !confirmed).peekable();
        Ok(OutboxDepth { oldest: waiting.peek().map(|(event, _)| event.at), count: waiting.count() as u64 })
    }
}

#[async_trait]
impl OperatorStore for Records {
    async fn replay(&self, command: CommandId, act: Act) -> Result<()> {
        self.act("replay", command, act)
    }

    async fn discard(&self, command: CommandId, act: Act) -> Result<()> {
        self.act("discard", command, act)
    }

    async fn release(&self, command: CommandId, act: Act) -> Result<()> {
        self.act("release", command, act)
    }

    async fn decide(&self, command: CommandId, _: Finding, act: Act) -> Result<()> {
        self.act("decide", command, act)
    }
}

/// Has no documents.
#[async_trait]
impl FetchedStore for Records {
    async fn keep_fetched(&self, _: CommandId, _: AttemptId, _: u32, _: bytes::Bytes) -> Result<()> {
        Ok(())
    }

    async fn fetched(&self, _: CommandId, _: AttemptId, _: u32) -> Result<Option<bytes::Bytes>> {
        Ok(None)
    }
}

#[async_trait]
impl OutboxStore for Records {
    async fn unconfirmed(&self, after: u64, max: usize) -> Result<Vec<StoredEvent>> {
        let events = self.events.lock();
        let waiting = events.iter().filter(|(event, confirmed)| event.position > after && !confirmed);
        Ok(waiting.take(max).map(|(event, _)| event.clone()).collect())
    }

    async fn confirm(&self, positions: Vec<u64>, _: Timestamp) -> Result<()> {
        for (event, confirmed) in self.events.lock().iter_mut() {
            *confirmed |= positions.contains(&event.position);
        }
        Ok(())
    }

    async fn events_after(&self, after: u64, max: usize) -> Result<Vec<StoredEvent>> {
        let events = self.events.lock();
        Ok(events.iter().filter(|(event, _)| event.position > after).take(max).map(|(e, _)| e.clone()).collect())
    }

    async fn last_position(&self) -> Result<u64> {
        Ok(self.events.lock().last().map_or(0, |(event, _)| event.position))
    }
}
