//! A private RabbitMQ node on loopback ports of its own, with all its files in a temporary folder.
//!
//! Its processes belong to a small shell keeper that waits on a pipe from the test process: when that
//! process ends, however it ends, the keeper stops the node and its port mapper.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tempfile::TempDir;

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const START_MAX: Duration = Duration::from_secs(90);
/// `AMQP 0-9-1`, the first bytes of a client.
const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

/// Starts the port mapper and the node, then waits for a word: `stop` is an orderly stop, anything else
/// (or the end of the pipe, after which the folder goes too) is `kill -9`.
const KEEPER: &str = r#"
exec 2>/dev/null
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 </dev/null >/dev/null 2>&1 &
mapper=$!
"$1" </dev/null >"$RABBITMQ_LOG_BASE/console.log" 2>&1 &
server=$!
read -r how
node=$(cat "$RABBITMQ_PID_FILE" 2>/dev/null)
if [ "$how" = stop ]; then kill -TERM "$server"; else kill -KILL "${node:-$server}"; fi
wait "$server"
kill "$mapper"
wait "$mapper"
[ -n "$how" ] || rm -rf "$HOME"
"#;

pub struct RabbitMq {
    folder: TempDir,
    port: u16,
    distribution_port: u16,
    mapper_port: u16,
    keeper: Mutex<Option<Child>>,
}

impl RabbitMq {
    /// The node that all scenarios share that do no harm to it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RabbitMq> = OnceLock::new();
        SHARED.get_or_init(Self::start_new)
    }

    /// A node for one scenario, which may stop, start and kill it.
    pub fn start_new() -> Self {
        assert!(
            Path::new(SERVER).exists(),
            "RabbitMQ is not installed ({SERVER} is missing). These tests need the real broker: \
             install it with `apt-get install rabbitmq-server`, or run ./test, which does."
        );
        let [port, distribution_port, mapper_port] = free_ports();
        let folder = tempfile::Builder::new().prefix("rabbitmq-").tempdir().expect("a temporary folder");
        let node = Self { folder, port, distribution_port, mapper_port, keeper: Mutex::new(None) };
        node.start();
        node
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Starts the node with whatever it had stored, and waits until it takes connections.
    pub fn start(&self) {
        let at = |name: &str| self.folder.path().join(name);
        std::fs::create_dir_all(at("log")).expect("a folder for logs");
        std::fs::write(at("plugins"), "[].\n").expect("a file");
        // The machine's memory and disk are not the tests' subject.
        let settings = format!("listeners.tcp.1 = 127.0.0.1:{}\ndisk_free_limit.absolute = 1MB\n", self.port);
        std::fs::write(at("rabbitmq.conf"), settings).expect("a file");
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper", SERVER])
            .env("HOME", self.folder.path())
            .env("ERL_EPMD_PORT", self.mapper_port.to_string())
            .env("RABBITMQ_NODENAME", format!("gateway-test-{}@localhost", self.port))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("RABBITMQ_CONF_ENV_FILE", at("no-such-file"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq"))
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"))
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh is there");
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
        let started = Instant::now();
        while !self.answers() {
            assert!(started.elapsed() < START_MAX, "RabbitMQ did not start: {}", self.console());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// An orderly stop, as for maintenance.
    pub fn stop(&self) {
        self.end("stop\n");
    }

    /// `kill -9`
    pub fn kill(&self) {
        self.end("kill\n");
    }

    fn end(&self, how: &str) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut keeper) = keeper else { return };
        if let Some(mut pipe) = keeper.stdin.take() {
            // A keeper that is gone has stopped the node already.
            let _ = pipe.write_all(how.as_bytes());
        }
        keeper.wait().expect("the keeper ends");
    }

    /// True if the other side speaks AMQP: it answers the protocol header.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else { return false };
        let limit = Some(Duration::from_secs(2));
        let mut first = [0; 1];
        stream.set_read_timeout(limit).is_ok()
            && stream.write_all(PROTOCOL_HEADER).is_ok()
            && std::io::Read::read_exact(&mut stream, &mut first).is_ok()
            && first == [1]
    }

    fn console(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log/console.log")).unwrap_or_default()
    }

    /// A channel in confirm mode, for what a sender or a consumer of the scenario does.
    pub async fn client(&self) -> Client {
        let connection =
            Connection::connect(&self.url(), ConnectionProperties::default()).await.expect("the node is up");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        Client { channel, _connection: connection }
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let sockets = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    sockets.map(|socket| socket.local_addr().expect("it is bound").port())
}

/// Some other system at the broker.
pub struct Client {
    pub channel: Channel,
    _connection: Connection,
}

impl Client {
    pub async fn declare(&self, queue: &str) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.expect("a queue");
    }

    pub async fn bind(&self, queue: &str, exchange: &str, key: &str) {
        self.declare(queue).await;
        let options = QueueBindOptions::default();
        let table = FieldTable::default();
        self.channel.queue_bind(queue.into(), exchange.into(), key.into(), options, table).await.expect("a binding");
    }

    /// Sends straight to a queue, durably.
    pub async fn send(&self, queue: &str, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let properties = properties.with_delivery_mode(2);
        let confirm = self.channel.basic_publish("".into(), queue.into(), options, body, properties).await;
        let confirm = confirm.expect("the node is up").await.expect("the node answers");
        assert!(confirm.is_ack() && confirm.take_message().is_none(), "the queue {queue} is there");
    }

    /// Takes the next delivery of a queue, waiting at most `limit`.
    pub async fn take(&self, queue: &str, limit: Duration) -> Option<lapin::message::Delivery> {
        let started = Instant::now();
        loop {
            let got =
                self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("the queue is there");
            if let Some(message) = got {
                message.delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
                return Some(message.delivery);
            }
            if started.elapsed() > limit {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many messages wait in a queue.
    pub async fn depth(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        queue.expect("the queue is there").message_count()
    }
}
