//! Several instances, one quota. The quota is strict, and kept in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::metrics::Registry;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::command::Class;
use crate::config::Pacing;
use crate::store::quota::QuotaState;
use crate::store::{QuotaAsk, StoreError};

/// The twin of a store's quota, on the paused clock.
struct Quota {
    environment: Environment,
    began: Instant,
    state: Mutex<QuotaState>,
    away: AtomicBool,
    /// The longest that a question and its answer are each on their way.
    way_max: Duration,
}

impl Quota {
    fn new(environment: &Environment, way_max: Duration) -> Arc<Self> {
        Arc::new(Self {
            environment: environment.clone(),
            began: environment.instant(),
            state: Mutex::new(QuotaState::new(0, Pacing::default().per_second)),
            away: AtomicBool::new(false),
            way_max,
        })
    }

    fn now(&self) -> i64 {
        (self.environment.instant() - self.began).as_micros() as i64
    }

    async fn way(&self) -> Result<(), StoreError> {
        self.environment.sleep(self.way_max.mul_f64(self.environment.fraction())).await;
        match self.away.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("away".into())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl SharedQuota for Quota {
    async fn reserve(&self, ask: QuotaAsk) -> Result<Vec<Duration>, StoreError> {
        self.way().await?;
        let now = self.now();
        let departures = self.state.lock().reserve(now, &ask);
        self.way().await?;
        Ok(departures.into_iter().map(|at| Duration::from_micros((at - now) as u64)).collect())
    }

    async fn rate(&self, _application: &str, per_second: f64) -> Result<f64, StoreError> {
        self.way().await?;
        Ok(self.state.lock().rate_at(self.now(), per_second))
    }

    async fn throttled(&self, _application: &str, per_second: f64) -> Result<(), StoreError> {
        self.way().await?;
        self.state.lock().throttled(self.now(), per_second);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Gone {
    instance: usize,
    class: Class,
    at: Duration,
}

/// Instances that share a quota, and when their calls left.
#[derive(Clone)]
struct Fleet {
    environment: Environment,
    quota: Arc<Quota>,
    began: Instant,
    gone: Arc<Mutex<Vec<Gone>>>,
    /// The longest that lies between leave and departure.
    commit_max: Duration,
}

struct Instance {
    number: usize,
    pacer: Pacer,
    metrics: DeliveryMetrics,
    calls: JoinSet<()>,
}

impl Fleet {
    fn new(way_max: Duration) -> Self {
        let environment = Environment::simulated(1, jiff::Timestamp::UNIX_EPOCH);
        Self {
            quota: Quota::new(&environment, way_max),
            began: environment.instant(),
            gone: Arc::default(),
            commit_max: Duration::from_millis(15),
            environment,
        }
    }

    fn instance(&self, number: usize) -> Instance {
        let metrics = DeliveryMetrics::register(&Registry::new()).expect("registered once");
        let pacer = Pacer::new(&Pacing::default(), Some(("client", self.quota.clone())), &metrics, &self.environment);
        Instance { number, pacer, metrics, calls: JoinSet::new() }
    }

    /// Lets commands of that instance ask at once.
    fn call(&self, instance: &mut Instance, class: Class, count: usize) {
        for _ in 0..count {
            let (fleet, pacer, number) = (self.clone(), instance.pacer.clone(), instance.number);
            instance.calls.spawn(async move {
                let leave = pacer.wait(Caller::of(class)).await.expect("leave");
                fleet.environment.sleep(fleet.commit_max.mul_f64(fleet.environment.fraction())).await;
                pacer.depart(leave).await.expect("on its way");
                let at = fleet.environment.instant() - fleet.began;
                fleet.gone.lock().push(Gone { instance: number, class, at });
            });
        }
    }

    fn gone(&self) -> Vec<Gone> {
        self.gone.lock().clone()
    }

    /// The quota held for all that left, whoever they were.
    fn assert_quota_held(&self) {
        let gone = self.gone();
        for pair in gone.windows(2) {
            assert!(pair[1].at - pair[0].at >= Duration::from_millis(84), "{pair:?}");
        }
        for (start, first) in gone.iter().enumerate() {
            let span = gone[start..].iter().take_while(|gone| gone.at - first.at < Duration::from_secs(60));
            assert!(span.count() <= 600, "more than 600 calls within a minute after {first:?}");
        }
    }

    fn count_between(&self, from: u64, until: u64) -> usize {
        let (from, until) = (Duration::from_secs(from), Duration::from_secs(until));
        self.gone.lock().iter().filter(|gone| gone.at >= from && gone.at < until).count()
    }
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// 95 % of 9.6 a second.
fn most_of(seconds: u64) -> usize {
    (seconds as f64 * 9.6 * 0.95) as usize
}

#[tokio::test(start_paused = true)]
async fn one_alone_and_three_together_use_the_quota_and_no_more() {
    for count in [1, 3] {
        let fleet = Fleet::new(millis(3));
        let mut instances: Vec<_> = (0..count).map(|number| fleet.instance(number)).collect();
        for instance in &mut instances {
            fleet.call(instance, Class::Routine, 750 / count);
            fleet.call(instance, Class::Interactive, 30 / count);
        }
        for instance in instances {
            instance.calls.join_all().await;
        }
        fleet.assert_quota_held();
        assert_eq!(fleet.gone().len(), 780);
        let used = fleet.count_between(5, 75);
        assert!(used >= most_of(70), "{count} instances made {used} calls in 70 s");
        for number in 0..count {
            let calls = fleet.gone().iter().filter(|gone| gone.instance == number).count();
            assert_eq!(calls, 780 / count);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_dies_with_reserved_departures_exceeds_nothing_and_holds_nobody_up() {
    let fleet = Fleet::new(millis(3));
    let mut instances = [fleet.instance(0), fleet.instance(1), fleet.instance(2)];
    for instance in &mut instances {
        fleet.call(instance, Class::Routine, 300);
    }
    fleet.environment.sleep(Duration::from_secs(10)).await;
    let [dead, first, second] = instances;
    drop(dead);
    fleet.environment.sleep(Duration::from_secs(35)).await;
    assert!(fleet.gone().iter().all(|gone| gone.instance != 0 || gone.at <= Duration::from_secs(10)));
    let used = fleet.count_between(11, 45);
    assert!(used >= most_of(34), "the others made {used} calls in 34 s");
    drop((first, second));
    fleet.assert_quota_held();
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_joins_shares_from_its_first_call() {
    let fleet = Fleet::new(millis(3));
    let mut first = fleet.instance(0);
    fleet.call(&mut first, Class::Routine, 300);
    fleet.environment.sleep(Duration::from_secs(10)).await;
    let mut second = fleet.instance(1);
    fleet.call(&mut second, Class::Routine, 300);
    fleet.environment.sleep(Duration::from_secs(30)).await;
    fleet.assert_quota_held();
    let joined = fleet.gone().into_iter().find(|gone| gone.instance == 1).expect("it calls");
    assert!(joined.at < millis(10_700), "{joined:?}");
    let its = fleet.gone().iter().filter(|gone| gone.instance == 1).count();
    assert!((120..=170).contains(&its), "about half of 288, not {its}");
    assert!(fleet.count_between(10, 40) >= most_of(30));
}

#[tokio::test(start_paused = true)]
async fn the_urgent_of_an_instance_go_first_and_the_rest_is_not_starved() {
    let fleet = Fleet { commit_max: Duration::ZERO, ..Fleet::new(millis(3)) };
    let mut instance = fleet.instance(0);
    fleet.call(&mut instance, Class::Bulk, 3);
    fleet.call(&mut instance, Class::TwoWeekWait, 30);
    instance.calls.join_all().await;
    let gone = fleet.gone();
    let bulk: Vec<_> = (0..gone.len()).filter(|place| gone[*place].class == Class::Bulk).collect();
    assert_eq!(bulk, [7, 15, 23], "every eighth turn is the oldest's");
}

#[tokio::test(start_paused = true)]
async fn a_person_who_waits_finds_room_in_a_full_queue_of_any_instance() {
    let fleet = Fleet::new(millis(3));
    let (mut busy, mut idle) = (fleet.instance(0), fleet.instance(1));
    fleet.call(&mut busy, Class::Routine, 200);
    for (instance, at_most) in [(&mut busy, 240), (&mut idle, 450)] {
        fleet.environment.sleep(millis(2_050)).await;
        let asked_at = fleet.environment.instant() - fleet.began;
        fleet.call(instance, Class::Interactive, 1);
        fleet.environment.sleep(millis(600)).await;
        let gone = fleet.gone();
        let gone = gone.iter().rfind(|gone| gone.class == Class::Interactive).expect("it left");
        assert!(gone.at - asked_at <= millis(at_most), "{:?} > {at_most} ms", gone.at - asked_at);
    }
    fleet.assert_quota_held();
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_too_late_forfeits_its_departure_and_takes_the_next() {
    let fleet = Fleet::new(millis(3));
    let (mut late, mut other) = (fleet.instance(0), fleet.instance(1));
    fleet.call(&mut other, Class::Routine, 40);
    let leave = late.pacer.wait(Caller::of(Class::Bulk)).await.expect("leave");
    fleet.call(&mut late, Class::TwoWeekWait, 20);
    fleet.environment.sleep(millis(500)).await; // a commit that hangs
    let ready_at = fleet.environment.instant();
    late.pacer.depart(leave).await.expect("on its way");
    let at = fleet.environment.instant() - fleet.began;
    assert!(fleet.environment.instant() - ready_at < millis(700), "it goes before all others of its instance");
    fleet.gone.lock().push(Gone { instance: 0, class: Class::Bulk, at });
    late.calls.join_all().await;
    other.calls.join_all().await;
    fleet.assert_quota_held();
    assert!(late.metrics.pacing_forfeited.get() >= 1);
}

#[tokio::test(start_paused = true)]
async fn while_the_quota_is_away_nothing_leaves_and_afterwards_all_goes_on() {
    let fleet = Fleet::new(millis(3));
    let mut instance = fleet.instance(0);
    fleet.call(&mut instance, Class::Routine, 200);
    fleet.environment.sleep(Duration::from_secs(5)).await;
    fleet.quota.away.store(true, Ordering::SeqCst);
    fleet.environment.sleep(Duration::from_secs(10)).await;
    assert_eq!(fleet.count_between(6, 15), 0);
    assert!((30..=50).contains(&instance.metrics.store_unavailable.get()), "it asks now and then");
    fleet.quota.away.store(false, Ordering::SeqCst);
    fleet.environment.sleep(Duration::from_secs(10)).await;
    assert!(fleet.count_between(16, 25) >= most_of(9));
    fleet.assert_quota_held();
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_all_waiting_though_the_quota_is_away() {
    let fleet = Fleet::new(millis(3));
    let instance = fleet.instance(0);
    let late = instance.pacer.wait(Caller::of(Class::Routine)).await.expect("leave");
    fleet.quota.away.store(true, Ordering::SeqCst);
    fleet.environment.sleep(Duration::from_secs(1)).await;
    let (again, first) = (instance.pacer.clone(), instance.pacer.clone());
    let again = tokio::spawn(async move { again.depart(late).await });
    let first = tokio::spawn(async move { first.wait(Caller::of(Class::Routine)).await.map(drop) });
    fleet.environment.sleep(Duration::from_secs(5)).await;
    assert!(!again.is_finished() && !first.is_finished());
    assert!(fleet.environment.drain(Duration::from_secs(1)).await, "nothing holds the stop up");
    again.await.expect("no panic").expect_err("it was not sent");
    first.await.expect("no panic").expect_err("it has no leave");
}

#[tokio::test(start_paused = true)]
async fn after_429_all_instances_call_slower() {
    let fleet = Fleet::new(millis(3));
    let (mut first, mut second) = (fleet.instance(0), fleet.instance(1));
    first.pacer.throttled();
    first.pacer.throttled(); // of a call that was on its way
    fleet.environment.sleep(millis(20)).await;
    fleet.call(&mut first, Class::Routine, 60);
    fleet.call(&mut second, Class::Routine, 60);
    fleet.environment.sleep(Duration::from_secs(10)).await;
    fleet.assert_quota_held();
    let speed = first.pacer.speed().await.expect("the quota answers").expect("a pace is set");
    assert!((6.9..=7.3).contains(&speed.now) && speed.full == 9.6, "{speed:?}");
    let gone = fleet.gone().len();
    assert!((64..=74).contains(&gone), "about 7 a second, not {gone} in 10 s");
}

#[test]
fn the_time_for_some_calls_is_that_of_their_gaps_while_the_pace_comes_back() {
    let speed = Speed { now: 2.0, full: 9.6 };
    let mut passed = Duration::ZERO;
    for calls in 1..=3_000 {
        passed += speed.gap_after(passed);
        let told = speed.time_for(f64::from(calls)).as_secs_f64();
        let off = (told - passed.as_secs_f64()).abs();
        assert!(off < 2.0, "{calls} calls: told {told:.1} s, took {passed:?}");
    }
    assert_eq!(Speed { now: 9.6, full: 9.6 }.time_for(96.0), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_costs_pace_and_no_quota() {
    for (way_max, least) in [(25, 60), (60, 40), (150, 20)] {
        let fleet = Fleet { commit_max: millis(120), ..Fleet::new(millis(way_max)) };
        let mut instances = [fleet.instance(0), fleet.instance(1)];
        for instance in &mut instances {
            fleet.call(instance, Class::Routine, 200);
        }
        fleet.environment.sleep(Duration::from_secs(20)).await;
        fleet.assert_quota_held();
        let part = fleet.count_between(0, 20) * 100 / 192;
        assert!(part >= least, "answers of up to {} ms leave {part} % of the pace", 2 * way_max);
    }
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_takes_no_place() {
    let fleet = Fleet::new(Duration::ZERO);
    let instance = fleet.instance(0);
    let _leave = instance.pacer.wait(Caller::of(Class::Routine)).await.expect("leave");
    for _ in 0..50 {
        let gave_up = tokio::time::timeout(millis(1), instance.pacer.wait(Caller::of(Class::Routine))).await;
        assert!(gave_up.is_err());
    }
    let began = fleet.environment.instant();
    let _leave = instance.pacer.wait(Caller::of(Class::Routine)).await.expect("leave");
    assert!(fleet.environment.instant() - began < millis(220), "no more was reserved than is kept in hand");
}
