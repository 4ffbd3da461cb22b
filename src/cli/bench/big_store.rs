//! A store with a million finished messages: start, memory, looking, and what purging a month costs.
//!
//! The figures of looking and purging are the store's own, asked in this process; start and memory are those of
//! a gateway over it.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::exit::CliError;
use super::Scale;
use super::figure::Figure;
use super::ground::{Filled, Ground, RAW, Row, SOURCES, received_at};
use super::house::{House, Wishes};
use super::queue::Times;
use crate::command::{Class, CommandId, MessageId, State, Verdict};
use crate::retention::{CALL_MAX, Round, rest_after};
use crate::store::{
    Admission, Alias, AliasKind, MessageFilter, NewCommand, NewMessage, Purge, PurgePlace, Store, StoreError, Transport,
};

/// Until what the start needed only for a moment is given back.
const SETTLES: Duration = Duration::from_secs(2);
const QUESTIONS: u64 = 300;
const PAGE: usize = 50;
/// Of each page of the console.
const PAGE_LOADS: usize = 5;
const SENDERS: usize = 32;

pub(super) async fn measure(scale: &Scale) -> Result<Vec<Figure>, CliError> {
    let mut house = House::open(scale, Wishes::default()).await?;
    tokio::time::sleep(SETTLES).await;
    let empty = house.gateway().resident_mb();
    house.kill_gateways();

    let (ground, messages) = (house.ground.clone(), scale.finished_messages);
    let key = house.key();
    ground.fill(Some(&key), 0..messages, Filled::Finished).await?;
    let size = ground.megabytes().await?;
    house.start_gateways()?;
    let start = house.ready_after().as_secs_f64();
    tokio::time::sleep(SETTLES).await;
    let full = house.gateway().resident_mb();
    let pages = open_pages(&house, messages)?;
    house.kill_gateways();

    let mut figures = vec![
        Figure::new(format!("start to ready, {messages} messages finished"), start, "s")
            .less_than(3.0)
            .limited_by(format!("a store of {size:.0} MB; only small tables are read")),
        Figure::new("resident memory then, beyond that with an empty store", full - empty, "MB")
            .less_than(10.0)
            .limited_by(format!("{empty:.1} MB with an empty store, {full:.1} MB with this one")),
    ];
    figures.push(pages);
    figures.extend(ask((&ground, &key), messages, scale.measured).await?);
    Ok(figures)
}

/// The console's pages, as a browser on this machine asks for them.
fn open_pages(house: &House<'_>, messages: u64) -> Result<Figure, CliError> {
    let day = received_at(messages / 2).strftime("%Y-%m-%d");
    let row = Row::of(messages / 2);
    let mut pages: Vec<String> =
        ["", "/health", "/problems", "/open", "/messages", "/replays", "/audit"].map(str::to_owned).into();
    pages.extend(State::NAMES.map(|state| format!("/messages?state={state}")));
    pages.extend([
        format!("/messages?control_id={}", row.control_id()),
        format!("/messages?source={}&before={}", SOURCES[1], row.message()),
        format!("/messages/{}", row.message()),
        format!("/reports/{day}"),
    ]);
    let (mut times, mut slowest) = (Times::default(), (Duration::ZERO, String::new()));
    for page in &pages {
        for _ in 0..PAGE_LOADS {
            let began = Instant::now();
            let answer = house.page(&format!("/console{page}")).unwrap_or_default();
            let took = began.elapsed();
            if !answer.starts_with("HTTP/1.1 200") {
                let status = answer.lines().next().unwrap_or("no answer").to_owned();
                return Err(CliError::No(format!("the page /console{page} does not open: {status}")));
            }
            times.add(took);
            if took > slowest.0 {
                slowest = (took, page.clone());
            }
        }
    }
    Ok(Figure::new(format!("slowest of {} pages of the console", pages.len()), times.at(1.0), "ms")
        .less_than(100.0)
        .limited_by(format!("/console{}; p50 {:.1} ms", slowest.1, times.at(0.5))))
}

/// Of a store that is filled and that nobody has open.
async fn ask((ground, key): (&Ground, &Path), messages: u64, measured: Duration) -> Result<Vec<Figure>, CliError> {
    let (store, name) = (ground.open_with(Some(key)).await?, ground.name());
    let mut figures = look(store.as_ref(), name, messages).await?;
    let month = messages / 10;
    // Before and after, for the machine may have other things to do as well.
    let before = intake_while(&store, tokio::time::sleep(measured)).await?.0;
    let (beside, purged) = intake_while(&store, purge(&store, received_at(month), true)).await?;
    let purged = purged?;
    let after = intake_while(&store, tokio::time::sleep(measured)).await?.0;
    let alone = (before + after) / 2.0;
    let fast = purge(&store, received_at(2 * month), false).await?;
    figures.extend([
        Figure::new(format!("{name}: purging {month} messages while intake goes on"), purged.took.as_secs_f64(), "s")
            .less_than(300.0)
            .limited_by("rests three times as long as it works"),
        Figure::new("  share of intake kept meanwhile", 100.0 * beside / alone, "%")
            .at_least(70.0)
            .limited_by(format!("{beside:.0}/s; {before:.0}/s before and {after:.0}/s after, in this process")),
        Figure::new("  calls, with their wait for the writer, p50", purged.calls.at(0.5), "ms"),
        Figure::new("  p99", purged.calls.at(0.99), "ms"),
        Figure::new(format!("{name}: purging as many without rest"), fast.per_second(), "/s").at_least(1_000.0),
    ]);
    Ok(figures)
}

async fn look(store: &dyn Store, name: &str, messages: u64) -> Result<Vec<Figure>, CliError> {
    let mut times = Times::default();
    for question in 0..QUESTIONS {
        // Spread over everything, in no order.
        let row = Row::of(question * 7_919_993 % messages);
        let by_control_id = MessageFilter { control_id: Some(row.control_id()), max: PAGE, ..MessageFilter::default() };
        let found = [
            timed(&mut times, store.message(row.message())).await?.is_some(),
            timed(&mut times, store.command(row.command())).await?.is_some(),
            timed(&mut times, store.find_thread(&row.alias())).await?.is_some(),
            !timed(&mut times, store.messages(by_control_id)).await?.is_empty(),
        ];
        if found.contains(&false) {
            return Err(CliError::No(format!("message {} of the big store was not found", row.number)));
        }
    }
    let mut figures = vec![
        Figure::new(format!("{name}: search by identifier, p50"), times.at(0.5), "ms"),
        Figure::new("  slowest of 1,200", times.at(1.0), "ms").less_than(20.0),
    ];
    let mut times = Times::default();
    for filter in filters(messages) {
        for _ in 0..5 {
            timed(&mut times, store.messages(filter.clone())).await?;
        }
    }
    figures
        .push(Figure::new(format!("{name}: first page by any filter, slowest"), times.at(1.0), "ms").less_than(20.0));
    let mut times = Times::default();
    for _ in 0..20 {
        timed(&mut times, store.depths()).await?;
        timed(&mut times, store.outbox_depth()).await?;
    }
    figures.push(Figure::new(format!("{name}: depths for the metrics, slowest"), times.at(1.0), "ms").less_than(20.0));
    Ok(figures)
}

async fn timed<T>(times: &mut Times, act: impl Future<Output = Result<T, StoreError>>) -> Result<T, CliError> {
    let began = Instant::now();
    let answer = act.await?;
    times.add(began.elapsed());
    Ok(answer)
}

/// Each key alone and with a source, what is many and what is nowhere.
fn filters(messages: u64) -> Vec<MessageFilter> {
    let all = || MessageFilter { max: PAGE, ..MessageFilter::default() };
    let middle = Some(received_at(messages / 2));
    let mut filters = vec![
        all(),
        MessageFilter { since: middle, ..all() },
        MessageFilter { until: middle, ..all() },
        MessageFilter { before: Some(Row::of(messages / 2).message()), ..all() },
        MessageFilter { control_id: Some("nobody's".into()), ..all() },
    ];
    filters.extend(Verdict::ALL.map(|verdict| MessageFilter { verdict: Some(verdict), ..all() }));
    filters.extend(State::NAMES.map(|state| MessageFilter { state: Some(state.into()), ..all() }));
    let of_source = filters.clone().into_iter();
    filters.extend(of_source.map(|filter| MessageFilter { source: Some(SOURCES[1].into()), ..filter }));
    filters
}

struct Purging {
    messages: u64,
    took: Duration,
    calls: Times,
}

impl Purging {
    fn per_second(&self) -> f64 {
        self.messages as f64 / self.took.as_secs_f64()
    }
}

/// A round as the gateway makes it (`gentle`), or without its rests.
async fn purge(store: &Arc<dyn Store>, before: Timestamp, gentle: bool) -> Result<Purging, CliError> {
    let began = Instant::now();
    let mut round = Round::of(Purge {
        messages_before: Some(before),
        events_before: Some(before),
        keep_unconfirmed: true,
        told_up_to: u64::MAX,
        max: CALL_MAX,
        from: PurgePlace::START,
    });
    let (mut messages, mut calls) = (0, Times::default());
    loop {
        let called = Instant::now();
        let Some(purged) = round.step(store.as_ref()).await? else { break };
        let call = called.elapsed();
        calls.add(call);
        messages += purged.messages;
        if gentle {
            tokio::time::sleep(rest_after(call)).await;
        }
    }
    Ok(Purging { messages, took: began.elapsed(), calls })
}

/// Admissions a second by many senders while `act` goes on, and what came of it.
async fn intake_while<T>(store: &Arc<dyn Store>, act: impl Future<Output = T>) -> Result<(f64, T), CliError> {
    let (stop, admitted) = (AtomicBool::new(false), AtomicU64::new(0));
    let send = async || {
        while !stop.load(Ordering::Relaxed) {
            store.admit(referral()).await?;
            admitted.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<_, CliError>(())
    };
    let senders = futures_util::future::try_join_all((0..SENDERS).map(|_| send()));
    let acting = async {
        let began = Instant::now();
        let outcome = act.await;
        let rate = admitted.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        (rate, outcome)
    };
    let (sent, (rate, outcome)) = tokio::join!(senders, acting);
    sent?;
    Ok((rate, outcome))
}

/// A message of its own, as intake would have it stored.
fn referral() -> Admission {
    let (message, command) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let digest = Sha256::digest(message.as_bytes()).into();
    Admission {
        message: NewMessage {
            id: MessageId(message),
            source: SOURCES[0].into(),
            transport: Transport::Mllp,
            control_id: Some(message.to_string()),
            received_at: Timestamp::now(),
            sha256: digest,
            charset: "UTF-8".into(),
            kind: "REF^I12".into(),
            raw: Bytes::from(vec![b'x'; RAW]),
            problems: Value::Null,
        },
        verdict: Verdict::Accepted,
        acknowledgement: Bytes::from_static(b"MSH|^~\\&|ERSGW|RXX00\rMSA|AA|1\r"),
        commands: vec![NewCommand {
            id: CommandId(command),
            name: "CreateReferral".into(),
            body: json!({ "localId": "EV", "text": "x".repeat(1_100) }),
            class: Class::Routine,
            aliases: vec![Alias { kind: AliasKind::LocalId, digest }],
            creates: Some(digest),
            mapping_set: "set".into(),
            state: State::Queued,
            plan: Value::Null,
            not_after: None,
        }],
        documents: Vec::new(),
        events: Vec::new(),
        patients: Vec::new(),
        taken_again: None,
    }
}
