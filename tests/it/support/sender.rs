//! Senders as hospital systems are: whoever gets no answer sends the same bytes again, until there is one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ANSWER_MAX: Duration = Duration::from_secs(30);
/// A balancer waits no longer for one of several.
const NEXT_AFTER: Duration = Duration::from_secs(5);
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Nothing that a scenario does to a gateway keeps a message from it for so long.
const GIVE_UP_AFTER: Duration = Duration::from_secs(300);

/// One MLLP connection, opened again whenever it is lost: to the next gateway, if there are several.
pub struct MllpSender {
    addresses: Vec<SocketAddr>,
    patience: Duration,
    connection: Option<(TcpStream, BytesMut)>,
    /// How often a message had to be sent again.
    pub resent: u64,
}

impl MllpSender {
    pub fn new(address: SocketAddr) -> Self {
        Self { addresses: vec![address], patience: ANSWER_MAX, connection: None, resent: 0 }
    }

    /// As behind a load balancer.
    pub fn to_any(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses, patience: NEXT_AFTER, connection: None, resent: 0 }
    }

    /// The answer's bytes, without the frame.
    pub async fn deliver(&mut self, message: &[u8]) -> Vec<u8> {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < GIVE_UP_AFTER, "no answer that can stay: {}", String::from_utf8_lossy(message));
            match tokio::time::timeout(self.patience, self.exchange(message)).await {
                Ok(Ok(answer)) if may_come_again(&answer) => {
                    if self.addresses.len() > 1 {
                        self.turn_to_next();
                    }
                }
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) | Err(_) => self.turn_to_next(),
            }
            self.resent += 1;
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// The next message goes to the next gateway, over a new connection.
    pub fn turn_to_next(&mut self) {
        self.connection = None;
        self.addresses.rotate_left(1);
    }

    /// Whatever the answer is.
    pub async fn deliver_once(&mut self, message: &[u8]) -> Vec<u8> {
        let exchange = tokio::time::timeout(ANSWER_MAX, self.exchange(message)).await;
        exchange.expect("an answer in time").expect("an answer")
    }

    async fn exchange(&mut self, message: &[u8]) -> std::io::Result<Vec<u8>> {
        let (stream, _) = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert((TcpStream::connect(self.addresses[0]).await?, BytesMut::new())),
        };
        stream.write_all(&framed(message)).await?;
        self.frame().await
    }

    /// What comes next on the connection.
    pub async fn frame(&mut self) -> std::io::Result<Vec<u8>> {
        let Some((stream, buffer)) = &mut self.connection else {
            return Err(std::io::ErrorKind::NotConnected.into());
        };
        loop {
            if let Some(end) = buffer.windows(2).position(|pair| pair == b"\x1c\r") {
                let frame = buffer.split_to(end + 2);
                return Ok(frame[1..end].to_vec());
            }
            if stream.read_buf(buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

pub fn framed(message: &[u8]) -> Vec<u8> {
    [b"\x0b", message, b"\x1c\r"].concat()
}

/// A field of the first segment of a name, by its number; with `|` between fields.
pub fn field<'a>(message: &'a [u8], segment: &[u8], number: usize) -> &'a [u8] {
    let line = message.split(|byte| *byte == b'\r').find(|line| line.starts_with(segment)).unwrap_or_default();
    line.split(|byte| *byte == b'|').nth(number).unwrap_or_default()
}

/// The store cannot write now: 207, the one answer after which the same message may come again. Only in ERR: times and
/// control ids have the same digits now and then.
fn may_come_again(answer: &[u8]) -> bool {
    let mut lines = answer.split(|byte| *byte == b'\r');
    lines.any(|line| line.starts_with(b"ERR") && contains(line, b"207"))
}

pub fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// An HTTP client that keeps to its idempotency key.
pub struct HttpSender {
    client: reqwest::Client,
    pub resent: u64,
}

impl HttpSender {
    pub fn new() -> Self {
        Self::with_patience(ANSWER_MAX)
    }

    /// As behind a load balancer.
    pub fn to_any() -> Self {
        Self::with_patience(NEXT_AFTER)
    }

    fn with_patience(patience: Duration) -> Self {
        let client = reqwest::Client::builder().timeout(patience).build().expect("a client");
        Self { client, resent: 0 }
    }

    /// The answer's status and body.
    pub async fn deliver(&mut self, url: &str, key: &str, body: &Value) -> (u16, Value) {
        self.deliver_to_any(&[url.to_owned()], key, body).await
    }

    /// From the first of several gateways that answers.
    pub async fn deliver_to_any(&mut self, urls: &[String], key: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < GIVE_UP_AFTER, "no answer that can stay: {body}");
            let turn = usize::try_from(self.resent).unwrap_or(0) % urls.len();
            let request = self.client.post(&urls[turn]).header("content-type", "application/json");
            match request.header("idempotency-key", key).body(body.clone()).send().await {
                Ok(answer) if answer.status() == 503 => {}
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    // The head of an answer without its body is no answer.
                    if let Ok(body) = answer.json().await {
                        return (status, body);
                    }
                }
                Err(_) => {}
            }
            self.resent += 1;
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

/// Publishes to a queue until the broker says that it has the message, through whatever happens to the broker.
pub struct QueueSender {
    url: String,
    queue: &'static str,
    channel: Option<(Connection, Channel)>,
    pub resent: u64,
}

impl QueueSender {
    pub fn new(url: String, queue: &'static str) -> Self {
        Self { url, queue, channel: None, resent: 0 }
    }

    pub async fn deliver(&mut self, properties: BasicProperties, body: &[u8]) {
        let properties = properties.with_delivery_mode(2);
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < GIVE_UP_AFTER, "the queue {} does not take a message", self.queue);
            match tokio::time::timeout(ANSWER_MAX, self.publish(properties.clone(), body)).await {
                Ok(Ok(true)) => return,
                // A channel that was refused once may be refused for ever (`amqp::confirming_channel`).
                Ok(Ok(false) | Err(_)) | Err(_) => self.channel = None,
            }
            self.resent += 1;
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn publish(&mut self, properties: BasicProperties, body: &[u8]) -> lapin::Result<bool> {
        let (_, channel) = match &mut self.channel {
            Some(channel) => channel,
            none => {
                let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
                let channel = connection.create_channel().await?;
                channel.confirm_select(ConfirmSelectOptions::default()).await?;
                none.insert((connection, channel))
            }
        };
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let confirm = channel.basic_publish("".into(), self.queue.into(), options, body, properties).await?.await?;
        Ok(confirm.is_ack() && confirm.take_message().is_none())
    }
}

#[test]
fn only_an_error_says_that_a_message_may_come_again() {
    let stamped = "MSH|^~\\&|ERSGW|RXX00|SBEPR|RXX00|20261126120207+0000||ACK^I12^ACK|0207207207207207207A|P|2.5.1\r";
    for (rest, may) in [
        ("MSA|CA|SB-7\r", false),
        ("MSA|CR|SB-7\rERR|||205^Duplicate key identifier^HL70357|E\r", false),
        ("MSA|CR|SB-7\rERR|||207^Application internal error^HL70357|E\r", true),
        ("MSA|AR|SB-7\rERR|^^^207&Application internal error&HL70357\r", true),
    ] {
        assert_eq!(may_come_again(format!("{stamped}{rest}").as_bytes()), may, "{rest}");
    }
}
