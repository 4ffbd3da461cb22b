//! Messages, commands and steps as the scenarios need them.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::command::{AttemptId, Class, CommandId, EventId, Failure, MessageId, State, Verdict};
use crate::store::{
    Act, Admission, Admitted, Alias, AliasKind, Claim, ClaimedCommand, FinishedAttempt, NewAttempt, NewCommand,
    NewDocument, NewEvent, NewMessage, Progress, Store, Transport,
};

/// 16 March 2026, 09:30 UTC.
const START: i64 = 1_773_653_400;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).expect("a time in this century")
}

pub(crate) fn new_id() -> Uuid {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}

pub(crate) fn alias(kind: AliasKind, name: &str) -> Alias {
    let mut digest = [0; 32];
    digest[..name.len()].copy_from_slice(name.as_bytes());
    Alias { kind, digest }
}

pub(crate) fn local(name: &str) -> Alias {
    alias(AliasKind::LocalId, name)
}

pub(crate) fn ubrn(name: &str) -> Alias {
    alias(AliasKind::Ubrn, name)
}

pub(crate) fn message(control_id: &str) -> Admission {
    Admission {
        message: NewMessage {
            id: MessageId(new_id()),
            source: "northmoor".into(),
            transport: Transport::Mllp,
            control_id: Some(control_id.into()).filter(|id: &String| !id.is_empty()),
            received_at: at(0),
            sha256: [7; 32],
            charset: "UTF-8".into(),
            kind: "REF^I12".into(),
            raw: Bytes::from_static(b"MSH|^~\\&|PAS\r"),
            problems: Value::Null,
        },
        verdict: Verdict::Accepted,
        acknowledgement: Bytes::from(format!("MSA|AA|{control_id}")),
        commands: Vec::new(),
        documents: Vec::new(),
        events: Vec::new(),
        patients: Vec::new(),
        taken_again: None,
    }
}

pub(crate) fn command(aliases: &[Alias]) -> NewCommand {
    NewCommand {
        id: CommandId(new_id()),
        name: "CreateReferral".into(),
        body: json!({"priority": "ROUTINE"}),
        class: Class::Routine,
        aliases: aliases.to_vec(),
        creates: None,
        plan: serde_json::Value::Null,
        mapping_set: "set-1".into(),
        state: State::Queued,
        not_after: None,
    }
}

impl Admission {
    pub(crate) fn with(mut self, command: NewCommand) -> Self {
        self.commands.push(command);
        self
    }

    pub(crate) fn with_event(mut self, name: &str) -> Self {
        self.events.push(event(name));
        self
    }

    pub(crate) fn with_document(mut self, number: u32, content: Bytes) -> Self {
        self.documents.push(NewDocument { number, content });
        self
    }

    pub(crate) fn from(mut self, source: &str) -> Self {
        self.message.source = source.into();
        self
    }

    pub(crate) fn received(mut self, seconds: i64) -> Self {
        self.message.received_at = at(seconds);
        self
    }
}

impl NewCommand {
    pub(crate) fn class(self, class: Class) -> Self {
        Self { class, ..self }
    }

    pub(crate) fn creating(self, digest: u8) -> Self {
        Self { creates: Some([digest; 32]), ..self }
    }

    pub(crate) fn in_state(self, state: State) -> Self {
        Self { state, ..self }
    }
}

pub(crate) fn event(name: &str) -> NewEvent {
    NewEvent {
        id: EventId(new_id()),
        name: name.into(),
        at: at(0),
        source: "northmoor".into(),
        subject: "subject".into(),
        data: json!({"name": name}),
    }
}

/// Admits a message of its own with one command for a thread. The ids tell the order in which they came.
pub(crate) async fn arrives(store: &dyn Store, aliases: &[Alias]) -> CommandId {
    let command = command(aliases);
    let id = command.id;
    admitted(store, message("").with(command)).await;
    id
}

pub(crate) async fn admitted(store: &dyn Store, admission: Admission) -> MessageId {
    match store.admit(admission).await.expect("admitted") {
        Admitted::New { stored, .. } => stored.id(),
        other => panic!("not new: {other:?}"),
    }
}

pub(crate) fn claim(max: usize, seconds: i64) -> Claim {
    Claim { max, now: at(seconds), owner: "gateway-1".into(), lease_until: at(seconds + 60), paused: Vec::new() }
}

pub(crate) async fn claimed(store: &dyn Store, max: usize) -> Vec<ClaimedCommand> {
    store.claim(claim(max, 0)).await.expect("claimed")
}

pub(crate) async fn claimed_ids(store: &dyn Store, max: usize) -> Vec<CommandId> {
    claimed(store, max).await.into_iter().map(|command| command.id).collect()
}

/// The only one that is claimable now.
pub(crate) async fn the_claimed(store: &dyn Store) -> ClaimedCommand {
    let mut claimed = claimed(store, 10).await;
    assert_eq!(claimed.len(), 1, "one is claimable");
    claimed.remove(0)
}

pub(crate) fn progress(command: &ClaimedCommand) -> Progress {
    Progress::of(command.id, command.fence, at(1))
}

pub(crate) fn into_state(command: &ClaimedCommand, state: State) -> Progress {
    Progress { state: Some((state, "because".into())), ..progress(command) }
}

pub(crate) async fn ends(store: &dyn Store, command: &ClaimedCommand, state: State) {
    store.record(into_state(command, state)).await.expect("recorded");
}

pub(crate) fn failed() -> State {
    State::Failed { why: Failure { code: "INVALID_VALUE".into(), text: "e-RS refused a field".into() } }
}

pub(crate) fn attempt(is_write: bool) -> NewAttempt {
    NewAttempt {
        id: AttemptId(new_id()),
        step: "create".into(),
        call: "A011".into(),
        is_write,
        correlation_id: "correlation".into(),
        request: json!({"method": "POST"}).into(),
    }
}

pub(crate) fn finished(attempt: &NewAttempt) -> FinishedAttempt {
    FinishedAttempt {
        patients: Vec::new(),
        id: attempt.id,
        status: Some(201),
        outcome: "ok".into(),
        duration_ms: 12,
        response: json!({"body": {}}).into(),
    }
}

pub(crate) fn act() -> Act {
    Act::of_person("j.smith", "command line on ward-7", "asked by the ward", at(100))
}

/// Where a command stands.
pub(crate) async fn state_of(store: &dyn Store, command: CommandId) -> State {
    store.command(command).await.expect("read").expect("it is there").state
}
