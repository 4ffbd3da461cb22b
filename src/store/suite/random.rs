//! Many random steps against a small model: whatever happens, the promises of `design.md` section 4 hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::Home;
use super::given::{act, at, attempt, claim, command, failed, finished, local, message, progress, ubrn};
use crate::command::{Class, CommandId, State, WaitReason};
use crate::store::{Admitted, Alias, ClaimedCommand, NewEvent, Progress, Store};

const THREADS: u32 = 40;

/// What the model knows: which commands exist, which alias groups are one thread, who runs.
#[derive(Default)]
struct Model {
    /// With the name of a thread that each is in. New identifiers grow, so their order is that of arrival.
    commands: BTreeMap<CommandId, u32>,
    unfinished: BTreeSet<CommandId>,
    running: BTreeMap<CommandId, ClaimedCommand>,
    /// Commands that a person must see to.
    failed: BTreeSet<CommandId>,
    merged: BTreeMap<u32, u32>,
    claims: u64,
}

impl Model {
    fn thread(&self, mut thread: u32) -> u32 {
        while let Some(into) = self.merged.get(&thread) {
            thread = *into;
        }
        thread
    }

    fn merge(&mut self, one: u32, other: u32) {
        let (one, other) = (self.thread(one), self.thread(other));
        if one != other {
            self.merged.insert(one.max(other), one.min(other));
        }
    }

    fn thread_of(&self, command: CommandId) -> u32 {
        self.thread(self.commands[&command])
    }

    /// A claim may only hand out the first unfinished command of a thread in which nothing runs.
    fn check_claim(&self, claimed: &ClaimedCommand) {
        let thread = self.thread_of(claimed.id);
        assert!(!self.running.keys().any(|id| self.thread_of(*id) == thread), "two of a thread run");
        let first = self.unfinished.iter().find(|id| self.thread_of(**id) == thread);
        assert_eq!(first, Some(&claimed.id), "arrival order");
    }
}

fn names(thread: u32) -> [Alias; 2] {
    [local(&format!("r{thread}")), ubrn(&format!("u{thread}"))]
}

pub(crate) async fn many_random_steps_keep_the_promises(home: &dyn Home) {
    let steps = home.random_steps();
    let mut random = StdRng::seed_from_u64(20_260_316);
    let mut store = home.open().await;
    let mut model = Model::default();
    for step in 0..steps {
        let now = i64::from(step);
        match random.random_range(0..100) {
            0..35 => admit(&*store, &mut model, &mut random, step).await,
            35..60 => {
                let max = random.random_range(1..4);
                let mut asked = claim(max, now);
                // Leases never end here; that has a scenario of its own.
                asked.lease_until = at(now) + Duration::from_secs(1_000_000);
                for claimed in store.claim(asked).await.expect("claimed") {
                    model.check_claim(&claimed);
                    model.claims += 1;
                    model.running.insert(claimed.id, claimed);
                }
            }
            60..97 => step_on(&*store, &mut model, &mut random, now).await,
            97..99 => see_to_a_failed_one(&*store, &mut model, &mut random).await,
            _ if step % 10 == 0 => {
                drop(store);
                home.prove().await;
                store = home.open().await;
                store.recover(at(now)).await.expect("recovered");
                model.running.clear();
            }
            _ => {}
        }
    }
    drain(&*store, &mut model, steps).await;
    assert!(model.unfinished.is_empty(), "every command ended");
    assert!(model.claims > u64::from(steps) / 10, "the steps did something");
    let counted: u64 = store.depths().await.expect("counted").iter().map(|depth| depth.count).sum();
    assert_eq!(counted, model.commands.len() as u64, "no command is lost");
    for id in model.commands.keys() {
        assert!(store.command(*id).await.expect("read").expect("it is there").state.is_final());
    }
    check_events(&*store).await;
    drop(store);
    home.prove().await;
}

async fn admit(store: &dyn Store, model: &mut Model, random: &mut StdRng, step: u32) {
    let generation = step / 1_000 * THREADS;
    let thread = generation + random.random_range(0..THREADS);
    let mut aliases = vec![names(thread)[random.random_range(0..2)].clone()];
    // The two names of a number are one thread only once a message says so.
    let of = |name: &Alias, thread: u32| if *name == names(thread)[0] { thread * 2 } else { thread * 2 + 1 };
    let representative = of(&aliases[0], thread);
    if random.random_range(0..10) == 0 {
        let other = generation + random.random_range(0..THREADS);
        let name = names(other)[random.random_range(0..2)].clone();
        model.merge(representative, of(&name, other));
        aliases.push(name);
    }
    let class = Class::ALL[random.random_range(0..Class::ALL.len())];
    let command = command(&aliases).class(class);
    let id = command.id;
    match store.admit(message("").with(command)).await.expect("admitted") {
        Admitted::New { .. } => {}
        other => panic!("{other:?}"),
    }
    model.commands.insert(id, representative);
    model.unfinished.insert(id);
}

async fn step_on(store: &dyn Store, model: &mut Model, random: &mut StdRng, now: i64) {
    let Some(index) = (!model.running.is_empty()).then(|| random.random_range(0..model.running.len())) else { return };
    let id = *model.running.keys().nth(index).expect("in range");
    let running = model.running[&id].clone();
    let begun = attempt(random.random());
    store.record(Progress { started: Some(begun.clone()), ..progress(&running) }).await.expect("recorded");
    let ending = Progress {
        finished: Some(finished(&begun)),
        events: vec![super::given::event("Happened")],
        ..progress(&running)
    };
    let state = match random.random_range(0..10) {
        0 => State::Waiting { step: "s".into(), until: at(now + 20), why: WaitReason::Locked },
        1 => failed(),
        2 | 3 => {
            // It goes on, having learnt another name of its thread.
            let thread = (model.commands.len() as u32) % THREADS;
            let name = names(thread)[1].clone();
            model.merge(model.thread_of(id), thread * 2 + 1);
            store.record(Progress { aliases: vec![name], ..ending }).await.expect("recorded");
            return;
        }
        _ => State::Completed,
    };
    let mut ending = ending;
    if state == failed() {
        let told = super::given::event("CommandFailed");
        ending.events.push(NewEvent { subject: id.to_string(), ..told });
    }
    if state == State::Completed {
        model.unfinished.remove(&id);
    } else if state == failed() {
        model.failed.insert(id);
    }
    store.record(Progress { state: Some((state, "random".into())), ..ending }).await.expect("recorded");
    model.running.remove(&id);
}

async fn see_to_a_failed_one(store: &dyn Store, model: &mut Model, random: &mut StdRng) {
    let Some(id) = model.failed.pop_first() else { return };
    if random.random() {
        store.replay(id, act()).await.expect("replayed");
    } else {
        store.discard(id, act()).await.expect("discarded");
        model.unfinished.remove(&id);
    }
}

/// Lets everything come to its end.
async fn drain(store: &dyn Store, model: &mut Model, steps: u32) {
    let later = i64::from(steps) * 2;
    while !model.unfinished.is_empty() {
        while let Some(id) = model.failed.pop_first() {
            store.discard(id, act()).await.expect("discarded");
            model.unfinished.remove(&id);
        }
        let mut asked = claim(16, later);
        asked.lease_until = at(later + 1_000_000);
        for claimed in store.claim(asked).await.expect("claimed") {
            model.check_claim(&claimed);
            model.running.insert(claimed.id, claimed);
        }
        assert!(!model.running.is_empty(), "{} commands are stuck", model.unfinished.len());
        for (id, running) in std::mem::take(&mut model.running) {
            super::given::ends(store, &running, State::Completed).await;
            model.unfinished.remove(&id);
        }
    }
}

/// Positions grow; sequences are unique and grow within a thread.
async fn check_events(store: &dyn Store) {
    let (mut after, mut sequences) = (0, BTreeMap::new());
    loop {
        let events = store.events_after(after, 1_000).await.expect("read");
        let Some(last) = events.last() else { break };
        let up_to = last.position;
        for event in events {
            assert!(event.position > after);
            after = event.position;
            let before = sequences.insert(event.thread, event.sequence).unwrap_or(0);
            assert!(event.sequence > before);
        }
        assert_eq!(after, up_to);
    }
    assert!(after > 0);
}
