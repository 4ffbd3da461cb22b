//! A stand-in for intake, and a listener in front of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Registry;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::command::MessageId;
use crate::config::MllpListener;
use crate::environment::Environment;
use crate::hl7::Header;
use crate::inbound::mllp::{MllpMetrics, MllpServer};
use crate::intake::{Again, Answer, Content, DeferredReply, Inbound, Outcome, Receive};
use crate::outbound::MllpClient;
use crate::store::{Act, StoreError};

/// Answers each message with `MSA|AA|` and its control id. A control id that starts with `LATE` gets that only
/// as a deferred answer, `BOTH` gets `MSA|CA|` first, `SILENT` gets none, and `HELD` waits to be let go.
#[derive(Default)]
pub struct Door {
    pub received: Mutex<Vec<Inbound>>,
    pub acknowledged: Mutex<Vec<MessageId>>,
    asked: Mutex<Vec<(MessageId, String)>>,
    pub let_go: Notify,
}

impl Door {
    pub fn control_ids(&self) -> Vec<String> {
        self.asked.lock().iter().map(|(_, control_id)| control_id.clone()).collect()
    }

    pub fn id_of(&self, control_id: &str) -> MessageId {
        let asked = self.asked.lock();
        asked.iter().find(|(_, asked)| asked == control_id).expect("the message was received").0
    }
}

fn msa(code: &str, control_id: &str) -> Bytes {
    format!("MSA|{code}|{control_id}\r").into()
}

#[async_trait]
impl Receive for Door {
    async fn receive(&self, inbound: Inbound) -> Answer {
        let Content::Hl7v2 { bytes, .. } = &inbound.content else { panic!("MLLP carries HL7 v2") };
        let control_id = Header::scan(bytes).map(|header| String::from_utf8_lossy(header.control_id()).into_owned());
        let control_id = control_id.unwrap_or_default();
        let message = MessageId(uuid::Uuid::new_v4());
        self.received.lock().push(inbound);
        self.asked.lock().push((message, control_id.clone()));
        if control_id.starts_with("HELD") {
            self.let_go.notified().await;
        }
        let start: String = control_id.chars().take_while(char::is_ascii_alphabetic).collect();
        let deferred =
            matches!(start.as_str(), "LATE" | "BOTH").then_some(DeferredReply { message, outcome_of: message });
        let hl7 = match start.as_str() {
            "LATE" | "SILENT" => None,
            "BOTH" => Some(msa("CA", &control_id)),
            _ => Some(msa("AA", &control_id)),
        };
        Answer { outcome: Outcome::Accepted, message: Some(message), commands: vec![], problems: vec![], hl7, deferred }
    }

    async fn acknowledged(&self, message: MessageId) {
        self.acknowledged.lock().push(message);
    }

    async fn deferred(&self, reply: &DeferredReply, _limit: Duration) -> Option<Bytes> {
        self.let_go.notified().await;
        let asked = self.asked.lock();
        asked.iter().find(|(message, _)| *message == reply.message).map(|(_, control_id)| msa("AA", control_id))
    }

    async fn take_again(&self, _: MessageId, _: &Act) -> Result<Again, StoreError> {
        Err(StoreError::NotFound)
    }

    async fn take_again_in_bulk(&self, _: MessageId, _: &Act) -> Result<Again, StoreError> {
        Err(StoreError::NotFound)
    }

    async fn take_edited(&self, _: MessageId, _: Bytes, _: &Act) -> Result<Again, StoreError> {
        Err(StoreError::NotFound)
    }

    async fn would_take_again(&self, _: MessageId) -> Result<Again, StoreError> {
        Err(StoreError::NotFound)
    }
}

pub struct Served {
    pub address: SocketAddr,
    pub door: Arc<Door>,
    pub environment: Environment,
    pub registry: Registry,
}

/// The settings of a listener on a free port, with what the test changes.
pub fn settings(change: impl FnOnce(&mut MllpListener)) -> MllpListener {
    let mut listener = MllpListener {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        source: Some("eastvale".to_owned()),
        tls: None,
        allow_plain: true,
        connections_max: 10,
        idle_timeout: Duration::from_secs(20),
        frame_timeout: Duration::from_secs(20),
        frame_bytes_max: 1 << 20,
    };
    change(&mut listener);
    listener
}

impl Served {
    pub async fn start(settings: MllpListener) -> Self {
        let (door, environment, registry) = (Arc::new(Door::default()), Environment::system(), Registry::new());
        let metrics = MllpMetrics::register(&registry).expect("the names are free");
        let server = MllpServer::bind(settings, door.clone(), environment.clone(), &metrics).await.expect("it binds");
        let address = server.address();
        environment.spawn(server.serve());
        Self { address, door, environment, registry }
    }

    pub async fn client(&self) -> MllpClient {
        let limit = Duration::from_secs(10);
        MllpClient::connect(&self.address.to_string(), None, limit, self.environment.clone()).await.expect("it listens")
    }

    /// The sum of a metric over its labels, whose line must contain `part`.
    pub fn metric(&self, name: &str, part: &str) -> u64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).expect("it is text");
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(part));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Waits until the metric has the value.
    pub async fn reaches(&self, name: &str, part: &str, value: u64) {
        for _ in 0..1_000 {
            if self.metric(name, part) == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} with {part:?} is {} and never became {value}", self.metric(name, part));
    }
}

pub fn message(control_id: &str) -> Vec<u8> {
    format!("MSH|^~\\&|EASTVALE|RYY00|ERSGW|RXX00|20260316093015||REF^I12^REF_I12|{control_id}|P|2.4\rPID|1\r").into()
}

pub fn framed(control_id: &str) -> Vec<u8> {
    [b"\x0b", message(control_id).as_slice(), b"\x1c\r"].concat()
}

/// Sends bytes, closes that direction, and reads what comes until the other is closed too.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(bytes).await.expect("it reads");
    stream.shutdown().await.expect("half of it closes");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it ends");
    String::from_utf8(answer).expect("answers are ASCII")
}
