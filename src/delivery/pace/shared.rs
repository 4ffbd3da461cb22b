//! The pace where several instances call for one application: the store reserves departures.
//!
//! Guarantees: a call leaves only with a departure that is reserved for this instance, in its time. What is reserved
//! and not used is lost, so an instance that dies or stands still exceeds nothing; little is reserved ahead, so
//! that little is lost, and what is urgent in another instance waits little. Without the store nothing leaves.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::reserved::{Departure, Departures, LATE_MAX};
use super::waiting::{Caller, Turn, Waiting};
use super::{HEADROOM_CALLS, Leave, Reserved, Stopped};
use crate::config::Pacing;
use crate::delivery::metrics::DeliveryMetrics;
use crate::environment::Environment;
use crate::store::{QuotaAsk, SharedQuota, StoreError};

/// Departures in hand beside those that have leave: one to use next while the one after is asked for.
const IN_HAND_MAX: usize = 2;
/// Where answers are slow, so many more are asked for, to have room behind those that are used.
const SPARE_MAX: u32 = 3;
/// Leave is given before the departure, so that what lies between them (a commit) is done in time.
const LEAD_MIN: Duration = Duration::from_millis(10);
const LEAD_MAX: Duration = Duration::from_millis(250);
/// A later answer is of no use.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long a store that is away is left alone.
const STORE_PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Shared {
    settings: Pacing,
    application: String,
    quota: Arc<dyn SharedQuota>,
    environment: Environment,
    waited: Histogram,
    forfeited: IntCounter,
    store_unavailable: IntCounter,
    desk: Mutex<Desk>,
    /// Rings when somebody joins those who wait, or an answer came.
    changed: Notify,
}

struct Desk {
    waiting: Waiting<Leave>,
    departures: Departures,
    last_departure: Option<Instant>,
    /// What lies between leave and departure takes as long as this.
    lead: Duration,
    /// How long the store took for its latest answer.
    answer_took: Duration,
    /// Somebody sees to those who wait.
    attended: bool,
    /// A question is on its way.
    asking: bool,
    store_away: bool,
}

/// What a call that is ready to leave has to do.
enum Ready {
    Leaves,
    Waits(Instant),
    TooLate,
}

impl Shared {
    pub(super) fn new(
        settings: &Pacing,
        application: &str,
        quota: Arc<dyn SharedQuota>,
        metrics: &DeliveryMetrics,
        environment: &Environment,
    ) -> Self {
        let desk = Desk {
            waiting: Waiting::default(),
            departures: Departures::default(),
            last_departure: None,
            lead: LEAD_MIN,
            answer_took: Duration::ZERO,
            attended: false,
            asking: false,
            store_away: false,
        };
        Self {
            settings: settings.clone(),
            application: application.to_owned(),
            quota,
            environment: environment.clone(),
            waited: metrics.pacing_wait.clone(),
            forfeited: metrics.pacing_forfeited.clone(),
            store_unavailable: metrics.store_unavailable.clone(),
            desk: Mutex::new(desk),
            changed: Notify::new(),
        }
    }

    /// A departure in hand that nobody waits for.
    pub(super) fn try_now(&self, caller: Caller) -> Option<Leave> {
        let now = self.environment.instant();
        let mut desk = self.desk.lock();
        self.forfeited.inc_by(desk.departures.forfeit(now));
        if !desk.waiting.is_empty() {
            return None;
        }
        let by = now + desk.lead;
        let departure = desk.departures.open_by(by)?;
        desk.waiting.granted();
        self.waited.observe(0.0);
        Some(Leave { reserved: Some(Reserved { caller, given_at: now, departure }) })
    }

    pub(super) async fn wait(self: &Arc<Self>, caller: Caller) -> Result<Leave, Stopped> {
        self.wait_in_turn(Turn::First, caller).await
    }

    async fn wait_in_turn(self: &Arc<Self>, turn: Turn, caller: Caller) -> Result<Leave, Stopped> {
        let began = self.environment.instant();
        let leave = {
            let mut desk = self.desk.lock();
            let leave = desk.waiting.join(turn, caller);
            if !desk.attended {
                desk.attended = true;
                let shared = self.clone();
                self.environment.spawn(async move { shared.attend().await });
            }
            leave
        };
        self.changed.notify_one();
        let leave = leave.await.map_err(|_| Stopped)?;
        self.waited.observe((self.environment.instant() - began).as_secs_f64());
        Ok(leave)
    }

    /// Waits for the exact time. Who is ready too late goes to the head of those who wait, for another.
    pub(super) async fn depart(self: &Arc<Self>, leave: Leave) -> Result<(), Stopped> {
        let Some(mut reserved) = leave.reserved else { return Ok(()) };
        let now = self.environment.instant();
        self.desk.lock().learn_lead(now - reserved.given_at);
        loop {
            let now = self.environment.instant();
            let ready = self.desk.lock().ready(reserved.departure, now, self.settings.gap_min);
            match ready {
                Ready::Leaves => return Ok(()),
                Ready::Waits(until) => self.environment.sleep(until - now).await,
                Ready::TooLate => {
                    self.forfeited.inc();
                    let leave = self.wait_in_turn(Turn::Again, reserved.caller).await?;
                    reserved = leave.reserved.ok_or(Stopped)?;
                }
            }
        }
    }

    pub(super) fn throttled(self: &Arc<Self>) {
        let shared = self.clone();
        self.environment.spawn(async move {
            tracing::warn!("e-RS throttles: all instances call slower");
            let told = shared.in_time(shared.quota.throttled(&shared.application, shared.settings.per_second)).await;
            if let Err(error) = told {
                shared.store_unavailable.inc();
                tracing::error!(%error, "the other instances do not know that e-RS throttles");
            }
        });
    }

    /// Calls a second now, all instances together.
    pub(super) async fn rate(&self) -> Result<f64, StoreError> {
        self.in_time(self.quota.rate(&self.application, self.settings.per_second)).await
    }

    /// Gives leave until nobody waits.
    async fn attend(self: Arc<Self>) {
        let shutdown = self.environment.shutdown();
        loop {
            let next_opens = {
                let mut desk = self.desk.lock();
                let now = self.environment.instant();
                self.forfeited.inc_by(desk.departures.forfeit(now));
                desk.waiting.forget_who_gave_up();
                if shutdown.is_cancelled() {
                    desk.waiting.send_away();
                }
                desk.give_leave(now);
                if desk.waiting.is_empty() {
                    desk.attended = false;
                    return;
                }
                if let Some(ask) = self.question(&desk) {
                    desk.asking = true;
                    let shared = self.clone();
                    self.environment.spawn(async move { shared.ask(ask).await });
                }
                desk.departures.next_opens().map(|opens| opens.saturating_duration_since(now + desk.lead))
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = self.changed.notified() => {}
                () = self.environment.sleep(next_opens.unwrap_or_default()), if next_opens.is_some() => {}
            }
        }
    }

    /// What to ask the store for, if it is time: no more than is waited for, and little ahead.
    fn question(&self, desk: &Desk) -> Option<QuotaAsk> {
        let spare = self.spare(desk.answer_took);
        let in_hand = desk.departures.len();
        let (waiting, interactive) = desk.waiting.count();
        let wanted = waiting.min(IN_HAND_MAX + 2 * spare as usize);
        if desk.asking || in_hand * 2 > wanted || in_hand >= waiting {
            return None;
        }
        let (calls, ahead) = match interactive {
            0 => (wanted - in_hand, 0),
            _ => ((wanted - in_hand).min(interactive), HEADROOM_CALLS),
        };
        Some(QuotaAsk {
            application: self.application.clone(),
            calls: u32::try_from(calls).unwrap_or(1) + spare,
            ahead,
            per_second: self.settings.per_second,
            gap_min: self.settings.gap_min + LATE_MAX,
        })
    }

    /// Departures that must lie behind one for it to be still good when the answer arrives.
    fn spare(&self, answer_took: Duration) -> u32 {
        let gap = Duration::try_from_secs_f64(1.0 / self.settings.per_second).unwrap_or(LEAD_MAX).max(LATE_MAX);
        let mut spare = 0;
        while spare < SPARE_MAX && gap * spare + LATE_MAX / 2 < answer_took {
            spare += 1;
        }
        spare
    }

    async fn ask(&self, ask: QuotaAsk) {
        let asked = self.environment.instant();
        let answer = self.in_time(self.quota.reserve(ask)).await;
        let answered = self.environment.instant();
        match answer {
            Ok(given) => {
                let mut desk = self.desk.lock();
                desk.answer_took = answered - asked;
                let unusable = desk.departures.take_in(asked, answered, &given);
                self.forfeited.inc_by(unusable);
                if std::mem::take(&mut desk.store_away) {
                    tracing::info!("the store reserves departures again");
                }
            }
            Err(_) if self.environment.shutdown().is_cancelled() => {}
            Err(error) => {
                self.store_unavailable.inc();
                if !std::mem::replace(&mut self.desk.lock().store_away, true) {
                    tracing::error!(%error, "the store reserves no departures: nothing is sent until it does");
                }
                tokio::select! {
                    () = self.environment.sleep(STORE_PAUSE) => {}
                    () = self.environment.shutdown().cancelled() => {}
                }
            }
        }
        self.desk.lock().asking = false;
        self.changed.notify_one();
    }

    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            answer = answer => answer,
            () = self.environment.sleep(ANSWER_MAX) => Err(StoreError::Unavailable("no answer in time".into())),
            () = self.environment.shutdown().cancelled() => Err(StoreError::Unavailable("the gateway stops".into())),
        }
    }
}

impl Desk {
    fn give_leave(&mut self, now: Instant) {
        while let Some(next) = self.waiting.next()
            && let Some(departure) = self.departures.open_by(now + self.lead)
        {
            let leave = Leave { reserved: Some(Reserved { caller: next.caller(), given_at: now, departure }) };
            match self.waiting.give(next, leave) {
                Ok(()) => self.waiting.granted(),
                Err(_) => self.departures.put_back(departure),
            }
        }
    }

    /// As long as the slowest of late, and a little more; forgotten by and by.
    fn learn_lead(&mut self, took: Duration) {
        self.lead = (took + took / 4).max(self.lead * 9 / 10).clamp(LEAD_MIN, LEAD_MAX);
    }

    fn ready(&mut self, departure: Departure, now: Instant, gap_min: Duration) -> Ready {
        let earliest = self.last_departure.map_or(departure.opens, |last| departure.opens.max(last + gap_min));
        if earliest.max(now) > departure.closes {
            return Ready::TooLate;
        }
        if earliest > now {
            return Ready::Waits(earliest);
        }
        self.last_departure = Some(now);
        Ready::Leaves
    }
}
