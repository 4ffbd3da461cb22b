//! Daily reconciliation: two equations that must hold for every source, with what e-RS answered and what was published put
//! against both.
//!
//! Messages received are those accepted, refused, known already, and notices. Commands made are those completed, in every open state,
//! discarded, and shadowed. Enters: a day (UTC). Leaves: counts, every difference with how to find it, and why what failed did, in
//! the sender's own terms; once, for the day before, an event. Guarantees: each side is counted by itself; a difference is shown,
//! never levelled.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use crate::command::{EventId, State, Verdict};
use crate::environment::Environment;
use crate::instances::Duty;
use crate::problems;
use crate::store::{Cause, Day, DayCounts, NewEvent, ReportStore, Result, Store};

/// The event that tells of a day.
pub const DAY_RECONCILED: &str = "DayReconciled";
/// After midnight, so that what came last has its turn.
const TELL_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_mins(15);
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Causes of one source.
const CAUSES: usize = 10;
/// Differences in an event; the report has all.
const TOLD_DIFFERENCES_MAX: usize = 100;

/// Midnight to midnight.
fn bounds(day: Date) -> Option<(Timestamp, Timestamp)> {
    let from = day.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let to = day.checked_add(1.day()).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some((from, to))
}

/// The report of a day, as things stand now. `None`: there is no such day.
pub async fn report(store: &dyn ReportStore, day: Date, now: Timestamp) -> Result<Option<Value>> {
    let Some((from, to)) = bounds(day) else { return Ok(None) };
    let counted = store.day(from, to).await?;
    Ok(Some(shown(day, &counted, now)))
}

/// What does not come out even, and how to find it.
struct Difference {
    source: String,
    what: &'static str,
    count: i64,
    find: String,
}

fn shown(day: Date, counted: &Day, now: Timestamp) -> Value {
    let mut differences = Vec::new();
    let sources: Vec<Value> = counted
        .sources
        .iter()
        .map(|(name, counts)| {
            differences.extend(differences_of(day, name, counts, counted.events_are_kept));
            source(name, counts, counted)
        })
        .collect();
    let differences: Vec<Value> = differences
        .iter()
        .map(|one| json!({ "source": one.source, "what": one.what, "count": one.count, "find": one.find }))
        .collect();
    json!({
        "day": day.to_string(),
        "madeAt": now,
        "balanced": differences.is_empty(),
        "differences": differences,
        "eventsAreKept": counted.events_are_kept,
        "sources": sources,
    })
}

fn source(name: &str, counts: &DayCounts, counted: &Day) -> Value {
    let verdict = |verdict: Verdict| counts.verdicts.get(verdict.name()).copied().unwrap_or(0);
    let messages = json!({
        "received": counts.received,
        "accepted": verdict(Verdict::Accepted),
        "rejected": verdict(Verdict::Rejected),
        "duplicates": verdict(Verdict::Duplicate),
        "notices": verdict(Verdict::Notice),
        "answered": counts.answered,
    });
    let mut commands = json!({ "made": counts.made });
    for state in State::NAMES {
        commands[state] = counts.states.get(state).copied().unwrap_or(0).into();
    }
    let causes: Vec<Value> = counted
        .causes
        .iter()
        .filter(|(cause, _)| cause.source == name)
        .take(CAUSES)
        .map(|(cause, count)| shown_cause(cause, *count))
        .collect();
    json!({
        "source": name,
        "messages": messages,
        "commands": commands,
        "ers": { "written": counts.written, "writtenAndNotCompleted": counts.written_and_open },
        "untold": {
            "rejected": counts.untold.rejected,
            "failed": counts.untold.failed,
            "completed": counts.untold.completed,
        },
        "causes": causes,
    })
}

fn shown_cause(cause: &Cause, count: u64) -> Value {
    json!({
        "cause": cause.id,
        "count": count,
        "state": cause.state,
        "kind": cause.kind,
        "code": cause.code,
        "place": cause.place,
        "text": cause.text,
        "who": problems::advice(cause).who,
    })
}

fn differences_of(day: Date, name: &str, counts: &DayCounts, events_are_kept: bool) -> Vec<Difference> {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let day_of = format!("--source {name} --since {day}T00:00:00Z");
    let decided: u64 = counts.verdicts.values().sum();
    let there: u64 = counts.states.values().sum();
    let untold = |count: u64| if events_are_kept { signed(count) } else { 0 };
    [
        (
            "messages received, less those accepted, refused, known already, and notices",
            signed(counts.received) - signed(decided),
            "a row is damaged: `store verify`".to_owned(),
        ),
        (
            "commands made, less those completed, open, discarded and shadowed",
            signed(counts.made) - signed(there),
            "a row is missing or one too many: `store verify`, and `messages list` of the day".to_owned(),
        ),
        (
            "commands of which e-RS did a write that are not completed",
            signed(counts.written_and_open),
            format!(
                "`messages list {day_of} --state failed` (and `in_doubt`, `waiting`, …): `messages show` has each call"
            ),
        ),
        (
            "refused messages of which no event tells",
            untold(counts.untold.rejected),
            format!("`messages list {day_of} --verdict rejected`, against the events `MessageRejected`"),
        ),
        (
            "failed commands of which no event tells",
            untold(counts.untold.failed),
            format!("`messages list {day_of} --state failed`, against the events `CommandFailed`"),
        ),
        (
            "completed commands that wrote to e-RS, of which no event tells",
            untold(counts.untold.completed),
            format!("`messages list {day_of} --state completed`, against the events"),
        ),
    ]
    .into_iter()
    .filter(|(_, count, _)| *count != 0)
    .map(|(what, count, find)| Difference { source: name.to_owned(), what, count, find })
    .collect()
}

/// One count a line: `day,source,what,count`.
pub fn as_csv(report: &Value) -> String {
    let mut out = String::from("day,source,what,count\n");
    let day = report["day"].as_str().unwrap_or_default();
    let mut line = |source: &str, what: &str, count: &Value| {
        writeln!(out, "{day},{},{},{count}", quoted(source), quoted(what)).expect("text takes text");
    };
    for source in report["sources"].as_array().into_iter().flatten() {
        let name = source["source"].as_str().unwrap_or_default();
        for part in ["messages", "commands", "ers", "untold"] {
            for (what, count) in source[part].as_object().into_iter().flatten() {
                line(name, &format!("{part} {what}"), count);
            }
        }
        for cause in source["causes"].as_array().into_iter().flatten() {
            let part = |member: &str| cause[member].as_str().unwrap_or_default();
            let what = format!("cause {} {} {}: {}", part("state"), part("code"), part("place"), part("text"));
            line(name, &what, &cause["count"]);
        }
    }
    for difference in report["differences"].as_array().into_iter().flatten() {
        let what = format!("difference: {}", difference["what"].as_str().unwrap_or_default());
        line(difference["source"].as_str().unwrap_or_default(), &what, &difference["count"]);
    }
    out
}

/// RFC 4180; what a spreadsheet would take for a formula is text.
fn quoted(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// What the event tells: the sums over all sources, and where they do not come out even.
fn event_data(report: &Value) -> Value {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    let mut add = |name: &'static str, count: &Value| *sums.entry(name).or_default() += count.as_u64().unwrap_or(0);
    for source in report["sources"].as_array().into_iter().flatten() {
        let (messages, commands) = (&source["messages"], &source["commands"]);
        for name in ["received", "accepted", "rejected", "duplicates", "notices"] {
            add(name, &messages[name]);
        }
        add("commands", &commands["made"]);
        for (state, name) in State::NAMES.map(|state| (state, in_event(state))) {
            add(name, &commands[state]);
        }
        add("writtenToErs", &source["ers"]["written"]);
    }
    let mut data = json!({ "day": report["day"], "balanced": report["balanced"] });
    for name in SUMS {
        data[name] = sums.get(name).copied().unwrap_or(0).into();
    }
    let differences = report["differences"].as_array().into_iter().flatten().take(TOLD_DIFFERENCES_MAX);
    let told = |one: &Value| json!({ "source": one["source"], "what": one["what"], "count": one["count"] });
    data["differences"] = differences.map(told).collect();
    data
}

const SUMS: [&str; 11] = [
    "received",
    "accepted",
    "rejected",
    "duplicates",
    "notices",
    "commands",
    "completed",
    "open",
    "discarded",
    "shadowed",
    "writtenToErs",
];

fn in_event(state: &str) -> &'static str {
    match state {
        "completed" => "completed",
        "discarded" => "discarded",
        "shadowed" => "shadowed",
        _ => "open",
    }
}

/// Tells of each day, once it is over.
pub struct Reports {
    pub store: Arc<dyn Store>,
    pub duty: Duty,
    pub environment: Environment,
}

impl Reports {
    pub fn start(self) {
        let environment = self.environment.clone();
        environment.spawn(async move { self.run().await });
    }

    async fn run(self) {
        let shutdown = self.environment.shutdown().clone();
        while let Some(held) = self.duty.hold().await {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    held.leave().await;
                    return;
                }
                () = held.lost() => {}
                () = self.watch() => {}
            }
        }
    }

    async fn watch(&self) {
        loop {
            if let Err(error) = self.tell(self.environment.now()).await {
                tracing::warn!(%error, "yesterday's report cannot be made: trying again");
            }
            self.environment.sleep(LOOK_EVERY).await;
        }
    }

    /// Of yesterday, if anything was received then and it was not told.
    async fn tell(&self, now: Timestamp) -> Result<()> {
        let Ok(yesterday) = now.saturating_sub(TELL_AFTER).and_then(|at| at.checked_sub(24.hours())) else {
            return Ok(());
        };
        let day = yesterday.to_zoned(TimeZone::UTC).date();
        if self.store.is_report_published(&day.to_string()).await? {
            return Ok(());
        }
        let Some(report) = report(&*self.store, day, now).await? else { return Ok(()) };
        if report["sources"].as_array().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let event = NewEvent {
            id: EventId(self.environment.new_id()),
            name: DAY_RECONCILED.into(),
            at: now,
            source: "gateway".into(),
            subject: day.to_string(),
            data: event_data(&report),
        };
        if self.store.publish_report(day.to_string(), event).await? {
            let balanced = report["balanced"] == true;
            tracing::info!(%day, balanced, "a day is reconciled");
            if !balanced {
                tracing::warn!(%day, "its report has differences: `ers-gateway report` says how to find them");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::EventSchemas;
    use crate::store::Untold;
    use crate::store::sqlite::SqliteStore;

    fn day() -> Date {
        "2026-03-16".parse().expect("a day")
    }

    fn even() -> DayCounts {
        DayCounts {
            received: 5,
            verdicts: BTreeMap::from([("accepted".into(), 3), ("rejected".into(), 1), ("notice".into(), 1)]),
            answered: 5,
            made: 3,
            states: BTreeMap::from([("completed".into(), 2), ("failed".into(), 1)]),
            written: 2,
            written_and_open: 0,
            untold: Untold::default(),
        }
    }

    fn reported(counts: DayCounts, events_are_kept: bool) -> Value {
        let sources = BTreeMap::from([("northmoor".to_owned(), counts)]);
        shown(day(), &Day { sources, events_are_kept, causes: Vec::new() }, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn both_equations_hold_where_nothing_is_missing() {
        let report = reported(even(), true);
        assert_eq!(
            (report["balanced"].as_bool(), report["differences"].as_array().map(Vec::len)),
            (Some(true), Some(0))
        );
        let source = &report["sources"][0];
        assert_eq!(
            (source["messages"]["received"].as_u64(), source["commands"]["failed"].as_u64()),
            (Some(5), Some(1))
        );
    }

    #[test]
    fn a_difference_is_shown_with_how_to_find_it() {
        let wrong = DayCounts {
            received: 6,
            made: 2,
            written_and_open: 1,
            untold: Untold { rejected: 1, failed: 0, completed: 2 },
            ..even()
        };
        let report = reported(wrong.clone(), true);
        let counts: Vec<_> = report["differences"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| {
                assert!(one["find"].as_str().is_some_and(|find| !find.is_empty()));
                one["count"].as_i64().expect("a count")
            })
            .collect();
        assert_eq!(counts, [1, -1, 1, 1, 2]);
        let without = reported(wrong, false);
        assert_eq!(without["differences"].as_array().map(Vec::len), Some(3), "nothing is said of events that are gone");
    }

    #[test]
    fn the_event_is_valid_and_the_file_has_a_line_for_each_count() {
        let wrong = DayCounts { received: 6, ..even() };
        let report = reported(wrong, true);
        let data = event_data(&report);
        assert_eq!(EventSchemas::built_in().violations(DAY_RECONCILED, &data), [], "{data:#}");
        assert_eq!(
            (data["received"].as_u64(), data["open"].as_u64(), data["balanced"].as_bool()),
            (Some(6), Some(1), Some(false))
        );
        let csv = as_csv(&report);
        assert!(csv.starts_with("day,source,what,count\n2026-03-16,northmoor,messages "), "{csv}");
        assert!(csv.contains("\"difference: messages received, less those accepted"), "{csv}");
        assert_eq!(quoted("=1+1"), "'=1+1");
    }

    #[tokio::test]
    async fn a_day_on_which_something_was_received_is_told_once_when_it_is_over() {
        use crate::store::suite::given::{admitted, at, command, local, message};

        let folder = tempfile::tempdir().expect("a temporary folder");
        let environment = Environment::system();
        let store = SqliteStore::open(folder.path().join("store.db"), &environment).await.expect("a store");
        let store: Arc<dyn Store> = Arc::new(store);
        // 16 March 2026, 09:30.
        admitted(&*store, message("M1").received(0).with(command(&[local("r1")]))).await;
        let duty = Duty::new(store.clone(), "reports", "gateway-1", &environment);
        let reports = Reports { store: store.clone(), duty, environment };
        let hours = |hours: i64| at(hours * 3_600);
        for (now, told) in
            [(hours(2), 0), (hours(14) + 1_800.seconds(), 0), (hours(15), 1), (hours(16), 1), (hours(40), 1)]
        {
            reports.tell(now).await.expect("told");
            let events = store.events_after(0, 10).await.expect("read");
            assert_eq!(events.len(), told, "{now}");
        }
        let event = store.events_after(0, 10).await.expect("read").remove(0);
        assert_eq!((event.name.as_str(), event.subject.as_str()), (DAY_RECONCILED, "2026-03-16"));
        assert_eq!((event.data["received"].as_u64(), event.data["open"].as_u64()), (Some(1), Some(1)));
    }

    #[test]
    fn a_day_is_from_midnight_to_midnight() {
        let (from, to) = bounds(day()).expect("a day");
        assert_eq!((from.to_string(), to.to_string()), ("2026-03-16T00:00:00Z".into(), "2026-03-17T00:00:00Z".into()));
    }
}
