//! Deterministic simulation: intake, store, delivery and outbox under a seeded scheduler and clock, with e-RS, the broker,
//! the network and the senders around them, and crashes between any two polls.
//!
//! Enters: a seed. Leaves: a world's whole history, judged by [`crate::history`], and its story. Guarantees: the same seed
//! gives the same story, line by line; everything runs on one thread and a clock that stands still while anything is
//! to be done, so that a world of minutes takes milliseconds.
//!
//! | File | Stands for |
//! |---|---|
//! | `schedule` | who goes on, and when a process is killed |
//! | `disk`, `failing`, `before_store` | the disk: what a crash leaves of it; commits that fail |
//! | `wire` | the network to e-RS, and e-RS: the simulator |
//! | `broker` | the broker, and the consumers behind it |
//! | `senders` | hospital systems that send again |
//! | `people` | who works in e-RS, and who looks after the gateway |
//! | `gateway` | one life of the gateway |
//! | `planted`, `spoiled` | bugs and wrong histories, each shown to be found |
//!
//! `ERS_GATEWAY_TEST_SEEDS=1..100000 cargo test --test it simulation::many_worlds` runs any number of worlds;
//! `ERS_GATEWAY_TEST_SEEDS=17` runs one and tells its story.

mod before_store;
mod broker;
mod chance;
mod disk;
mod failing;
mod gateway;
mod people;
mod planted;
mod schedule;
mod senders;
mod spoiled;
mod story;
mod weather;
mod wire;

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ers_gateway::config;
use ers_gateway::environment::Environment;
use ers_gateway::simulator::applications::{Access, Session};
use ers_gateway::simulator::{Simulator, SimulatorConfig, SimulatorHandle};
use ers_gateway::store::{MessageFilter, Store};
use futures_util::FutureExt as _;
use futures_util::future::{FusedFuture as _, join_all};
use jiff::SignedDuration;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::broker::Broker;
use self::chance::Chance;
use self::disk::Disk;
use self::failing::Failing;
use self::gateway::{Door, FIXED, Ground, SENDERS, epoch, refresh_token, settings, start};
use self::people::People;
use self::planted::{Bug, Planted};
use self::schedule::{Last, Life, Outside};
use self::senders::{Conversation, Senders};
use self::story::Story;
use self::weather::Weather;
use self::wire::{Flying, Wire};
use crate::history::kept::Kept;
use crate::history::{Broken, Done, History, Outcome, Violation};
use crate::support::referrals::Patients;

/// Beside all other tests; `./test` runs more of them, alone.
const WORLDS: RangeInclusive<u64> = 1..=100;
const CONVERSATIONS: std::ops::Range<u64> = 1..4;
const CRASHES: std::ops::Range<u64> = 0..4;
/// A life may last this many polls; most end long before.
const POLLS_MAX: u64 = 1_000;
const LIFE_MILLIS: std::ops::Range<u64> = 0..6_000;
const STOP_MILLIS: std::ops::Range<u64> = 0..4_000;
const DOWN_MILLIS: std::ops::Range<u64> = 0..3_000;
/// After everybody was told, it storms for a while longer.
const STORM_MILLIS: std::ops::Range<u64> = 0..6_000;
const JUMP_MILLIS: std::ops::Range<u64> = 200..5_000;
/// What waits for a time waits for longer by as much, once the clock is right again.
const WRONG_SECONDS_MAX: u64 = 300;
/// Everything comes to rest within this, once it is calm.
const REST_MAX: Duration = Duration::from_secs(900);
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What came of one world.
pub struct Run {
    pub seed: u64,
    pub story: Vec<String>,
    pub violations: Vec<Violation>,
    pub history: History,
}

/// One world from its beginning to its judgement.
pub fn run(seed: u64, bug: Option<Bug>) -> Run {
    // Made on a runtime of its own.
    LazyLock::force(&FIXED);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async { World::new(seed, bug).live().await })
}

struct World {
    seed: u64,
    bug: Option<Bug>,
    environment: Environment,
    /// Of the machine on which the gateway runs, whose clock may be wrong.
    machine: Environment,
    chance: Chance,
    weather: Weather,
    story: Story,
    ers: Arc<SimulatorHandle>,
    broker: Broker,
    disk: Arc<Mutex<Disk>>,
    flying: Flying,
    settings: config::Delivery,
    /// Of the life that takes messages now.
    door: watch::Sender<Option<Door>>,
}

/// e-RS, with a sign-in of each sender's user for every life.
fn ers(environment: &Environment) -> SimulatorHandle {
    let mut config = SimulatorConfig { seed_samples: false, ..SimulatorConfig::default() };
    for application in &mut config.applications {
        let Access::UserRestricted { sessions, .. } = &mut application.access else { continue };
        let signed_in = sessions.first().expect("the demonstration has sessions").clone();
        for (life, sender) in (0..=CRASHES.end).flat_map(|life| SENDERS.map(|sender| (life, sender))) {
            let refresh_token = refresh_token(sender, life);
            sessions.push(Session { refresh_token, ..signed_in.clone() });
        }
    }
    Simulator::in_process(config, environment.clone())
}

impl World {
    fn new(seed: u64, bug: Option<Bug>) -> Self {
        let outside = Outside { chance: Chance::new(seed, 1) };
        let environment = Environment::simulated(seed, epoch()).scheduled_by(Arc::new(outside));
        let story = Story::new(&environment);
        let weather = Weather::new(Chance::new(seed, 2));
        let disk = Disk::new(&FIXED.empty, Chance::new(seed, 3), story.clone());
        let chance = Chance::new(seed, 4);
        Self {
            seed,
            bug,
            settings: settings(&chance),
            chance,
            ers: Arc::new(ers(&environment)),
            broker: Broker::new(&environment, weather.with(Chance::new(seed, 5)), &story),
            disk: Arc::new(Mutex::new(disk)),
            flying: Flying::default(),
            door: watch::channel(None).0,
            machine: environment.clone().with_own_clock(),
            environment,
            weather,
            story,
        }
    }

    async fn live(self) -> Run {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let patients = Patients::new();
        let talking = (0..self.chance.number(CONVERSATIONS)).map(|number| {
            let senders = Senders {
                environment: self.environment.clone(),
                weather: self.weather.with(Chance::new(self.seed, 100 + number)),
                story: self.story.clone(),
                doors: self.door.subscribe(),
                ledger: sent.clone(),
            };
            let source = SENDERS[self.chance.number(0..2) as usize];
            let conversation = Conversation { source, number, nhs_number: patients.next() };
            self.environment.spawn(senders.tell(conversation))
        });
        let talking = join_all(talking.collect::<Vec<_>>());
        let people = People {
            environment: self.environment.clone(),
            chance: Chance::new(self.seed, 6),
            story: self.story.clone(),
            ers: self.ers.clone(),
            doors: self.door.subscribe(),
        };
        let told = async {
            talking.await;
            self.environment.sleep(self.chance.millis(STORM_MILLIS)).await;
        };
        let storm = async {
            tokio::select! {
                biased;
                () = told => {}
                () = people.work() => {}
            }
            for referral in self.ers.referrals() {
                self.ers.unlock(&referral.ubrn);
            }
        };
        if self.chance.percent(30) {
            self.environment.spawn(self.clock_that_jumps());
        }
        let has_rest = self.environment.within(REST_MAX, self.lives(storm)).await.is_some();
        let mut violations = Vec::new();
        if !has_rest {
            let how = format!("after {REST_MAX:?} not everything is at rest");
            violations.push(Violation { broken: Broken::Missing, how });
        }
        let store = self.door.borrow().clone().map(|door| door.store);
        let kept = match store {
            Some(store) if has_rest => Kept::by(&*store).await.expect("the store is whole"),
            _ => Kept::default(),
        };
        let sent = std::mem::take(&mut *sent.lock());
        let history = History { sent, done: Done::by(&self.ers), heard: self.broker.heard(), kept };
        violations.extend(history.check(&FIXED.set));
        Run { seed: self.seed, story: self.story.lines(), violations, history }
    }

    /// Somebody sets the clock of the gateway's machine, forward and back, until the storm is over.
    fn clock_that_jumps(&self) -> impl Future<Output = ()> + use<> {
        let (environment, machine, story) = (self.environment.clone(), self.machine.clone(), self.story.clone());
        let weather = self.weather.with(Chance::new(self.seed, 7));
        async move {
            loop {
                environment.sleep(weather.chance().millis(JUMP_MILLIS)).await;
                if !weather.strikes(50) {
                    continue;
                }
                let ahead = weather.chance().number(0..2 * WRONG_SECONDS_MAX).cast_signed();
                let by = SignedDuration::from_secs(ahead - WRONG_SECONDS_MAX.cast_signed());
                story.tell(format!("the clock is wrong by {by:#}"));
                machine.set_clock_wrong_by(by);
            }
        }
    }

    /// One life after the other, until the storm is over and the last one has come to rest.
    async fn lives(&self, storm: impl Future<Output = ()>) {
        let mut storm = std::pin::pin!(storm.fuse());
        let crashes = self.chance.number(CRASHES);
        for life in 0..crashes {
            // Some end by their polls, some at a time.
            let by_polls = self.chance.percent(70);
            let (process, asked) = self.begin(life, if by_polls { self.last() } else { Last::Never });
            let killed = async {
                if !by_polls {
                    let limit = self.chance.millis(LIFE_MILLIS);
                    self.environment.within(limit, process.ended()).await;
                    // Some are asked to stop first.
                    if self.chance.percent(40) {
                        self.story.tell("asked to stop");
                        asked.shutdown().cancel();
                        self.environment.within(self.chance.millis(STOP_MILLIS), process.ended()).await;
                    }
                    process.kill();
                }
                process.ended().await;
            };
            let is_over = tokio::select! {
                biased;
                () = killed => false,
                () = &mut storm => true,
            };
            let is_stopping = asked.shutdown().is_cancelled();
            if is_over && !is_stopping && process.goes_on() {
                return self.rest().await;
            }
            process.kill();
            self.door.send_replace(None);
            self.story.tell(format!("killed in its poll {}", process.polls()));
            self.environment.sleep(self.chance.millis(DOWN_MILLIS)).await;
            if is_over {
                break;
            }
        }
        self.begin(crashes, Last::Never).0.goes_on();
        if !storm.is_terminated() {
            storm.await;
        }
        self.rest().await;
    }

    /// How long a life is: many end while they begin, and many while they write.
    fn last(&self) -> Last {
        let polls =
            if self.chance.percent(30) { self.chance.magnitude(POLLS_MAX) } else { self.chance.number(1..POLLS_MAX) };
        if self.chance.percent(40) { Last::Write(polls) } else { Last::Poll(polls) }
    }

    /// A process, and where it is asked to stop.
    fn begin(&self, life: u64, last: Last) -> (Arc<Life>, Environment) {
        let process = Life::new(Chance::new(self.seed, 200 + life), self.disk.clone(), last);
        let environment = self.machine.stage().scheduled_by(process.clone());
        let part = 300 + 10 * life;
        let ground = Ground {
            life,
            store: self.disk.lock().path(),
            failing: Failing {
                weather: self.weather.with(Chance::new(self.seed, part)),
                story: self.story.clone(),
                outside: self.environment.clone(),
                process: process.clone(),
            },
            wire: Wire {
                ers: Arc::new(self.ers.transport()),
                outside: self.environment.clone(),
                gateway: environment.clone(),
                weather: self.weather.with(Chance::new(self.seed, part + 1)),
                story: self.story.clone(),
                flying: self.flying.clone(),
            },
            environment: environment.clone(),
            broker: self.broker.clone(),
            planted: self.bug.map(Planted),
            settings: self.settings.clone(),
        };
        self.story.tell(format!("life {life} begins"));
        let (ers, door, asked) = (self.ers.clone(), self.door.clone(), environment.clone());
        environment.spawn(async move {
            let opened = start(ground, &ers).await;
            door.send_replace(Some(opened));
        });
        (process, asked)
    }

    /// No more faults; returns when nothing moves any more.
    async fn rest(&self) {
        self.weather.calms();
        self.machine.set_clock_wrong_by(SignedDuration::ZERO);
        self.story.tell("the storm is over");
        loop {
            self.environment.sleep(LOOK_EVERY).await;
            let store = self.door.borrow().clone().map(|door| door.store);
            let Some(store) = store else { continue };
            if self.flying.none() && is_at_rest(&*store).await {
                self.story.tell("everything is at rest");
                return;
            }
        }
    }
}

/// Nothing runs, waits for a time or could be claimed, and no event is on its way.
async fn is_at_rest(store: &dyn Store) -> bool {
    let depths = store.depths().await.expect("the store is whole");
    let count = |state: &str| depths.iter().filter(|depth| depth.state == state).map(|depth| depth.count).sum::<u64>();
    if count("running") + count("waiting") + store.outbox_depth().await.expect("the store is whole").count > 0 {
        return false;
    }
    let filter = MessageFilter { state: Some("queued".into()), max: 100, ..MessageFilter::default() };
    for message in store.messages(filter).await.expect("the store is whole") {
        let commands = store.commands_of(message.id).await.expect("the store is whole");
        if commands.iter().any(|command| command.state.name() == "queued" && command.held_by.is_none()) {
            return false;
        }
    }
    true
}

/// Words of the stories that tell of each kind of trouble: in many worlds all of them are met.
const TROUBLES: [&str; 25] = [
    "killed in its poll",
    "asked to stop",
    "a part of a commit",
    "a part of a checkpoint",
    "meets Full",
    "meets NotSynced",
    "is NotSent",
    "is Lost",
    "is AnswerLost",
    "is Late",
    "is Slow",
    "is RefusedWith(503)",
    "is RefusedWith(429)",
    "broker: not reached",
    "is Refused",
    "is CutBefore",
    "is CutAfter",
    "was lost on its way",
    "did not hear",
    "was told Later",
    "somebody changes",
    "somebody has",
    "somebody does Replay",
    "somebody does Discard",
    "the clock is wrong",
];
const MANY: u64 = 500;

/// What came of many worlds.
#[derive(Default)]
struct Total {
    outcome: Outcome,
    /// How often each kind of trouble was met.
    met: [u64; TROUBLES.len()],
    broken: Vec<Run>,
}

impl Total {
    fn add(&mut self, run: Run) {
        self.outcome.add(&run.history.outcome());
        for (trouble, met) in TROUBLES.iter().zip(&mut self.met) {
            *met += run.story.iter().filter(|line| line.contains(trouble)).count() as u64;
        }
        if !run.violations.is_empty() {
            self.broken.push(run);
        }
    }
}

/// `17`, `1..2000` or nothing.
fn wanted() -> (RangeInclusive<u64>, bool) {
    let Ok(text) = std::env::var("ERS_GATEWAY_TEST_SEEDS") else { return (WORLDS, false) };
    let number = |text: &str| text.parse().expect("ERS_GATEWAY_TEST_SEEDS is a number, or two as in 1..2000");
    match text.split_once("..") {
        Some((first, last)) => (number(first)..=number(last.trim_start_matches('=')), false),
        None => (number(&text)..=number(&text), true),
    }
}

/// The story of a world that broke a promise, to be read and run again.
fn report(run: &Run) -> String {
    let violations: Vec<String> = run.violations.iter().map(Violation::to_string).collect();
    format!(
        "seed {}: {}\n{}\n\n{}\nagain with ERS_GATEWAY_TEST_SEEDS={}",
        run.seed,
        run.history.outcome(),
        run.story.join("\n"),
        violations.join("\n"),
        run.seed
    )
}

#[test]
fn many_worlds_keep_the_promises() {
    let (seeds, tells) = wanted();
    let began = Instant::now();
    let (next, count) = (AtomicU64::new(*seeds.start()), seeds.end() - seeds.start() + 1);
    let total = Mutex::new(Total::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > *seeds.end() {
                        return;
                    }
                    let run = run(seed, None);
                    if tells {
                        eprintln!("{}", report(&run));
                    }
                    total.lock().add(run);
                }
            });
        }
    });
    let Total { outcome, met, mut broken } = total.into_inner();
    let took = began.elapsed();
    let met: Vec<String> = TROUBLES.iter().zip(met).map(|(trouble, met)| format!("{met} {trouble}")).collect();
    eprintln!("{count} worlds in {took:?}, {:.1} a second: {outcome}", count as f64 / took.as_secs_f64());
    eprintln!("{}", met.join(", "));
    broken.sort_by_key(|run| run.seed);
    let seeds: Vec<u64> = broken.iter().map(|run| run.seed).collect();
    assert!(broken.is_empty(), "{} of {count} worlds broke promises: {seeds:?}\n{}", seeds.len(), report(&broken[0]));
    if count >= MANY {
        assert!(!met.iter().any(|met| met.starts_with("0 ")), "every trouble is met: {met:?}");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 1..=10 {
        let (one, other) = (run(seed, None), run(seed, None));
        assert_eq!(one.story, other.story, "seed {seed}");
        assert_eq!(one.violations, other.violations, "seed {seed}");
    }
    assert_ne!(run(1, None).story, run(2, None).story);
}
