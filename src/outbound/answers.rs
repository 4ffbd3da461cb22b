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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::command::MessageId;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{DispatchContent, DispatchFilter, DispatchState, Store as _};

    const THERE: &str = "northmoor-answers";

    /// Each message's answer, by what is the matter with it.
    struct Answering {
        damaged: MessageId,
        away: MessageId,
        asked_again: MessageId,
    }

    #[async_trait]
    impl MakeAnswers for Answering {
        async fn make_answer(&self, owed: &OwedAnswer, _: bool) -> Result<AnswerMade> {
            match owed.message {
                message if message == self.damaged => Err(StoreError::Damaged("a row".into())),
                message if message == self.away => Err(StoreError::Unavailable("it is away".into())),
                message if message == self.asked_again => Ok(AnswerMade::NotYet),
                _ => Ok(AnswerMade::Message(DispatchContent {
                    kind: "ACK^I12".into(),
                    control_id: "A1".into(),
                    bytes: Bytes::from_static(b"MSH|^~\\&|ERS||||||ACK^I12|A1\r"),
                })),
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_cannot_be_read_holds_no_other_and_one_that_is_not_known_yet_stays_owed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let environment = Environment::system();
        let opened = SqliteStore::open(folder.path().join("store.db"), &environment).await.expect("opened");
        let opened = Arc::new(opened);
        let store: Arc<dyn DispatchStore> = opened.clone();
        let [damaged, asked_again, good, away] = std::array::from_fn(|_| MessageId(environment.new_id()));
        let owe = async |message: MessageId| {
            let at = environment.now();
            let owed = OwedAnswer { message, outcome_of: message, destination: THERE.into(), at };
            store.owe_answer(owed).await.expect("noted");
        };
        for message in [damaged, asked_again, good] {
            owe(message).await;
        }
        let answers = Answers {
            acknowledgements: BTreeMap::from([(THERE.to_owned(), Acknowledgement::None)]),
            store: store.clone(),
            signals: opened.signals().clone(),
            answers: Arc::new(Answering { damaged, away, asked_again }),
            environment: environment.clone(),
        };
        assert_eq!(answers.make_due().await.expect("the store answers"), 2);
        let made = store.dispatches(DispatchFilter { max: 10, ..DispatchFilter::default() }).await.expect("read");
        let state_of = |message: MessageId| {
            made.iter().find(|one| one.subject == format!("message {message}")).map(|one| (one.state, one.why.as_str()))
        };
        let damage = "what it answers cannot be read: the store is damaged: a row";
        assert_eq!(state_of(damaged), Some((DispatchState::Unmade, damage)));
        assert_eq!(state_of(good), Some((DispatchState::Waiting, "")));
        let left: Vec<MessageId> =
            store.answers_due(10).await.expect("read").into_iter().map(|owed| owed.message).collect();
        assert_eq!(left, [asked_again]);

        owe(away).await;
        assert!(answers.make_due().await.is_err(), "nothing is decided while the store is away");
        assert_eq!(store.answers_due(10).await.expect("read").len(), 2);
    }
}
