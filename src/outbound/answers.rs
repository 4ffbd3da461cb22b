//! Application answers that are owed, made once the outcome of their message is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::wait_for_work;
use crate::command::DispatchId;
use crate::config::Acknowledgement;
use crate::environment::Environment;
use crate::intake::MakeAnswers;
use crate::store::{DispatchStore, Made, NewDispatch, OwedAnswer, Result, Signals};

const AT_ONCE: usize = 100;
/// Many commands may come to rest at once; they are looked for together.
const GATHER: Duration = Duration::from_millis(50);

pub(super) struct Answers {
    /// Of the destinations, by name.
    pub acknowledgements: BTreeMap<String, Acknowledgement>,
    pub store: Arc<dyn DispatchStore>,
    pub signals: Signals,
    pub answers: Arc<dyn MakeAnswers>,
    pub environment: Environment,
}

impl Answers {
    pub async fn run(&self) {
        let mut settled = self.signals.settled.subscribe();
        loop {
            let bell = self.signals.dispatches.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            match self.make_due().await {
                Ok(0) => {}
                Ok(_) => continue,
                Err(error) => tracing::warn!(%error, "application answers that are owed cannot be made now"),
            }
            let rung = async {
                tokio::select! {
                    () = bell => {}
                    // A lagging receiver has missed some: it looks.
                    _ = settled.recv() => {}
                }
                self.environment.sleep(GATHER).await;
            };
            if !wait_for_work(rung, &self.environment).await {
                return;
            }
            settled = settled.resubscribe();
        }
    }

    /// How many were settled.
    async fn make_due(&self) -> Result<usize> {
        let due = self.store.answers_due(AT_ONCE).await?;
        for owed in &due {
            let answer = self.make(owed).await?;
            self.store.settle_answer(owed.message, answer, self.environment.now()).await?;
        }
        Ok(due.len())
    }

    /// `None`: the sender wants none of this outcome.
    async fn make(&self, owed: &OwedAnswer) -> Result<Option<NewDispatch>> {
        let made = match self.acknowledgements.get(&owed.destination) {
            None => Made::Unmade("its destination is not configured any more".into()),
            Some(acknowledgement) => {
                let wants_commit = *acknowledgement != Acknowledgement::None;
                match self.answers.make_answer(owed, wants_commit).await? {
                    Some(content) => Made::Message(content),
                    None => return Ok(None),
                }
            }
        };
        let id = DispatchId(self.environment.new_id());
        let subject = format!("message {}", owed.message);
        Ok(Some(NewDispatch { id, subject, event: None, at: self.environment.now(), made }))
    }
}
