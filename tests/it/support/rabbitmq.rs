//! Private RabbitMQ nodes on loopback ports of their own, with all their files in temporary folders.
//!
//! Their processes belong to small shell keepers that wait on a pipe from the test process: when that
//! process ends, however it ends, they stop the nodes and their port mapper.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use tempfile::TempDir;

use super::serve::free_port;

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const TOOLS: &str = "/usr/lib/rabbitmq/bin";
const START_MAX: Duration = Duration::from_secs(90);
/// `AMQP 0-9-1`, the first bytes of a client.
const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

/// Starts the node, then waits for a word: `stop` is an orderly stop, anything else (or the end of the pipe,
/// after which the folder goes too) is `kill -9`.
const KEEPER: &str = r#"
exec 2>/dev/null
"$1" </dev/null >"$RABBITMQ_LOG_BASE/console.log" 2>&1 &
server=$!
read -r how
node=$(cat "$RABBITMQ_PID_FILE" 2>/dev/null)
if [ "$how" = stop ]; then kill -TERM "$server"; else kill -KILL "${node:-$server}"; fi
wait "$server"
[ -n "$how" ] || rm -rf "$HOME"
"#;

/// Starts the port mapper, by which nodes find each other, and ends it with the pipe.
const MAPPER_KEEPER: &str = r#"
exec 2>/dev/null
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 </dev/null >/dev/null 2>&1 &
mapper=$!
read -r how
kill "$mapper"
wait "$mapper"
"#;

/// What nodes of one cluster prove to each other, and `rabbitmqctl` to them.
const COOKIE: &str = "THENODESOFTHETESTS";
/// Three nodes on two processors: fewer schedulers, and none that spins.
const FRUGAL: &str = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none";

struct Mapper {
    port: u16,
    keeper: Child,
}

impl Mapper {
    fn start() -> Arc<Self> {
        let [port] = free_ports();
        let keeper = Command::new("sh")
            .args(["-c", MAPPER_KEEPER])
            .env("ERL_EPMD_PORT", port.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh is there");
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(started.elapsed() < START_MAX, "epmd (of Erlang) did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Arc::new(Self { port, keeper })
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().expect("the keeper ends");
    }
}

pub struct RabbitMq {
    folder: TempDir,
    pub port: u16,
    distribution_port: u16,
    mapper: Arc<Mapper>,
    plugins: &'static str,
    /// Of a cluster: the ports of all its nodes.
    cluster: Vec<u16>,
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
        Self::start_with("rabbitmq_consistent_hash_exchange")
    }

    /// A node with these plugins, between commas.
    pub fn start_with(plugins: &'static str) -> Self {
        let node = Self::new(Mapper::start(), plugins, free_ports(), Vec::new());
        node.start();
        node
    }

    /// Three nodes that share what they hold.
    pub fn start_cluster() -> [Self; 3] {
        let mapper = Mapper::start();
        let (ports, distribution_ports): ([u16; 3], [u16; 3]) = (free_ports(), free_ports());
        let nodes = [0, 1, 2].map(|number| {
            let own = [ports[number], distribution_ports[number]];
            Self::new(mapper.clone(), "rabbitmq_consistent_hash_exchange", own, ports.to_vec())
        });
        for node in &nodes {
            node.launch();
        }
        for node in &nodes {
            node.is_up();
        }
        nodes[0].control(&["await_online_nodes", "3"]);
        nodes
    }

    fn new(mapper: Arc<Mapper>, plugins: &'static str, [port, distribution_port]: [u16; 2], cluster: Vec<u16>) -> Self {
        assert!(
            Path::new(SERVER).exists(),
            "RabbitMQ is not installed ({SERVER} is missing). These tests need the real broker: \
             install it with `apt-get install rabbitmq-server`, or run ./test, which does."
        );
        let folder = tempfile::Builder::new().prefix("rabbitmq-").tempdir().expect("a temporary folder");
        let cookie = folder.path().join(".erlang.cookie");
        std::fs::write(&cookie, COOKIE).expect("a file");
        std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o400)).expect("it is ours");
        Self { folder, port, distribution_port, mapper, plugins, cluster, keeper: Mutex::new(None) }
    }

    /// By which the nodes of a cluster know it.
    pub fn name(&self) -> String {
        node_name(self.port)
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Starts the node with whatever it had stored, and waits until it takes connections.
    pub fn start(&self) {
        self.launch();
        self.is_up();
    }

    fn launch(&self) {
        let at = |name: &str| self.folder.path().join(name);
        std::fs::create_dir_all(at("log")).expect("a folder for logs");
        std::fs::write(at("plugins"), format!("[{}].\n", self.plugins)).expect("a file");
        // The machine's memory and disk are not the tests' subject.
        let mut settings = format!("listeners.tcp.1 = 127.0.0.1:{}\ndisk_free_limit.absolute = 1MB\n", self.port);
        if !self.cluster.is_empty() {
            settings.push_str("cluster_formation.peer_discovery_backend = classic_config\n");
        }
        for (number, port) in self.cluster.iter().enumerate() {
            settings.push_str(&format!("cluster_formation.classic_config.nodes.{number} = {}\n", node_name(*port)));
        }
        let frugal = if self.cluster.is_empty() { "" } else { FRUGAL };
        std::fs::write(at("rabbitmq.conf"), settings).expect("a file");
        // That of an earlier life: the keeper would kill nobody, and wait.
        let _ = std::fs::remove_file(at("pid"));
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper", SERVER])
            .env("HOME", self.folder.path())
            .env("ERL_EPMD_PORT", self.mapper.port.to_string())
            .env("RABBITMQ_NODENAME", self.name())
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                format!("{frugal} -kernel inet_dist_use_interface {{127,0,0,1}}"),
            )
            .env("RABBITMQ_CONF_ENV_FILE", at("no-such-file"))
            .env("ERL_CRASH_DUMP", at("erl_crash.dump"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq"))
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"))
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh is there");
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
    }

    fn is_up(&self) {
        let started = Instant::now();
        while !self.answers() {
            assert!(started.elapsed() < START_MAX, "RabbitMQ did not start: {}", self.console());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// `rabbitmqctl`; what it prints.
    pub fn control(&self, arguments: &[&str]) -> String {
        self.tool("rabbitmqctl", arguments)
    }

    /// Switches a plugin on while the node runs.
    pub fn enable(&self, plugin: &str) {
        self.tool("rabbitmq-plugins", &["enable", plugin]);
    }

    fn tool(&self, name: &str, arguments: &[&str]) -> String {
        let output = Command::new(Path::new(TOOLS).join(name))
            .args(["--quiet", "--timeout", "60", "--node", &self.name()])
            .args(arguments)
            .env("HOME", self.folder.path())
            .env("ERL_EPMD_PORT", self.mapper.port.to_string())
            .env("RABBITMQ_CONF_ENV_FILE", self.folder.path().join("no-such-file"))
            .env("RABBITMQ_LOG_BASE", self.folder.path().join("log"))
            .env("ERL_CRASH_DUMP", self.folder.path().join("erl_crash.dump"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.folder.path().join("plugins"))
            .stdin(Stdio::null())
            .output()
            .expect("it comes with the server");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
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

fn node_name(port: u16) -> String {
    format!("gateway-test-{port}@localhost")
}

fn free_ports<const N: usize>() -> [u16; N] {
    [(); N].map(|()| free_port().port())
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

    /// Deliveries of a queue, one at a time. A queue with a single active consumer gives them in no other way.
    pub async fn consume(&self, queue: &str) -> Consumer {
        self.channel.basic_qos(1, BasicQosOptions::default()).await.expect("the node is up");
        let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
        self.channel.basic_consume(queue.into(), "".into(), options, table).await.expect("the queue is there")
    }

    /// How many messages wait in a queue.
    pub async fn depth(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        queue.expect("the queue is there").message_count()
    }
}
