//! The pace where this process has the application to itself.
//!
//! The rule is GCRA (a virtual clock that each call moves on by the gap of the rate). Only the interactive
//! class may run ahead of the clock, by [`HEADROOM_CALLS`]; the others pay the time back.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::Histogram;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::waiting::{Caller, Turn, Waiting};
use super::{GAP_MAX, HEADROOM_CALLS, Leave, RECOVERY_PER_SECOND, Stopped};
use crate::command::Class;
use crate::config::Pacing;
use crate::environment::Environment;

/// After a 429 the rate falls to this part of itself, at most once a second, at least to the smallest part.
const SLOWER: f64 = 0.7;
const SLOWER_ONCE_IN: Duration = Duration::from_secs(1);
const SLOWEST_PART: f64 = 0.1;

pub(super) struct Local {
    settings: Pacing,
    environment: Environment,
    waited: Histogram,
    queue: Mutex<Queue>,
    /// Rings when somebody joins the queue.
    joined: Notify,
    last_departure: tokio::sync::Mutex<Option<Instant>>,
}

struct Queue {
    waiting: Waiting<Leave>,
    /// The virtual clock: when the quota allows the next call.
    clock: Instant,
    last_grant: Option<Instant>,
    rate: f64,
    rate_since: Instant,
    /// Somebody sees to the queue.
    attended: bool,
}

impl Local {
    pub(super) fn new(settings: &Pacing, waited: Histogram, environment: &Environment) -> Self {
        let now = environment.instant();
        let queue = Queue {
            waiting: Waiting::default(),
            clock: now,
            last_grant: None,
            rate: settings.per_second,
            rate_since: now,
            attended: false,
        };
        Self {
            settings: settings.clone(),
            environment: environment.clone(),
            waited,
            queue: Mutex::new(queue),
            joined: Notify::new(),
            last_departure: tokio::sync::Mutex::new(None),
        }
    }

    pub(super) fn try_now(&self, class: Class) -> Option<Leave> {
        let now = self.environment.instant();
        let mut queue = self.queue.lock();
        if !queue.waiting.is_empty() || queue.open_at(class, now, &self.settings) > now {
            return None;
        }
        queue.grant(now, &self.settings);
        self.waited.observe(0.0);
        Some(Leave::open())
    }

    pub(super) async fn wait(self: &Arc<Self>, caller: Caller) -> Result<Leave, Stopped> {
        let began = self.environment.instant();
        let leave = {
            let mut queue = self.queue.lock();
            let leave = queue.waiting.join(Turn::First, caller);
            if !queue.attended {
                queue.attended = true;
                let local = self.clone();
                self.environment.spawn(async move { local.attend().await });
            }
            leave
        };
        self.joined.notify_one();
        let leave = leave.await.map_err(|_| Stopped)?;
        self.waited.observe((self.environment.instant() - began).as_secs_f64());
        Ok(leave)
    }

    pub(super) async fn depart(&self) {
        let mut last = self.last_departure.lock().await;
        let now = self.environment.instant();
        if let Some(earliest) = last.map(|last| last + self.settings.gap_min)
            && now < earliest
        {
            self.environment.sleep(earliest - now).await;
        }
        *last = Some(self.environment.instant());
    }

    pub(super) fn throttled(&self) {
        let now = self.environment.instant();
        let full = self.settings.per_second;
        let mut queue = self.queue.lock();
        if queue.rate < full && now - queue.rate_since < SLOWER_ONCE_IN {
            return;
        }
        queue.rate = (queue.rate_at(now, full) * SLOWER).max(full * SLOWEST_PART);
        queue.rate_since = now;
        tracing::warn!(calls_per_second = queue.rate, "e-RS throttles: calling slower");
    }

    /// Calls a second now.
    pub(super) fn rate(&self) -> f64 {
        self.queue.lock().rate_at(self.environment.instant(), self.settings.per_second)
    }

    /// Gives leave until nobody waits.
    async fn attend(&self) {
        loop {
            let wake = {
                let mut queue = self.queue.lock();
                let now = self.environment.instant();
                let Some(next) = queue.waiting.next() else {
                    queue.attended = false;
                    return;
                };
                let open_at = queue.open_at(next.caller().class, now, &self.settings);
                if open_at <= now {
                    // Who gave up takes no place of the quota.
                    if queue.waiting.give(next, Leave::open()).is_ok() {
                        queue.grant(now, &self.settings);
                    }
                    continue;
                }
                open_at - now
            };
            tokio::select! {
                () = self.environment.sleep(wake) => {}
                () = self.joined.notified() => {}
            }
        }
    }
}

impl Queue {
    fn rate_at(&self, now: Instant, full: f64) -> f64 {
        (self.rate + full * RECOVERY_PER_SECOND * (now - self.rate_since).as_secs_f64()).min(full)
    }

    fn gap(&self, now: Instant, settings: &Pacing) -> Duration {
        Duration::try_from_secs_f64(1.0 / self.rate_at(now, settings.per_second))
            .unwrap_or(GAP_MAX)
            .max(settings.gap_min)
    }

    /// When somebody of this class may call.
    fn open_at(&self, class: Class, now: Instant, settings: &Pacing) -> Instant {
        let headroom = match class {
            Class::Interactive => self.gap(now, settings) * HEADROOM_CALLS,
            _ => Duration::ZERO,
        };
        let by_quota = self.clock.checked_sub(headroom).unwrap_or(now);
        match self.last_grant {
            Some(last) => by_quota.max(last + settings.gap_min),
            None => by_quota,
        }
    }

    fn grant(&mut self, now: Instant, settings: &Pacing) {
        self.clock = self.clock.max(now) + self.gap(now, settings);
        self.last_grant = Some(now);
        self.waiting.granted();
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Registry;

    use super::super::Pacer;
    use super::*;
    use crate::delivery::DeliveryMetrics;

    fn pacer(environment: &Environment, settings: Pacing) -> Pacer {
        let metrics = DeliveryMetrics::register(&Registry::new()).expect("registered once");
        Pacer::new(&settings, None, &metrics, environment)
    }

    fn environment() -> Environment {
        Environment::simulated(1, jiff::Timestamp::UNIX_EPOCH)
    }

    /// Lets `count` commands of each class ask at once; returns who went when, in order.
    async fn departures(pacer: &Pacer, environment: &Environment, asking: &[(Class, usize)]) -> Vec<(Class, Duration)> {
        let began = environment.instant();
        let gone = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (class, count) in asking {
            for _ in 0..*count {
                let (pacer, gone, environment, class) = (pacer.clone(), gone.clone(), environment.clone(), *class);
                tasks.push(tokio::spawn(async move {
                    let leave = pacer.wait(Caller::of(class)).await.expect("leave");
                    pacer.depart(leave).await.expect("on its way");
                    gone.lock().push((class, environment.instant() - began));
                }));
                tokio::task::yield_now().await;
            }
        }
        for task in tasks {
            task.await.expect("a departure");
        }
        std::mem::take(&mut *gone.lock())
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_holds_no_more_than_the_quota_and_no_gap_is_too_small() {
        let environment = environment();
        let pacer = pacer(&environment, Pacing::default());
        let gone = departures(&pacer, &environment, &[(Class::Routine, 700), (Class::Interactive, 40)]).await;
        for pair in gone.windows(2) {
            assert!(pair[1].1 - pair[0].1 >= Duration::from_millis(84), "{pair:?}");
        }
        for (start, (_, first)) in gone.iter().enumerate() {
            let minute = gone[start..].iter().take_while(|(_, at)| *at - *first < Duration::from_secs(60)).count();
            assert!(minute <= 600, "{minute} calls within a minute");
        }
        let last = gone.last().expect("departures").1;
        assert!(last < Duration::from_secs(80), "740 calls at 9.6 a second take 77 s, not {last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_urgent_go_first_and_the_rest_is_not_starved() {
        let environment = environment();
        let pacer = pacer(&environment, Pacing::default());
        let gone = departures(&pacer, &environment, &[(Class::Bulk, 3), (Class::TwoWeekWait, 30)]).await;
        let place = |nth: usize| {
            gone.iter().enumerate().filter(|(_, (class, _))| *class == Class::Bulk).map(|(at, _)| at).nth(nth)
        };
        // The first found the way free; the others get every eighth turn.
        assert_eq!((place(0), place(1), place(2)), (Some(0), Some(7), Some(15)), "{gone:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_who_waits_finds_room_in_a_full_queue() {
        let environment = environment();
        let pacer = pacer(&environment, Pacing::default());
        let queue = {
            let (pacer, environment) = (pacer.clone(), environment.clone());
            tokio::spawn(async move { departures(&pacer, &environment, &[(Class::Routine, 100)]).await })
        };
        environment.sleep(Duration::from_millis(2_050)).await;
        let began = environment.instant();
        let _leave = pacer.wait(Caller::of(Class::Interactive)).await.expect("leave");
        assert!(environment.instant() - began <= Duration::from_millis(84));
        queue.await.expect("the queue drains");
    }

    #[tokio::test(start_paused = true)]
    async fn after_429_it_slows_down_once_a_second_and_comes_back() {
        let environment = environment();
        let settings = Pacing::default();
        let metrics = DeliveryMetrics::register(&Registry::new()).expect("registered once");
        let pacer = Local::new(&settings, metrics.pacing_wait.clone(), &environment);
        pacer.throttled();
        pacer.throttled(); // of a call that was on its way
        let rate = |pacer: &Local| pacer.queue.lock().rate_at(environment.instant(), settings.per_second);
        assert!((rate(&pacer) - settings.per_second * 0.7).abs() < 0.01);
        for _ in 0..30 {
            environment.sleep(SLOWER_ONCE_IN).await;
            pacer.throttled();
        }
        assert!((rate(&pacer) - settings.per_second * SLOWEST_PART).abs() < 0.1);
        environment.sleep(Duration::from_secs(200)).await;
        assert!((rate(&pacer) - settings.per_second).abs() < 0.01);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_takes_no_place() {
        let environment = environment();
        let pacer = pacer(&environment, Pacing::default());
        let _leave = pacer.wait(Caller::of(Class::Routine)).await.expect("leave");
        for _ in 0..50 {
            let gave_up = tokio::time::timeout(Duration::from_millis(1), pacer.wait(Caller::of(Class::Routine))).await;
            assert!(gave_up.is_err());
        }
        let began = environment.instant();
        let _leave = pacer.wait(Caller::of(Class::Routine)).await.expect("leave");
        assert!(environment.instant() - began < Duration::from_millis(105));
    }

    #[tokio::test(start_paused = true)]
    async fn switched_off_it_lets_everything_pass() {
        let environment = environment();
        let pacer = pacer(&environment, Pacing { enabled: false, ..Pacing::default() });
        let gone = departures(&pacer, &environment, &[(Class::Bulk, 1_000)]).await;
        assert_eq!(gone.last().expect("departures").1, Duration::ZERO);
    }
}
