//! Events in the outbox of a real store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ers_gateway::command::{Class, CommandId, EventId, MessageId, State, Verdict};
use ers_gateway::environment::Environment;
use ers_gateway::store::sqlite::SqliteStore;
use ers_gateway::store::{
    Admission, Alias, AliasKind, IntakeStore, NewCommand, NewEvent, NewMessage, SearchStore, Transport,
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Outbox {
    pub store: Arc<SqliteStore>,
    environment: Environment,
    put: AtomicU64,
    _folder: TempDir,
}

impl Outbox {
    pub async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let environment = Environment::system();
        let store = SqliteStore::open(folder.path().join("gateway.db"), &environment).await.expect("a new store");
        Self { store: Arc::new(store), environment, put: AtomicU64::new(0), _folder: folder }
    }

    /// Stores a message with a command of one of 13 threads, and an event about it.
    pub async fn put(&self) {
        let number = self.put.fetch_add(1, Ordering::SeqCst);
        let (message, command) = (MessageId(self.environment.new_id()), CommandId(self.environment.new_id()));
        let now = self.environment.now();
        let mut digest = [0; 32];
        digest[0] = (number % 13) as u8;
        let admission = Admission {
            message: NewMessage {
                id: message,
                source: "northmoor".into(),
                transport: Transport::Mllp,
                control_id: None,
                received_at: now,
                sha256: [0; 32],
                charset: "UTF-8".into(),
                kind: "REF^I12".into(),
                raw: Bytes::from_static(b"MSH|^~\\&|\r"),
                problems: json!([]),
            },
            verdict: Verdict::Accepted,
            acknowledgement: Bytes::new(),
            commands: vec![NewCommand {
                id: command,
                name: "CreateReferral".into(),
                body: json!({}),
                class: Class::Routine,
                aliases: vec![Alias { kind: AliasKind::LocalId, digest }],
                creates: None,
                mapping_set: "set".into(),
                state: State::Queued,
                plan: Value::Null,
                not_after: None,
            }],
            documents: Vec::new(),
            events: vec![NewEvent {
                id: EventId(self.environment.new_id()),
                name: "ReferralCreated".into(),
                at: now,
                source: "northmoor".into(),
                subject: command.to_string(),
                data: json!({"ubrn": "000000070000", "message": message, "command": command, "priority": "ROUTINE"}),
            }],
            patients: Vec::new(),
            taken_again: None,
        };
        self.store.admit(admission).await.expect("stored");
    }

    pub fn put_count(&self) -> u64 {
        self.put.load(Ordering::SeqCst)
    }

    pub async fn unconfirmed_count(&self) -> u64 {
        self.store.outbox_depth().await.expect("read").count
    }
}
