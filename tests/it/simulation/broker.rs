//! A broker with one queue that hears everything, and the lines to it.
//!
//! While it storms, it cannot be reached, lines end before or after it has an event, it refuses events, and its
//! confirmations are lost. What it has taken is in the queue for good, in the order of its arrival: the consumers' ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use ers_gateway::amqp::ConnectError;
use ers_gateway::environment::Environment;
use ers_gateway::events::{Awaited, Line, Lines, Said, SessionError};
use ers_gateway::store::StoredEvent;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use super::story::Story;
use super::weather::Weather;

const WAY_MILLIS: std::ops::Range<u64> = 1..20;

#[derive(Clone)]
pub struct Broker {
    queue: Arc<Mutex<Vec<Value>>>,
    outside: Environment,
    weather: Weather,
    story: Story,
}

impl Broker {
    pub fn new(outside: &Environment, weather: Weather, story: &Story) -> Self {
        Self { queue: Arc::default(), outside: outside.clone(), weather, story: story.clone() }
    }

    /// What consumers got.
    pub fn heard(&self) -> Vec<Value> {
        self.queue.lock().clone()
    }

    /// The way to it for one life of the gateway.
    pub fn lines(&self, gateway: &Environment) -> Box<dyn Lines> {
        Box::new(LinesToIt { broker: self.clone(), gateway: gateway.clone() })
    }

    async fn way(&self) {
        self.outside.sleep(self.weather.chance().millis(WAY_MILLIS)).await;
    }
}

struct LinesToIt {
    broker: Broker,
    gateway: Environment,
}

#[async_trait]
impl Lines for LinesToIt {
    async fn connect(&mut self) -> Result<Box<dyn Line>, ConnectError> {
        self.gateway.sleep(self.broker.weather.chance().millis(WAY_MILLIS)).await;
        if self.broker.weather.strikes(10) {
            self.broker.story.tell("broker: not reached");
            return Err(ConnectError { reasons: vec!["refused".into()] });
        }
        Ok(Box::new(LineToIt { broker: self.broker.clone(), is_down: Arc::default(), down: Arc::default() }))
    }
}

struct LineToIt {
    broker: Broker,
    is_down: Arc<AtomicBool>,
    down: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Taken,
    Refused,
    CutBefore,
    CutAfter,
}

impl LineToIt {
    fn fate(&self) -> Fate {
        let fates = [(2, Fate::Refused), (2, Fate::CutBefore), (3, Fate::CutAfter)];
        fates
            .into_iter()
            .find(|(percent, _)| self.broker.weather.strikes(*percent))
            .map_or(Fate::Taken, |(_, fate)| fate)
    }
}

#[async_trait]
impl Line for LineToIt {
    fn node(&self) -> &str {
        "simulated"
    }

    async fn open(&self) -> Result<(), SessionError> {
        self.renew().await
    }

    async fn renew(&self) -> Result<(), SessionError> {
        if self.is_up() { Ok(()) } else { Err(SessionError::Closed) }
    }

    async fn publish(&self, _event: &StoredEvent, body: &[u8]) -> Result<Awaited, SessionError> {
        if !self.is_up() {
            return Err(SessionError::Closed);
        }
        let event: Value = serde_json::from_slice(body).expect("an event is JSON");
        let fate = self.fate();
        if fate != Fate::Taken {
            self.broker.story.tell(format!("broker: {} {} is {fate:?}", event["type"], event["id"]));
        }
        let (tell, told) = oneshot::channel();
        let (broker, is_down, down) = (self.broker.clone(), self.is_down.clone(), self.down.clone());
        self.broker.outside.spawn(async move {
            broker.way().await;
            // What follows on a line that was cut does not arrive.
            if is_down.load(Ordering::Relaxed) {
                return;
            }
            if matches!(fate, Fate::Taken | Fate::CutAfter) {
                broker.story.tell(format!("consumers: {} {} {}", event["type"], event["sequence"], event["id"]));
                broker.queue.lock().push(event);
            }
            if matches!(fate, Fate::CutBefore | Fate::CutAfter) {
                is_down.store(true, Ordering::Relaxed);
                down.notify_waiters();
                return;
            }
            broker.way().await;
            let said = if fate == Fate::Refused { Said::Refused } else { Said::Taken };
            // Nobody may be there to hear it.
            let _ = tell.send(said);
        });
        Ok(async move { told.await.map_err(|_| SessionError::Closed) }.boxed())
    }

    fn is_up(&self) -> bool {
        !self.is_down.load(Ordering::Relaxed)
    }

    async fn lost(&self) {
        let down = self.down.notified();
        if self.is_up() {
            down.await;
        }
    }

    async fn close(&self) {}
}
