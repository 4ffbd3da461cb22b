//! An intake that answers as a scenario tells it to, and remembers what it was given.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ers_gateway::command::MessageId;
use ers_gateway::intake::{Answer, DeferredReply, Inbound, Outcome, Receive};
use parking_lot::Mutex;

type Answers = Box<dyn Fn(&Inbound) -> Answer + Send + Sync>;

pub struct ScriptedIntake {
    answers: Answers,
    received: Mutex<Vec<Inbound>>,
    acknowledged: Mutex<Vec<MessageId>>,
}

impl ScriptedIntake {
    pub fn new(answers: impl Fn(&Inbound) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { answers: Box::new(answers), received: Mutex::default(), acknowledged: Mutex::default() })
    }

    pub fn received(&self) -> Vec<Inbound> {
        std::mem::take(&mut self.received.lock())
    }

    pub fn acknowledged(&self) -> Vec<MessageId> {
        self.acknowledged.lock().clone()
    }
}

#[async_trait]
impl Receive for ScriptedIntake {
    async fn receive(&self, inbound: Inbound) -> Answer {
        let answer = (self.answers)(&inbound);
        self.received.lock().push(inbound);
        answer
    }

    async fn acknowledged(&self, message: MessageId) {
        self.acknowledged.lock().push(message);
    }

    async fn deferred(&self, _: &DeferredReply, _: Duration) -> Option<Bytes> {
        None
    }

    async fn take_again(
        &self,
        _: ers_gateway::command::MessageId,
        _: &ers_gateway::store::Act,
    ) -> Result<ers_gateway::intake::Again, ers_gateway::store::StoreError> {
        Err(ers_gateway::store::StoreError::NotFound)
    }

    async fn take_again_in_bulk(
        &self,
        _: ers_gateway::command::MessageId,
        _: &ers_gateway::store::Act,
    ) -> Result<ers_gateway::intake::Again, ers_gateway::store::StoreError> {
        Err(ers_gateway::store::StoreError::NotFound)
    }

    async fn take_edited(
        &self,
        _: ers_gateway::command::MessageId,
        _: bytes::Bytes,
        _: &ers_gateway::store::Act,
    ) -> Result<ers_gateway::intake::Again, ers_gateway::store::StoreError> {
        Err(ers_gateway::store::StoreError::NotFound)
    }

    async fn would_take_again(
        &self,
        _: ers_gateway::command::MessageId,
    ) -> Result<ers_gateway::intake::Again, ers_gateway::store::StoreError> {
        Err(ers_gateway::store::StoreError::NotFound)
    }
}

/// An answer with nothing in it but its outcome.
pub fn answer(outcome: Outcome) -> Answer {
    Answer { outcome, message: None, commands: Vec::new(), problems: Vec::new(), hl7: None, deferred: None }
}
