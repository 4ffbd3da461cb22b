//! Hospital systems: each tells of its referrals one message after the other, and sends again what was not answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ers_gateway::environment::Environment;
use ers_gateway::intake::{Answer, Content, Inbound, Outcome};
use ers_gateway::store::Transport;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::chance::Chance;
use super::gateway::Door;
use super::story::Story;
use super::weather::Weather;
use crate::history::{Asked, Sent, Told};
use crate::support::referrals::{attach, create, northmoor};

const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE_MILLIS: std::ops::Range<u64> = 0..800;
const AGAIN_MILLIS: std::ops::Range<u64> = 100..2_000;
const LETTER: &str = "QSBsZXR0ZXI=";
const LETTERS: std::ops::Range<u64> = 0..3;

/// One referral as its sender tells of it.
pub struct Conversation {
    pub source: &'static str,
    pub number: u64,
    pub nhs_number: String,
}

/// What they share.
#[derive(Clone)]
pub struct Senders {
    pub environment: Environment,
    pub weather: Weather,
    pub story: Story,
    pub doors: watch::Receiver<Option<Door>>,
    pub ledger: Arc<Mutex<Vec<Sent>>>,
}

/// A message as it is sent, and sent again.
struct Letter {
    key: String,
    asked: Asked,
    content: Parcel,
}

enum Parcel {
    Hl7(Vec<u8>),
    Command { name: &'static str, body: String },
}

impl Senders {
    /// Tells of one referral from its beginning to its end.
    pub async fn tell(self, conversation: Conversation) {
        let Conversation { source, number, nhs_number } = conversation;
        let local_id = format!("{source}-{number}");
        let chance = self.weather.chance().clone();
        let letters = messages(source, &local_id, &nhs_number, &chance);
        for letter in letters {
            self.environment.sleep(chance.millis(PAUSE_MILLIS)).await;
            let place = {
                let mut ledger = self.ledger.lock();
                let (key, asked) = (letter.key.clone(), letter.asked.clone());
                ledger.push(Sent {
                    source: source.into(),
                    key,
                    referral: local_id.clone(),
                    asked,
                    answers: Vec::new(),
                });
                ledger.len() - 1
            };
            self.until_answered(source, &letter, place).await;
            // Whoever is not sure that it heard the answer asks again.
            if chance.percent(10) {
                self.until_answered(source, &letter, place).await;
            }
        }
    }

    async fn until_answered(&self, source: &'static str, letter: &Letter, place: usize) {
        loop {
            let told = self.send(source, letter).await;
            if let Some(told) = told {
                self.story.tell(format!("{source} {} was told {told:?}", letter.key));
                let is_final = told != Told::Later;
                self.ledger.lock()[place].answers.push(told);
                if is_final {
                    return;
                }
            }
            self.environment.sleep(self.weather.chance().millis(AGAIN_MILLIS)).await;
        }
    }

    /// What was heard of the answer, if anything was.
    async fn send(&self, source: &'static str, letter: &Letter) -> Option<Told> {
        let door = self.doors.borrow().clone()?;
        if self.weather.strikes(3) {
            self.story.tell(format!("{source} {} was lost on its way", letter.key));
            return None;
        }
        let inbound = letter.inbound(source, &self.environment);
        let (tell, told) = oneshot::channel();
        // The listener's side of the connection, which ends with the gateway.
        door.environment.spawn(async move {
            let answer = door.intake.receive(inbound).await;
            let message = answer.message;
            if tell.send(heard(&answer)).is_ok()
                && let Some(message) = message
            {
                door.intake.acknowledged(message);
            }
        });
        let told = self.environment.within(PATIENCE, told).await?.ok()?;
        if self.weather.strikes(4) {
            self.story.tell(format!("{source} {} did not hear {told:?}", letter.key));
            return None;
        }
        Some(told)
    }
}

/// Everything that is said of one referral, in its order.
fn messages(source: &'static str, local_id: &str, nhs_number: &str, chance: &Chance) -> Vec<Letter> {
    let command = |key: String, asked: Asked, name: &'static str, body: Value| Letter {
        key,
        asked,
        content: Parcel::Command { name, body: body.to_string() },
    };
    let diagnosis = chance.percent(30).then_some("KNEE PAIN");
    let referral = |key: String, asked: Asked| match source {
        "northmoor" => {
            let content = Parcel::Hl7(northmoor(&key, local_id, nhs_number, diagnosis));
            Letter { key, asked, content }
        }
        _ => command(key, asked, "CreateReferral", create(local_id, nhs_number)),
    };
    let mut letters = vec![referral(local_id.to_owned(), Asked::Referral { nhs_number: nhs_number.to_owned() })];
    if chance.percent(10) {
        letters.push(referral(format!("{local_id}-again"), Asked::Again));
    }
    if chance.percent(12) {
        let body = json!({ "localId": local_id, "reason": "NO_SUCH_REASON" });
        letters.push(command(format!("{local_id}-forbidden"), Asked::Forbidden, "CancelReferral", body));
    }
    for number in 1..=chance.number(LETTERS) {
        let file_name = format!("letter-{number}.txt");
        let body = attach(local_id, &file_name, LETTER);
        letters.push(command(format!("{local_id}-{number}"), Asked::Letter { file_name }, "AttachLetters", body));
        if chance.percent(5) {
            let body = attach(local_id, "another.txt", LETTER);
            letters.push(command(format!("{local_id}-{number}"), Asked::KeyUsedAgain, "AttachLetters", body));
        }
    }
    if chance.percent(10) {
        let body = json!({ "localId": local_id, "letters": [] });
        letters.push(command(format!("{local_id}-nonsense"), Asked::Nonsense, "AttachLetters", body));
    }
    if chance.percent(25) {
        let body = json!({ "localId": local_id, "reason": "RAISED_IN_ERROR" });
        letters.push(command(format!("{local_id}-cancel"), Asked::Cancellation, "CancelReferral", body));
    }
    letters
}

impl Letter {
    fn inbound(&self, source: &str, environment: &Environment) -> Inbound {
        let (transport, content) = match &self.content {
            Parcel::Hl7(bytes) => {
                (Transport::Mllp, Content::Hl7v2 { bytes: Bytes::from(bytes.clone()), charset: None })
            }
            Parcel::Command { name, body } => {
                let (name, bytes) = ((*name).to_owned(), Bytes::from(body.clone()));
                (Transport::Http, Content::Command { name, bytes, idempotency_key: Some(self.key.clone()) })
            }
        };
        Inbound { source: Some(source.to_owned()), transport, received_at: environment.now(), peer: None, content }
    }
}

/// As its sender understands it.
fn heard(answer: &Answer) -> Told {
    match answer.outcome {
        Outcome::Accepted | Outcome::Notice | Outcome::Duplicate => Told::Taken(match &answer.hl7 {
            Some(hl7) => String::from_utf8_lossy(hl7).into_owned(),
            None => format!("{:?}", answer.message),
        }),
        Outcome::Unavailable => Told::Later,
        Outcome::Rejected | Outcome::Unreadable | Outcome::UnknownSource | Outcome::TooLarge => Told::Refused,
    }
}
