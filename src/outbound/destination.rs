//! One destination: its connection, and the messages that it gets, one after the other.

use std::sync::Arc;

use super::events::Events;
use super::metrics::{DestinationMetrics, OutboundMetrics};
use super::mllp_client::{MllpClient, MllpClientError};
use super::wait_for_work;
use crate::backoff::Backoff;
use crate::config::{self, Acknowledgement};
use crate::environment::Environment;
use crate::hl7::Receipt;
use crate::modes::Board;
use crate::store::{DispatchContent, DispatchState, DispatchStep, DueDispatch, Made, Result, Store, SwitchKind};
use crate::tls::{ClientTls, Identity};

/// Read at once: messages may be large.
const AT_ONCE: usize = 2;
/// A receiver that says "not now" (206, 207) is asked so often; then a person looks.
const NOT_NOW_MAX: u32 = 10;
/// After a message stayed without an answer so often, the next one is sent right behind it. If that is answered and this
/// one, once more, is not, the message is at fault and not the receiver.
const UNANSWERED_MAX: u32 = 5;
/// Characters of the receiver's words that are kept.
const WORDS_MAX: usize = 1_000;
/// HL7 table 0357: application record locked, application internal error.
const NOT_NOW: [u16; 2] = [206, 207];

/// What became of one try.
enum Tried {
    Delivered,
    Refused(String),
    NotNow(String),
    /// It was sent, or may have been, and no answer came.
    Unanswered(String),
    Unreachable(String),
}

pub(super) struct Destination {
    settings: config::Destination,
    tls: Option<ClientTls>,
    store: Arc<dyn Store>,
    events: Arc<Events>,
    /// Whether somebody has paused it.
    board: Board,
    metrics: DestinationMetrics,
    environment: Environment,
    connection: Option<MllpClient>,
    backoff: Backoff,
    /// Said once for each time that it is away.
    is_away: bool,
}

impl Destination {
    pub fn new(
        settings: config::Destination,
        store: Arc<dyn Store>,
        events: Arc<Events>,
        board: &Board,
        metrics: &OutboundMetrics,
        environment: &Environment,
    ) -> Self {
        Self {
            tls: settings.tls.as_ref().map(|tls| client_tls(&settings.address, tls)),
            metrics: metrics.destination(&settings.name),
            settings,
            store,
            events,
            board: board.clone(),
            environment: environment.clone(),
            connection: None,
            backoff: Backoff::default(),
            is_away: false,
        }
    }

    /// Sends what there is until the gateway stops.
    pub async fn run(&mut self) {
        loop {
            let signals = self.store.signals().clone();
            let bell = signals.dispatches.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            let goes_on = match self.send_due().await {
                Ok(Sent::All) => wait_for_work(bell, &self.environment).await,
                Ok(Sent::Some) => !self.environment.shutdown().is_cancelled(),
                Ok(Sent::ReceiverIsAway) => self.backoff.wait(&self.environment).await,
                Err(error) => {
                    tracing::warn!(destination = %self.settings.name, %error, "what to send cannot be read or noted now");
                    self.backoff.wait(&self.environment).await
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    pub fn hang_up(&mut self) {
        self.connection = None;
        self.metrics.up.set(0);
    }

    async fn send_due(&mut self) -> Result<Sent> {
        if self.board.is_paused(SwitchKind::Destination, &self.settings.name, self.environment.now()) {
            self.hang_up();
            return Ok(Sent::All);
        }
        let due = self.store.due_dispatches(&self.settings.name, AT_ONCE).await?;
        if due.is_empty() {
            return Ok(Sent::All);
        }
        let mut suspect: Option<(&DueDispatch, DispatchContent)> = None;
        for (index, dispatch) in due.iter().enumerate() {
            if self.environment.shutdown().is_cancelled() {
                return Ok(Sent::Some);
            }
            // While the one before was sent, a person may have given this one up.
            if index > 0 && !self.still_waits(dispatch).await? {
                continue;
            }
            let anew;
            let content = match &dispatch.content {
                Some(content) => content,
                None => match self.events.make_anew(dispatch).await? {
                    Made::Message(content) => {
                        self.store.make_dispatch(dispatch.id, content.clone()).await?;
                        anew = content;
                        &anew
                    }
                    Made::Unmade(why) => {
                        self.note(dispatch, DispatchState::Unmade, why).await?;
                        continue;
                    }
                },
            };
            let tried = self.try_once(content).await;
            if let (Some((suspect, content)), Tried::Delivered | Tried::Refused(_)) = (suspect.take(), &tried) {
                self.try_suspect(suspect, &content).await?;
            }
            match tried {
                Tried::Delivered => self.note(dispatch, DispatchState::Delivered, String::new()).await?,
                Tried::NotNow(why) if dispatch.put_off + 1 < NOT_NOW_MAX => {
                    self.metrics.tried("not_now");
                    self.step(dispatch, DispatchState::Waiting, dispatch.put_off + 1, why).await?;
                    return Ok(Sent::ReceiverIsAway);
                }
                Tried::Refused(why) | Tried::NotNow(why) => self.refuse(dispatch, why).await?,
                Tried::Unanswered(why) => {
                    self.metrics.tried("unanswered");
                    self.went_away(&why);
                    self.note(dispatch, DispatchState::Waiting, why).await?;
                    if index > 0 || unanswered(dispatch) + 1 < UNANSWERED_MAX {
                        return Ok(Sent::ReceiverIsAway);
                    }
                    suspect = Some((dispatch, content.clone()));
                    continue;
                }
                // It was not sent, so it is not counted as a try of the message.
                Tried::Unreachable(why) => {
                    self.metrics.tried("unreachable");
                    self.went_away(&why);
                    return Ok(Sent::ReceiverIsAway);
                }
            }
            self.is_away = false;
            self.backoff.reset();
        }
        Ok(if suspect.is_some() { Sent::ReceiverIsAway } else { Sent::Some })
    }

    /// One that stayed without an answer while the one after it was answered. The receiver may have come back just between
    /// the two, so it gets one more try before it is set aside.
    async fn try_suspect(&mut self, suspect: &DueDispatch, content: &DispatchContent) -> Result<()> {
        match self.try_once(content).await {
            Tried::Delivered => self.note(suspect, DispatchState::Delivered, String::new()).await,
            Tried::Refused(why) => self.refuse(suspect, why).await,
            Tried::Unanswered(_) => {
                self.hang_up();
                let tries = unanswered(suspect) + 2;
                let why = format!("it was not answered in {tries} tries, but the one after it was at once");
                self.refuse(suspect, why).await
            }
            // It is the first again when the receiver is asked next.
            Tried::NotNow(_) | Tried::Unreachable(_) => Ok(()),
        }
    }

    async fn refuse(&self, dispatch: &DueDispatch, why: String) -> Result<()> {
        tracing::warn!(
            destination = %self.settings.name, dispatch.id = %dispatch.id,
            "a message was not taken by its receiver; a person decides"
        );
        self.note(dispatch, DispatchState::Refused, why).await
    }

    /// One message over the connection that there is, or a new one.
    async fn try_once(&mut self, content: &DispatchContent) -> Tried {
        let mut connection = match self.connection.take_if(MllpClient::is_open) {
            Some(connection) => connection,
            None => {
                let limit = self.settings.answer_timeout;
                let environment = self.environment.clone();
                match MllpClient::connect(&self.settings.address, self.tls.as_ref(), limit, environment).await {
                    Ok(connection) => connection,
                    Err(error) => return Tried::Unreachable(error.to_string()),
                }
            }
        };
        let limit = self.settings.answer_timeout;
        let exchanging = exchange(&mut connection, content, self.settings.acknowledgement);
        // Writing has a limit of its own; answers to others do not make this one longer.
        let exchanged = self.environment.within(limit.saturating_mul(2), exchanging).await;
        match exchanged.unwrap_or(Err(MllpClientError::NoAnswer { limit })) {
            Ok(tried) => {
                self.connection = Some(connection);
                self.metrics.up.set(1);
                tried
            }
            Err(error) => Tried::Unanswered(error.to_string()),
        }
    }

    fn went_away(&mut self, why: &str) {
        self.hang_up();
        if !std::mem::replace(&mut self.is_away, true) {
            tracing::warn!(destination = %self.settings.name, why, "messages wait for their receiver");
        }
    }

    async fn note(&self, dispatch: &DueDispatch, state: DispatchState, why: String) -> Result<()> {
        match state {
            DispatchState::Delivered | DispatchState::Refused | DispatchState::Unmade => {
                self.metrics.tried(state.name())
            }
            DispatchState::Waiting | DispatchState::Discarded => {}
        }
        self.step(dispatch, state, dispatch.put_off, why).await
    }

    async fn step(&self, dispatch: &DueDispatch, state: DispatchState, put_off: u32, why: String) -> Result<()> {
        let DueDispatch { id, tries, .. } = *dispatch;
        let at = self.environment.now();
        let why = why.chars().filter(|letter| !letter.is_control()).take(WORDS_MAX).collect();
        self.store.step_dispatch(DispatchStep { id, at, state, tries: tries.saturating_add(1), put_off, why }).await
    }

    async fn still_waits(&self, dispatch: &DueDispatch) -> Result<bool> {
        let now = self.store.dispatch(dispatch.id).await?;
        Ok(now.is_some_and(|now| now.state == DispatchState::Waiting))
    }
}

/// How often it was sent in vain; "not now" is an answer.
fn unanswered(dispatch: &DueDispatch) -> u32 {
    dispatch.tries.saturating_sub(dispatch.put_off)
}

/// How far a look came.
enum Sent {
    /// There was nothing.
    All,
    /// There may be more.
    Some,
    ReceiverIsAway,
}

/// Sends a message and waits for what answers it. What answers another, a late answer to one that was sent before, is
/// passed over.
async fn exchange(
    connection: &mut MllpClient,
    content: &DispatchContent,
    acknowledgement: Acknowledgement,
) -> std::result::Result<Tried, MllpClientError> {
    connection.write(&content.bytes).await?;
    if acknowledgement == Acknowledgement::None {
        return Ok(Tried::Delivered);
    }
    loop {
        let receipt = Receipt::read(&connection.answer().await?);
        if receipt.control_id != content.control_id {
            continue;
        }
        return Ok(match receipt {
            Receipt { accepted: true, .. } => Tried::Delivered,
            Receipt { error_codes, words, .. } if error_codes.iter().any(|code| NOT_NOW.contains(code)) => {
                Tried::NotNow(words)
            }
            Receipt { words, .. } => Tried::Refused(words),
        });
    }
}

fn client_tls(address: &str, tls: &config::DestinationTls) -> ClientTls {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let identity = match (&tls.certificate, &tls.private_key) {
        (Some(certificate), Some(private_key)) => {
            Some(Identity { certificate: certificate.clone(), private_key: private_key.clone() })
        }
        _ => None,
    };
    ClientTls {
        authorities: tls.ca.clone(),
        server_name: tls.server_name.clone().unwrap_or_else(|| host.to_owned()),
        identity,
    }
}
