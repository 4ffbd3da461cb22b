//! The pace of one application: its quota, shared by all connections with its client id.
//!
//! Enters: commands that want to call, with their class. Leaves: leave to call, one at a time.
//! Guarantees: never more than the quota, never two calls closer than the smallest gap; the most urgent
//! goes first and nobody waits for ever; what a person waits for finds room left for it.
//!
//! The rule is GCRA (a virtual clock that each call moves on by the gap of the rate). Only the interactive
//! class may run ahead of the clock, by [`HEADROOM_CALLS`]; the others pay the time back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::Histogram;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::command::Class;
use crate::config::Pacing;
use crate::environment::Environment;

/// Calls that the interactive class may make ahead of the quota: 9.6/s for a minute and these are 586,
/// below the 600 a minute that the platform allows.
const HEADROOM_CALLS: u32 = 10;
/// Every so many calls the oldest goes first, whatever its class.
const OLDEST_TURN: u64 = 8;
/// After a 429 the rate falls to this part of itself, at most once a second, at least to the smallest part.
const SLOWER: f64 = 0.7;
const SLOWER_ONCE_IN: Duration = Duration::from_secs(1);
const SLOWEST_PART: f64 = 0.1;
/// Part of the full rate that comes back each second without a 429.
const RECOVERY_PER_SECOND: f64 = 0.005;

#[derive(Clone)]
pub(super) struct Pacer {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Pacing,
    environment: Environment,
    waited: Histogram,
    queue: Mutex<Queue>,
    /// Rings when somebody joins the queue.
    joined: Notify,
    last_departure: tokio::sync::Mutex<Option<Instant>>,
}

struct Queue {
    waiting: BTreeMap<(Class, u64), oneshot::Sender<()>>,
    arrivals: u64,
    grants: u64,
    /// The virtual clock: when the quota allows the next call.
    clock: Instant,
    last_grant: Option<Instant>,
    rate: f64,
    rate_since: Instant,
    /// Somebody sees to the queue.
    attended: bool,
}

impl Pacer {
    pub(super) fn new(settings: &Pacing, waited: Histogram, environment: &Environment) -> Self {
        let now = environment.instant();
        let queue = Queue {
            waiting: BTreeMap::new(),
            arrivals: 0,
            grants: 0,
            clock: now,
            last_grant: None,
            rate: settings.per_second,
            rate_since: now,
            attended: false,
        };
        let shared = Shared {
            settings: settings.clone(),
            environment: environment.clone(),
            waited,
            queue: Mutex::new(queue),
            joined: Notify::new(),
            last_departure: tokio::sync::Mutex::new(None),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes leave to call if there is some at once.
    pub(super) fn try_now(&self, class: Class) -> bool {
        if !self.shared.settings.enabled {
            return true;
        }
        let now = self.shared.environment.instant();
        let mut queue = self.shared.queue.lock();
        let free = queue.waiting.is_empty() && queue.open_at(class, now, &self.shared.settings) <= now;
        if free {
            queue.grant(now, &self.shared.settings);
            self.shared.waited.observe(0.0);
        }
        free
    }

    /// Waits for leave to call. Dropping this gives the place up.
    pub(super) async fn wait(&self, class: Class) {
        if self.try_now(class) {
            return;
        }
        let began = self.shared.environment.instant();
        let (sender, leave) = oneshot::channel();
        {
            let mut queue = self.shared.queue.lock();
            let arrival = queue.arrivals;
            queue.arrivals += 1;
            queue.waiting.insert((class, arrival), sender);
            if !queue.attended {
                queue.attended = true;
                let shared = self.shared.clone();
                self.shared.environment.spawn(async move { shared.attend().await });
            }
        }
        self.shared.joined.notify_one();
        if leave.await.is_ok() {
            self.shared.waited.observe((self.shared.environment.instant() - began).as_secs_f64());
        }
    }

    /// The last thing before the first byte: what lies between leave and departure (a commit) must not
    /// bring two calls closer than the smallest gap.
    pub(super) async fn depart(&self) {
        if !self.shared.settings.enabled {
            return;
        }
        let mut last = self.shared.last_departure.lock().await;
        let now = self.shared.environment.instant();
        if let Some(earliest) = last.map(|last| last + self.shared.settings.gap_min)
            && now < earliest
        {
            self.shared.environment.sleep(earliest - now).await;
        }
        *last = Some(self.shared.environment.instant());
    }

    /// e-RS said 429: slower, and slowly back.
    pub(super) fn throttled(&self) {
        let now = self.shared.environment.instant();
        let full = self.shared.settings.per_second;
        let mut queue = self.shared.queue.lock();
        if queue.rate < full && now - queue.rate_since < SLOWER_ONCE_IN {
            return;
        }
        queue.rate = (queue.rate_at(now, full) * SLOWER).max(full * SLOWEST_PART);
        queue.rate_since = now;
        tracing::warn!(calls_per_second = queue.rate, "e-RS throttles: calling slower");
    }
}

impl Shared {
    /// Gives leave until nobody waits.
    async fn attend(&self) {
        loop {
            let wake = {
                let mut queue = self.queue.lock();
                let now = self.environment.instant();
                let Some(next) = queue.next() else {
                    queue.attended = false;
                    return;
                };
                let open_at = queue.open_at(next.0, now, &self.settings);
                if open_at <= now {
                    // Who gave up takes no place of the quota.
                    if queue.waiting.remove(&next).is_some_and(|leave| leave.send(()).is_ok()) {
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
    /// The most urgent, oldest first; every so often the oldest of all.
    fn next(&self) -> Option<(Class, u64)> {
        if self.grants % OLDEST_TURN == OLDEST_TURN - 1 {
            return self.waiting.keys().min_by_key(|(_, arrival)| *arrival).copied();
        }
        self.waiting.keys().next().copied()
    }

    fn rate_at(&self, now: Instant, full: f64) -> f64 {
        (self.rate + full * RECOVERY_PER_SECOND * (now - self.rate_since).as_secs_f64()).min(full)
    }

    fn gap(&self, now: Instant, settings: &Pacing) -> Duration {
        Duration::try_from_secs_f64(1.0 / self.rate_at(now, settings.per_second))
            .unwrap_or(Duration::from_secs(60))
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
        self.grants += 1;
    }
}

#[cfg(test)]
mod tests {
    use prometheus::HistogramOpts;

    use super::*;

    fn pacer(environment: &Environment, settings: Pacing) -> Pacer {
        let waited = Histogram::with_opts(HistogramOpts::new("waited", "waited")).expect("a histogram");
        Pacer::new(&settings, waited, environment)
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
                    pacer.wait(class).await;
                    pacer.depart().await;
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
        pacer.wait(Class::Interactive).await;
        assert!(environment.instant() - began <= Duration::from_millis(84));
        queue.await.expect("the queue drains");
    }

    #[tokio::test(start_paused = true)]
    async fn after_429_it_slows_down_once_a_second_and_comes_back() {
        let environment = environment();
        let settings = Pacing::default();
        let pacer = pacer(&environment, settings.clone());
        pacer.throttled();
        pacer.throttled(); // of a call that was on its way
        let rate = |pacer: &Pacer| pacer.shared.queue.lock().rate_at(environment.instant(), settings.per_second);
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
        pacer.wait(Class::Routine).await;
        for _ in 0..50 {
            let gave_up = tokio::time::timeout(Duration::from_millis(1), pacer.wait(Class::Routine)).await;
            assert!(gave_up.is_err());
        }
        let began = environment.instant();
        pacer.wait(Class::Routine).await;
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
