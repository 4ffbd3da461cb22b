//! Load on three ways in, from senders that send again what was not answered.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::BasicProperties;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use super::rabbitmq::RabbitMq;
use super::referrals::{Patients, attach, create, northmoor};
use super::sender::{HttpSender, MllpSender, QueueSender, field};
use super::serve::Serve;

const MLLP_CONNECTIONS: usize = 3;
const HTTP_SENDERS: usize = 2;
/// Between two messages of one sender.
const PAUSE_MILLIS: std::ops::Range<u64> = 10..100;
const FINISH_MAX: Duration = Duration::from_secs(60);
/// "A letter", in base64.
const LETTER: &str = "QSBsZXR0ZXI=";

/// A referral that its sender was told is in good hands.
#[derive(Clone, Debug)]
pub struct Told {
    pub source: &'static str,
    /// Control id or idempotency key.
    pub key: String,
    pub nhs_number: String,
    /// Letters that followed, in their order.
    pub letters: Vec<ToldLetter>,
}

#[derive(Clone, Debug)]
pub struct ToldLetter {
    pub key: String,
    pub file_name: String,
}

/// What all senders share.
struct Shared {
    patients: Patients,
    told: Mutex<Vec<Told>>,
    stopping: AtomicBool,
    /// Of the gateways' HTTP listeners.
    urls: Vec<String>,
    several: bool,
    /// How many times as long the pauses are.
    slower: u64,
}

impl Shared {
    fn http(&self) -> HttpSender {
        if self.several { HttpSender::to_any() } else { HttpSender::new() }
    }

    fn at(&self, path: &str) -> Vec<String> {
        self.urls.iter().map(|url| format!("{url}{path}")).collect()
    }

    fn tell(&self, told: Told) {
        self.told.lock().push(told);
    }

    /// Letters for a referral that was told, one after the other.
    async fn letters(&self, http: &mut HttpSender, told: &mut Told, local_id: &str, count: usize) {
        for number in 1..=count {
            let file_name = format!("letter-{number}.txt");
            let key = format!("{}-{number}", told.key);
            let urls = self.at(&format!("/v1/commands/AttachLetters?source={}", told.source));
            let (status, body) = http.deliver_to_any(&urls, &key, &attach(local_id, &file_name, LETTER)).await;
            assert!(status == 202 || status == 200, "{status} {body}");
            told.letters.push(ToldLetter { key, file_name });
        }
    }
}

pub struct Load {
    shared: Arc<Shared>,
    senders: JoinSet<()>,
}

impl Load {
    /// Sends to the gateway's first listeners, and to the queue `input` of the broker.
    pub fn start(gateway: &Serve, node: &RabbitMq, input: &'static str, seed: u64) -> Self {
        Self::start_on(&[gateway], node, input, seed)
    }

    /// For long tests: what is sent in all stays what can be carried out in minutes.
    pub fn start_slower(gateway: &Serve, node: &RabbitMq, input: &'static str, seed: u64, slower: u64) -> Self {
        Self::begin(&[gateway], node, input, seed, slower)
    }

    /// Senders go to the next gateway when one does not answer, as behind a load balancer.
    pub fn start_on(gateways: &[&Serve], node: &RabbitMq, input: &'static str, seed: u64) -> Self {
        Self::begin(gateways, node, input, seed, 1)
    }

    fn begin(gateways: &[&Serve], node: &RabbitMq, input: &'static str, seed: u64, slower: u64) -> Self {
        let several = gateways.len() > 1;
        let shared = Arc::new(Shared {
            patients: Patients::new(),
            told: Mutex::default(),
            stopping: AtomicBool::new(false),
            urls: gateways.iter().map(|gateway| gateway.url("")).collect(),
            several,
            slower,
        });
        let mut load = Self { shared, senders: JoinSet::new() };
        let mut random = StdRng::seed_from_u64(seed);
        for number in 0..MLLP_CONNECTIONS {
            let mut addresses: Vec<_> = gateways.iter().map(|gateway| gateway.mllp).collect();
            addresses.rotate_left(number % gateways.len());
            let sender = if several { MllpSender::to_any(addresses) } else { MllpSender::new(addresses[0]) };
            load.run(random.random(), |shared, random| by_mllp(shared, random, sender, number));
        }
        for number in 0..HTTP_SENDERS {
            load.run(random.random(), |shared, random| by_http(shared, random, number));
        }
        let queue = QueueSender::new(node.url(), input);
        load.run(random.random(), |shared, random| by_queue(shared, random, queue));
        load
    }

    fn run<F>(&mut self, seed: u64, sender: impl FnOnce(Arc<Shared>, StdRng) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.senders.spawn(sender(self.shared.clone(), StdRng::seed_from_u64(seed)));
    }

    /// Everybody finishes what they have begun. What all of them were told.
    pub async fn stop(mut self) -> Vec<Told> {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let finish =
            async { while self.senders.join_next().await.is_some_and(|end| end.map(|()| true).expect("told")) {} };
        tokio::time::timeout(FINISH_MAX, finish).await.expect("every sender gets its answers");
        std::mem::take(&mut *self.shared.told.lock())
    }
}

async fn breathe(shared: &Shared, random: &mut StdRng) {
    let pause = random.random_range(PAUSE_MILLIS) * shared.slower;
    tokio::time::sleep(Duration::from_millis(pause)).await;
}

/// REF^I12, some with clinical text, some followed by letters over HTTP. Now and then one that was answered is
/// sent again, and gets the same answer.
async fn by_mllp(shared: Arc<Shared>, mut random: StdRng, mut sender: MllpSender, connection: usize) {
    let mut http = shared.http();
    for number in 0.. {
        if shared.stopping.load(Ordering::Relaxed) {
            return;
        }
        let (key, local_id) = (format!("M{connection}-{number}"), format!("NM-{connection}-{number}"));
        let nhs_number = shared.patients.next();
        let diagnosis = random.random_bool(0.3).then_some("KNEE PAIN");
        let message = northmoor(&key, &local_id, &nhs_number, diagnosis);
        let answer = sender.deliver(&message).await;
        let shown = || String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(field(&answer, b"MSA", 1), b"AA", "{}", shown());
        assert_eq!(field(&answer, b"MSA", 2), key.as_bytes(), "{}", shown());
        if random.random_bool(0.1) {
            assert_eq!(sender.deliver(&message).await, answer, "a resend is answered from the record: {}", shown());
        }
        let mut told = Told { source: "northmoor", key, nhs_number, letters: Vec::new() };
        let letters = if random.random_bool(0.3) { random.random_range(1..4) } else { 0 };
        shared.letters(&mut http, &mut told, &local_id, letters).await;
        shared.tell(told);
        breathe(&shared, &mut random).await;
    }
}

/// Commands with an idempotency key; some with letters behind them.
async fn by_http(shared: Arc<Shared>, mut random: StdRng, sender: usize) {
    let mut http = shared.http();
    let urls = shared.at("/v1/commands/CreateReferral?source=eastvale");
    for number in 0.. {
        if shared.stopping.load(Ordering::Relaxed) {
            return;
        }
        let (key, local_id) = (format!("H{sender}-{number}"), format!("EV-{sender}-{number}"));
        let nhs_number = shared.patients.next();
        let (status, body) = http.deliver_to_any(&urls, &key, &create(&local_id, &nhs_number)).await;
        assert!(status == 202 || status == 200, "{status} {body}");
        let mut told = Told { source: "eastvale", key, nhs_number, letters: Vec::new() };
        let letters = if random.random_bool(0.5) { random.random_range(1..4) } else { 0 };
        shared.letters(&mut http, &mut told, &local_id, letters).await;
        shared.tell(told);
        breathe(&shared, &mut random).await;
    }
}

/// Commands in a queue. The broker has confirmed them; that they left the queue is what the sender is told.
async fn by_queue(shared: Arc<Shared>, mut random: StdRng, mut queue: QueueSender) {
    for number in 0.. {
        if shared.stopping.load(Ordering::Relaxed) {
            return;
        }
        let (key, local_id) = (format!("Q-{number}"), format!("SB-{number}"));
        let nhs_number = shared.patients.next();
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_type("CreateReferral".into())
            .with_message_id(key.as_str().into());
        queue.deliver(properties, create(&local_id, &nhs_number).to_string().as_bytes()).await;
        shared.tell(Told { source: "southbeck", key, nhs_number, letters: Vec::new() });
        breathe(&shared, &mut random).await;
    }
}
