//! Application answers that are owed, made once the outcome of their message is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::wait_for_work;
use crate::command::DispatchId;
use crate::config::Acknowledgement;
use crate::environment::Environment;
use crate::intake::{AnswerMade, MakeAnswers};
use crate::store::{DispatchStore, Made, NewDispatch, OwedAnswer, Result, Signals, StoreError};

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
        let mut settled = 0;
        for owed in &due {
            let answer = match self.make(owed).await? {
                AnswerMade::NotYet => continue,
                AnswerMade::NotWanted => None,
                AnswerMade::Message(content) => Some(Made::Message(content)),
                AnswerMade::Unmade(why) => {
                    tracing::error!(
                        destination = %owed.destination, message.id = %owed.message, why,
                        "an application answer could not be made; a person tells the sender"
                    );
                    Some(Made::Unmade(why))
                }
            };
            let answer = answer.map(|made| NewDispatch {
                id: DispatchId(self.environment.new_id()),
                subject: format!("message {}", owed.message),
                event: None,
                at: self.environment.now(),
                made,
            });
            self.store.settle_answer(owed.message, answer, self.environment.now()).await?;
            settled += 1;
        }
        Ok(settled)
    }

    /// One that cannot be read holds none of the others.
    async fn make(&self, owed: &OwedAnswer) -> Result<AnswerMade> {
        let Some(acknowledgement) = self.acknowledgements.get(&owed.destination) else {
            return Ok(AnswerMade::Unmade("its destination is not configured any more".into()));
        };
        match self.answers.make_answer(owed, *acknowledgement != Acknowledgement::None).await {
            Err(error @ StoreError::Unavailable(_)) => Err(error),
            Err(error) => Ok(AnswerMade::Unmade(format!("what it answers cannot be read: {error}"))),
            made => made,
        }
    }
}
