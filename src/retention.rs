//! Retention: what is finished and old leaves the store, in small steps.
//!
//! Enters: ages from the settings. Leaves: a smaller store, counters, one line of log a round. Guarantees: one
//! instance at a time does it; other work waits for one small call at most and has three quarters of the time;
//! nothing is removed where no age is set, and no event that a destination of the settings is still to be told of.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::IntCounter;

use crate::config::{self, Config};
use crate::environment::Environment;
use crate::metrics::Registry;
use crate::store::{Act, Noted, Purge, PurgePlace, Purged, Result, Store, ToldPlace};

const DUTY: &str = "retention";
/// Held from one call to the next, with room for slow ones.
const DUTY_HOLD: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// A start has better things to do.
const FIRST_LOOK_AFTER: Duration = Duration::from_secs(60);
/// Messages, and events, in one call: some 10 ms of the writer (`docs/performance.md`).
pub const CALL_MAX: usize = 100;
/// Rests are so many times as long as the call before.
const REST: u32 = 3;

/// What a call that removes anything but messages and events takes, or less.
const SMALL_CALL: Duration = Duration::from_millis(10);

#[derive(Clone, Copy)]
enum Small {
    Dispatches,
    Worklists,
    Reasons,
}

/// How long others have the store to themselves after a call that took so long.
pub fn rest_after(call: Duration) -> Duration {
    call * REST
}

/// Calls that together pass everything once.
pub struct Round {
    purge: Purge,
    ended: bool,
}

impl Round {
    pub fn of(purge: Purge) -> Self {
        Self { purge, ended: false }
    }

    /// What the next call removed; `None` once the round has ended.
    pub async fn step(&mut self, store: &dyn Store) -> Result<Option<Purged>> {
        if self.ended {
            return Ok(None);
        }
        let purged = store.purge(self.purge).await?;
        match purged.next {
            Some(next) => self.purge.from = next,
            None => self.ended = true,
        }
        Ok(Some(purged))
    }
}

pub struct Retention {
    ages: config::Retention,
    /// Events wait for the broker, however old.
    keep_unconfirmed: bool,
    /// Destinations and folders that events wait for as well.
    tells: Vec<String>,
    instance: String,
    messages: IntCounter,
    commands: IntCounter,
    events: IntCounter,
    failed: IntCounter,
}

impl Retention {
    pub fn of(config: &Config, registry: &Registry) -> std::result::Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Self {
            ages: config.retention,
            keep_unconfirmed: config.broker.is_some(),
            tells: config.told().map(str::to_owned).collect(),
            instance: config.instance.clone(),
            messages: counter("gateway_purged_messages_total", "Finished messages that were removed by age")?,
            commands: counter("gateway_purged_commands_total", "Commands of the messages that were removed by age")?,
            events: counter("gateway_purged_events_total", "Events that were removed by age")?,
            failed: counter("gateway_purges_failed_total", "Rounds of removing that the store did not let end")?,
        })
    }

    /// Looks every hour until the gateway stops.
    pub fn start(self, store: Arc<dyn Store>, environment: &Environment) {
        if self.ages.ages().iter().all(|(_, age)| age.is_none()) {
            return;
        }
        let world = environment.clone();
        environment.spawn(async move {
            let mut wait = FIRST_LOOK_AFTER;
            while pause(&world, wait).await {
                if let Err(error) = self.look(store.as_ref(), &world).await {
                    self.failed.inc();
                    tracing::warn!(%error, "removing what is finished and old stopped; the next look goes on");
                }
                wait = LOOK_EVERY;
            }
        });
    }

    async fn look(&self, store: &dyn Store, world: &Environment) -> Result<()> {
        let Some(mut until) = store.take_duty(DUTY, &self.instance, DUTY_HOLD).await? else { return Ok(()) };
        let outcome = self.run_round(store, world, &mut until).await;
        store.leave_duty(DUTY, &self.instance, until).await?;
        outcome
    }

    /// While the duty is held: until then, or later as it is renewed.
    async fn run_round(&self, store: &dyn Store, world: &Environment, until: &mut Timestamp) -> Result<()> {
        let (began, mut held_since) = (world.instant(), world.instant());
        let (mut messages, mut events) = (0, 0);
        let mut round = Round::of(self.purge_at(world.now(), &store.told().await?));
        loop {
            if held_since.elapsed() > DUTY_HOLD / 4 {
                match store.take_duty(DUTY, &self.instance, DUTY_HOLD).await? {
                    Some(renewed) => *until = renewed,
                    None => break,
                }
                held_since = world.instant();
            }
            let called = world.instant();
            let Some(purged) = round.step(store).await? else { break };
            self.messages.inc_by(purged.messages);
            self.commands.inc_by(purged.commands);
            self.events.inc_by(purged.events);
            messages += purged.messages;
            events += purged.events;
            if !pause(world, rest_after(called.elapsed())).await {
                break;
            }
        }
        let dispatches = self.remove_small(store, world, self.ages.dispatches(), Small::Dispatches).await?;
        let worklists = self.remove_small(store, world, self.ages.worklists, Small::Worklists).await?;
        let reasons = self.remove_small(store, world, self.ages.reasons, Small::Reasons).await?;
        if messages + events + dispatches + worklists + reasons > 0 {
            let duration_ms = began.elapsed().as_millis();
            tracing::info!(
                messages,
                events,
                dispatches,
                worklists,
                reasons,
                duration_ms,
                "what is finished and old was removed"
            );
        }
        // That reasons were removed says an act of its own, with the first of them.
        if messages + events + dispatches + worklists > 0 {
            let what =
                format!("{messages} messages, {events} events, {dispatches} dispatches and {worklists} worklists");
            store.note(Noted { act: "purge", subject: what, by: self.act(world) }).await?;
        }
        Ok(())
    }

    fn act(&self, world: &Environment) -> Act {
        Act { by: self.instance.clone(), ..Act::of_gateway("older than the settings say", world.now()) }
    }

    /// What has no commands behind it: a few at a time, until none is that old. Returns how many.
    async fn remove_small(
        &self,
        store: &dyn Store,
        world: &Environment,
        age: Option<Duration>,
        what: Small,
    ) -> Result<u64> {
        let Some(before) = age.and_then(|age| world.now().checked_sub(age).ok()) else { return Ok(0) };
        let mut removed = 0;
        loop {
            let some = match what {
                Small::Dispatches => store.purge_dispatches(before, CALL_MAX).await?,
                Small::Worklists => store.purge_snapshots(before).await?,
                Small::Reasons => store.forget_reasons(before, CALL_MAX, self.act(world)).await?,
            };
            removed += some;
            if some == 0 || !pause(world, rest_after(SMALL_CALL)).await {
                return Ok(removed);
            }
        }
    }

    fn purge_at(&self, now: Timestamp, told: &[ToldPlace]) -> Purge {
        let before = |age: Option<Duration>| age.and_then(|age| now.checked_sub(age).ok());
        Purge {
            told_up_to: told_up_to(&self.tells, told),
            messages_before: before(self.ages.messages),
            events_before: before(self.ages.events),
            keep_unconfirmed: self.keep_unconfirmed,
            max: CALL_MAX,
            from: PurgePlace::START,
        }
    }
}

/// Up to where each of `tells` was told. One that was never told begins with the next event, and waits for none before.
pub fn told_up_to(tells: &[String], told: &[ToldPlace]) -> u64 {
    let waits = told.iter().filter(|place| tells.contains(&place.destination));
    waits.map(|place| place.position).min().unwrap_or(u64::MAX)
}

/// False if the gateway is asked to stop meanwhile.
async fn pause(world: &Environment, duration: Duration) -> bool {
    tokio::select! {
        () = world.sleep(duration) => true,
        () = world.shutdown().cancelled() => false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::Value;

    use super::*;
    use crate::command::{CommandId, EventId, MessageId, Verdict};
    use crate::config::Destination;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{
        Admission, AuditStore as _, DispatchStore as _, IntakeStore as _, MessageFilter, NewEvent, NewMessage,
        OutboxStore as _, SearchStore as _, Snapshot, Transport, WatchStore as _,
    };

    const DAY: Duration = Duration::from_secs(86_400);

    fn notice(environment: &Environment) -> Admission {
        Admission {
            message: NewMessage {
                id: MessageId(environment.new_id()),
                source: "northmoor".into(),
                transport: Transport::Mllp,
                control_id: None,
                received_at: environment.now(),
                sha256: [7; 32],
                charset: "UTF-8".into(),
                kind: "ADT^A08".into(),
                raw: Bytes::from_static(b"MSH|^~\\&|PAS\r"),
                problems: Value::Null,
            },
            verdict: Verdict::Notice,
            acknowledgement: Bytes::new(),
            commands: Vec::new(),
            documents: Vec::new(),
            events: Vec::new(),
            patients: Vec::new(),
            taken_again: None,
        }
    }

    async fn kept(store: &SqliteStore) -> usize {
        let all = MessageFilter { max: 100, ..MessageFilter::default() };
        store.messages(all).await.expect("listed").len()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_settings_say_is_removed_within_the_hour() {
        let environment = Environment::simulated(1, Timestamp::UNIX_EPOCH);
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let store = SqliteStore::open(folder.path().join("store.db"), &environment).await.expect("opened");
        let store = Arc::new(store);
        let mut config = Config::default();
        let registry = Registry::new();
        config.retention.messages = Some(DAY * 30);
        let retention = Retention::of(&config, &registry).expect("new names");
        let (removed, stage) = (retention.messages.clone(), environment.stage());
        retention.start(store.clone(), &stage);
        store.admit(notice(&environment)).await.expect("admitted");
        environment.sleep(DAY * 15).await;
        store.admit(notice(&environment)).await.expect("admitted");
        environment.sleep(DAY * 14).await;
        assert_eq!((removed.get(), kept(&store).await), (0, 2));
        environment.sleep(DAY + LOOK_EVERY).await;
        assert_eq!((removed.get(), kept(&store).await), (1, 1));
        assert!(stage.drain(Duration::from_secs(1)).await, "it stops");
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_goes_by_its_own_age_and_the_log_says_so() {
        let environment = Environment::simulated(3, Timestamp::UNIX_EPOCH);
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let store = SqliteStore::open(folder.path().join("store.db"), &environment).await.expect("opened");
        let store = Arc::new(store);
        let mut config = Config::default();
        config.retention.reasons = Some(DAY * 2);
        config.retention.worklists = Some(DAY * 4);
        store.admit(notice(&environment)).await.expect("admitted");
        let by = Act::of_person("j.smith", "here", "Zoë asked", environment.now());
        store.note(Noted { act: "view", subject: "message 1".into(), by }).await.expect("noted");
        let list = Snapshot {
            watch: "knee-clinic".into(),
            service: String::new(),
            version: 1,
            by: CommandId(environment.new_id()),
            at: environment.now(),
            content: Bytes::new(),
        };
        assert!(store.save_snapshot(list).await.expect("saved"));
        let stage = environment.stage();
        Retention::of(&config, &Registry::new()).expect("new names").start(store.clone(), &stage);
        let acts = async || {
            let log = store.audit_log(0, 10).await.expect("read");
            log.into_iter().map(|entry| (entry.act, entry.why)).collect::<Vec<_>>()
        };
        environment.sleep(DAY).await;
        assert_eq!(acts().await, [("view".to_owned(), Some("Zoë asked".to_owned()))]);
        environment.sleep(DAY + LOOK_EVERY * 2).await;
        let older = || Some("older than the settings say".to_owned());
        assert_eq!(acts().await, [("view".into(), None), ("forget reasons".into(), older())]);
        assert!(store.snapshot("knee-clinic", "").await.expect("read").is_some());
        environment.sleep(DAY * 2).await;
        assert!(store.snapshot("knee-clinic", "").await.expect("read").is_none());
        assert!(acts().await.iter().any(|(act, _)| act == "purge"), "it is told what went");
        assert_eq!(kept(&store).await, 1, "no age is set for messages");
        store.verify().await.expect("the chain holds");
        assert!(stage.drain(Duration::from_secs(1)).await, "it stops");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_stays_until_its_destination_was_told_of_it() {
        let environment = Environment::simulated(2, Timestamp::UNIX_EPOCH);
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let store = SqliteStore::open(folder.path().join("store.db"), &environment).await.expect("opened");
        let store = Arc::new(store);
        let mut config = Config::default();
        config.retention.events = Some(DAY);
        let pas = Destination { tells: vec!["northmoor".into()], ..Destination::at("pas", "127.0.0.1:2575") };
        config.destinations.push(pas);
        store.tell("pas", None, 0, Vec::new()).await.expect("told");
        let event = NewEvent {
            id: EventId(environment.new_id()),
            name: "MessageNoticed".into(),
            at: environment.now(),
            source: "northmoor".into(),
            subject: String::new(),
            data: Value::Null,
        };
        store.admit(Admission { events: vec![event], ..notice(&environment) }).await.expect("admitted");
        let retention = Retention::of(&config, &Registry::new()).expect("new names");
        let (removed, stage) = (retention.events.clone(), environment.stage());
        retention.start(store.clone(), &stage);
        environment.sleep(DAY * 3).await;
        assert_eq!(removed.get(), 0, "it is still to be told");
        let newest = store.last_position().await.expect("read");
        assert!(store.tell("pas", Some(0), newest, Vec::new()).await.expect("told"));
        environment.sleep(LOOK_EVERY * 2).await;
        assert_eq!(removed.get(), 1);
        assert!(stage.drain(Duration::from_secs(1)).await, "it stops");
    }

    #[test]
    fn nothing_is_removed_where_no_age_is_set() {
        let retention = Retention::of(&Config::default(), &Registry::new()).expect("new names");
        let purge = retention.purge_at(Timestamp::UNIX_EPOCH, &[]);
        assert_eq!((purge.messages_before, purge.events_before, purge.told_up_to), (None, None, u64::MAX));
    }

    #[test]
    fn events_stay_until_the_slowest_destination_of_the_settings_was_told() {
        let place = |name: &str, position| ToldPlace { destination: name.into(), position, left_at: None };
        let told = [place("pas", 70), place("dms", 40), place("gone", 3)];
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(told_up_to(&named(&["pas", "dms", "new"]), &told), 40);
        assert_eq!(told_up_to(&named(&["pas"]), &told), 70);
        assert_eq!(told_up_to(&[], &told), u64::MAX);
    }
}
