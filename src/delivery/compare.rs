//! A worklist compared with what it was, and what has each difference looked at.
//!
//! Enters: the entries of a list that a plan has read. Leaves: a command for each difference, each in a message and a
//! thread of its own for that watch and referral, and the list as the next comparison finds it. Guarantees: each
//! difference is looked at once, whatever happens in between: its control id names the list that it differs from, and
//! the list is replaced after all of them are on disk; one that was read earlier never replaces one that was read later.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::ledger::Abandoned;
use super::run::{Flow, Ground, Run};
use crate::command::{Class, CommandId, State};
use crate::mapping::{CHANGES, Change, Difference, Entries, FetchedList, Worklist};
use crate::store::{Admission, Alias, AliasKind, NewCommand, Snapshot, StoreError};

/// A list as the next comparison finds it, in the store.
#[derive(Deserialize)]
struct Kept {
    list: String,
    connection: String,
    entries: Entries,
}

/// The same on its way there: the entries may be thousands, and are not copied.
#[derive(Serialize)]
struct Keeping<'l> {
    list: &'l str,
    connection: &'l str,
    entries: &'l Entries,
}

/// What a difference was found in.
#[derive(Clone, Copy)]
struct Scene<'s> {
    worklist: &'s Worklist,
    watch: &'s str,
    service: &'s str,
    /// Of the list that it was compared with.
    version: u64,
    read_at: Timestamp,
}

/// Messages that are stored together.
const AT_ONCE: usize = 64;

impl Run {
    pub(super) async fn compare(&mut self, ground: &Ground) -> Result<Flow, Abandoned> {
        // What was read is on disk before anything is made of it.
        self.ledger.commit().await?;
        let Some(fetched) = self.plan.state.fetched.take() else { return Ok(Flow::On) };
        let Some(worklist) = ground.set.mappings.worklist(&fetched.list) else {
            let text = format!("there is no mappings/worklists/{}.yaml in its set", fetched.list);
            return self.fail("WORKLIST", &text).await;
        };
        match self.look_at_differences(worklist, &fetched, &ground.member.client.name).await {
            Ok(counts) => {
                let counts = counts.into_iter().map(|(change, count)| (change.name().to_owned(), count.into()));
                self.plan.state.saved.insert(CHANGES.into(), Value::Object(counts.collect()));
                self.ledger.plan(self.plan.to_value());
                Ok(Flow::On)
            }
            Err(error) => {
                self.plan.state.fetched = Some(fetched);
                match error {
                    StoreError::Unavailable(_) => self.give_back("the store is away").await,
                    error => self.fail("WORKLIST", &format!("the list cannot be compared: {error}")).await,
                }
            }
        }
    }

    async fn look_at_differences(
        &self,
        worklist: &Worklist,
        fetched: &FetchedList,
        connection: &str,
    ) -> Result<BTreeMap<Change, u64>, StoreError> {
        let text = |name: &str| self.command.body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (watch, service) = (text("watch"), text("service"));
        let read_at: Timestamp = fetched.at.parse().unwrap_or_else(|_| self.shared.environment.now());
        loop {
            let before = self.shared.store.snapshot(&watch, &service).await?;
            if before.as_ref().is_some_and(|before| before.by == self.command.id || before.at > read_at) {
                // It was compared, or a list that was read later was.
                return Ok(BTreeMap::new());
            }
            let version = before.as_ref().map_or(0, |before| before.version);
            let was = match &before {
                None => None,
                Some(before) => Some(
                    serde_json::from_slice::<Kept>(&before.content)
                        .map_err(|_| StoreError::Damaged("a list as it was cannot be read".into()))?,
                ),
            };
            // Another list, or of somebody else: seen for the first time.
            let was = was.filter(|was| was.list == fetched.list && was.connection == connection);
            let only_remembered = was.is_none() && self.command.body.get("remember") == Some(&Value::Bool(true));
            let was = was.map(|was| was.entries).unwrap_or_default();
            let mut differences = worklist.differences(&was, &fetched.entries);
            if only_remembered {
                differences.clear();
            }
            // The most urgent first.
            differences.sort_by_key(|difference| self.class_of(worklist, difference));
            let scene = Scene { worklist, watch: &watch, service: &service, version, read_at };
            for some in differences.chunks(AT_ONCE) {
                let stored =
                    some.iter().map(|difference| self.shared.store.admit(self.observation(&scene, difference)));
                for stored in join_all(stored).await {
                    stored?;
                }
            }
            let mut counts = BTreeMap::new();
            for difference in &differences {
                *counts.entry(difference.change).or_default() += 1;
            }
            let keeping = Keeping { list: &fetched.list, connection, entries: &fetched.entries };
            let content = serde_json::to_vec(&keeping).expect("text and JSON values");
            let snapshot = Snapshot {
                watch: watch.clone(),
                service: service.clone(),
                version: version + 1,
                by: self.command.id,
                at: read_at,
                content: content.into(),
            };
            if self.shared.store.save_snapshot(snapshot).await? {
                return Ok(counts);
            }
        }
    }

    fn class_of(&self, worklist: &Worklist, difference: &Difference<'_>) -> Class {
        match (difference.change, worklist.urgency(difference.fields)) {
            (Change::Left, _) => Class::Poll,
            (_, Some("TWO_WEEK_WAIT")) => Class::TwoWeekWait,
            (_, Some("URGENT")) => Class::Urgent,
            _ => Class::Poll,
        }
    }

    /// A thread for each watch and referral: what is seen of one is told in its order, and waits for nothing that others
    /// do with it.
    ///
    /// Its control id names the list that it differs from, so that a look which was stopped in the middle and one that
    /// takes its place have the same. What may have changed, and the list does not say, is looked at once an hour at most.
    fn observation(&self, scene: &Scene<'_>, difference: &Difference<'_>) -> Admission {
        let Scene { worklist, watch, service, version, read_at } = *scene;
        let environment = &self.shared.environment;
        let Difference { key, change, fields } = *difference;
        let mut body = Map::new();
        for (name, value) in [("watch", json!(watch)), ("list", json!(worklist.list)), ("ubrn", json!(key))] {
            body.insert(name.into(), value);
        }
        body.insert("change".into(), change.name().into());
        body.insert("item".into(), Value::Object(fields.clone()));
        let digest = self.shared.keys.alias_digest(AliasKind::LocalId, &[watch, "observed", key]);
        let command = NewCommand {
            id: CommandId(environment.new_id()),
            name: worklist.observe.clone(),
            body: Value::Object(body),
            class: self.class_of(worklist, difference),
            aliases: vec![Alias { kind: AliasKind::LocalId, digest }],
            creates: None,
            mapping_set: self.command.mapping_set.clone(),
            state: State::Queued,
            plan: Value::Null,
            not_after: None,
        };
        let control_id = match change {
            Change::Listed => format!("listed-{key}:{service}:{}", read_at.as_second() / 3_600),
            _ => format!("seen-{key}:{service}:{version}"),
        };
        Admission::own((environment, &self.shared.keys), &self.command.source, control_id, command)
    }
}
