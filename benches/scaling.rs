//! What a trust, an integrated care board and England need: `cargo bench --bench scaling [-- --check | --write]`,
//! or, with nothing but the standard library, `rustc --edition 2024 -O benches/scaling.rs -o /tmp/scaling`.
//!
//! Enters: `docs/scaling-figures.csv`. Leaves: the tables of `docs/scaling.md`, printed; with `--write` put between
//! the page's markers; with `--check` compared with them (exit 1 if they differ). Guarantees: a result bears the mark
//! of the weakest figure that it was made from, so nothing that was assumed looks measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::{Add, Div, Mul, Sub};
use std::process::ExitCode;

const FIGURES: &str = "docs/scaling-figures.csv";
const PAGE: &str = "docs/scaling.md";
const SECONDS_AN_HOUR: f64 = 3_600.0;

/// What a number rests on, the weakest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ground {
    /// Measured, a fact from elsewhere, or a constant of the code.
    Known,
    Assumed,
}

impl Ground {
    fn of(source: &str) -> Option<Self> {
        Some(match source.split_once(": ")?.0 {
            "measured" | "fact" | "code" => Self::Known,
            "assumed" => Self::Assumed,
            _ => return None,
        })
    }

    fn mark(self) -> &'static str {
        match self {
            Self::Known => "",
            Self::Assumed => " ᵃ",
        }
    }
}

/// A number with what it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Quantity {
    value: f64,
    ground: Ground,
}

impl Quantity {
    fn known(value: f64) -> Self {
        Self { value, ground: Ground::Known }
    }

    fn with(self, other: Self, value: f64) -> Self {
        Self { value, ground: self.ground.max(other.ground) }
    }

    fn up(self) -> Self {
        Self { value: self.value.ceil(), ..self }
    }

    fn at_least(self, least: f64) -> Self {
        Self { value: self.value.max(least), ..self }
    }

    /// Two digits that say something, or three.
    fn text(self) -> String {
        let (value, mark) = (self.value, self.ground.mark());
        let number = match value {
            0.0 => "0".into(),
            v if v.abs() < 0.1 => format!("{v:.3}"),
            v if v.abs() < 10.0 && v.fract() != 0.0 => format!("{v:.2}"),
            v if v.abs() < 100.0 && v.fract() != 0.0 => format!("{v:.1}"),
            v => thousands(v.round()),
        };
        format!("{number}{mark}")
    }

    /// Seconds as a person says them.
    fn duration(self) -> String {
        let (value, mark) = (self.value, self.ground.mark());
        match value {
            v if v < 1.0 => format!("none{mark}"),
            v if v < 120.0 => format!("{v:.0} s{mark}"),
            v if v < 7_200.0 => format!("{:.0} min{mark}", v / 60.0),
            v => format!("{:.1} h{mark}", v / SECONDS_AN_HOUR),
        }
    }

    /// Gigabytes as a person says them.
    fn bytes(self) -> String {
        let mark = self.ground.mark();
        match self.value {
            v if v < 1.0 => format!("{:.0} MB{mark}", v * 1e3),
            v if v < 1_000.0 => format!("{v:.1} GB{mark}"),
            v => format!("{:.1} TB{mark}", v / 1e3),
        }
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

macro_rules! operator {
    ($trait:ident, $method:ident, $sign:tt) => {
        impl $trait for Quantity {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                self.with(other, self.value $sign other.value)
            }
        }
    };
}
operator!(Add, add, +);
operator!(Sub, sub, -);
operator!(Mul, mul, *);
operator!(Div, div, /);

struct Figure {
    quantity: Quantity,
    unit: String,
    source: String,
}

struct Figures(BTreeMap<String, Figure>);

impl Figures {
    fn parse(text: &str) -> Result<Self, String> {
        let mut figures = BTreeMap::new();
        for (index, line) in text.lines().enumerate().skip(1) {
            let here = |why: &str| format!("{FIGURES}:{}: {why}: {line}", index + 1);
            let parts: Vec<&str> = line.splitn(4, ',').collect();
            let [name, value, unit, source] = parts[..] else { return Err(here("not name,value,unit,source")) };
            let value = value.parse().map_err(|_| here("the value is not a number"))?;
            let ground = Ground::of(source)
                .ok_or_else(|| here("the source begins with none of measured: fact: code: assumed:"))?;
            let quantity = Quantity { value, ground };
            let figure = Figure { quantity, unit: unit.to_owned(), source: source.to_owned() };
            if figures.insert(name.to_owned(), figure).is_some() {
                return Err(here("named twice"));
            }
        }
        Ok(Self(figures))
    }

    fn get(&self, name: &str) -> Quantity {
        self.0.get(name).unwrap_or_else(|| panic!("{FIGURES} has no figure {name}")).quantity
    }
}

/// What one referral costs, its letter included.
struct Referral {
    messages: Quantity,
    calls: Quantity,
    commits: Quantity,
    lazy_commits: Quantity,
    events: Quantity,
    /// kB in the store, of SQLite: everything but letters; letters.
    plain_kb: Quantity,
    letters_kb: Quantity,
}

impl Referral {
    fn of(figures: &Figures) -> Self {
        let get = |name: &str| figures.get(name);
        let one = Quantity::known(1.0);
        let (with, late, triage) = (get("letters_with"), get("letters_late"), get("triage_share"));
        let messages = one + late;
        let planned = get("calls_create")
            + get("calls_search") * get("search_share")
            + get("calls_letter") * with
            + get("calls_late_letter") * late
            + get("calls_triage") * triage;
        let calls = planned * (one + get("repeat_share"));
        Self {
            messages,
            calls,
            commits: get("commits_message") * messages + get("commits_call") * calls,
            lazy_commits: get("lazy_commits_message") * messages + get("lazy_commits_call") * calls,
            // ReferralCreated, ReferralLetterAttached, ReferralSentForTriage.
            events: one + with + late + triage,
            plain_kb: get("store_kb") * messages + get("kb_further_call") * (calls - messages),
            letters_kb: (with + late) * get("letter_kb") * get("base64"),
        }
    }
}

/// A place where the gateway is used.
struct Place {
    name: &'static str,
    day: Quantity,
    /// Referrals a second: mean of the busy hours, busiest minute.
    busy: Quantity,
    peak: Quantity,
}

impl Place {
    fn all(figures: &Figures) -> Vec<Self> {
        [("Trust", "trust_referrals"), ("Care board", "icb_referrals"), ("England", "england_referrals")]
            .map(|(name, figure)| {
                let day = figures.get(figure);
                let hours = figures.get("busy_hours") * Quantity::known(SECONDS_AN_HOUR);
                let busy = day * figures.get("busy_share") / hours;
                Self { name, day, busy, peak: busy * figures.get("busiest_minute") }
            })
            .into()
    }
}

/// A Markdown table.
struct Table {
    text: String,
}

impl Table {
    fn new(heads: &[&str]) -> Self {
        let mut text = format!("| {} |\n|---|", heads.join(" | "));
        for _ in 1..heads.len() {
            text.push_str("---:|");
        }
        text.push('\n');
        Self { text }
    }

    fn row(&mut self, cells: &[String]) {
        writeln!(self.text, "| {} |", cells.join(" | ")).expect("text takes text");
    }

    /// A row with one cell for each place.
    fn places(&mut self, places: &[Place], what: &str, cell: impl Fn(&Place) -> String) {
        let mut cells = vec![what.to_owned()];
        cells.extend(places.iter().map(cell));
        self.row(&cells);
    }
}

fn of_places(places: &[Place], first: &str) -> Table {
    let mut heads = vec![first];
    heads.extend(places.iter().map(|place| place.name));
    Table::new(&heads)
}

fn load(places: &[Place], one: &Referral) -> String {
    let mut table = of_places(places, "What comes");
    let mega = Quantity::known(1_000.0);
    table.places(places, "referrals a working day", |place| place.day.text());
    table.places(places, "referrals/s in the busy hours", |place| place.busy.text());
    table.places(places, "– in the busiest minutes", |place| place.peak.text());
    table.places(places, "calls to e-RS/s in the busy hours", |place| (place.busy * one.calls).text());
    table.places(places, "– in the busiest minutes", |place| (place.peak * one.calls).text());
    table.places(places, "waited-for commits/s, busiest, at most", |place| (place.peak * one.commits).text());
    table.places(places, "other commits/s, busiest, at most", |place| (place.peak * one.lazy_commits).text());
    table.places(places, "events/s, busiest", |place| (place.peak * one.events).text());
    table.places(places, "MB/s of letters, busiest", |place| (place.peak * one.letters_kb / mega).text());
    table.text
}

fn one_referral(one: &Referral) -> String {
    let mut table = Table::new(&["One referral with its letter", "Costs"]);
    for (what, quantity) in [
        ("messages", one.messages),
        ("calls to e-RS", one.calls),
        ("commits that somebody waits for, at most", one.commits),
        ("other commits, at most", one.lazy_commits),
        ("events", one.events),
        ("kB in a SQLite store, without letters", one.plain_kb),
        ("kB of letters in any store (base64, as received)", one.letters_kb),
    ] {
        table.row(&[what.into(), quantity.text()]);
    }
    table.text
}

/// Referrals a second that one client id carries, with its reserve.
fn of_client_id(figures: &Figures, one: &Referral) -> Quantity {
    figures.get("quota_calls") * (Quantity::known(1.0) - figures.get("quota_reserve")) / one.calls
}

fn quota(figures: &Figures, places: &[Place], one: &Referral) -> String {
    let each = of_client_id(figures, one);
    let (calls, busy_seconds) = (figures.get("quota_calls"), figures.get("busy_hours") * Quantity::known(3_600.0));
    let ids = |rate: Quantity| (rate / each).up();
    let mut table = of_places(places, "The quota of e-RS");
    table.places(places, "client ids that keep up with the busy hours", |place| ids(place.busy).text());
    table.places(places, "– with the busiest minutes", |place| ids(place.peak).text());
    table
        .places(places, "with one client id: the day's calls take", |place| (place.day * one.calls / calls).duration());
    table.places(places, "– wait at the end of the busy hours", |place| {
        ((place.busy * one.calls / calls - Quantity::known(1.0)) * busy_seconds).at_least(0.0).duration()
    });
    table.places(places, "caught up, with those of the first row, after e-RS was away for a busy hour, in", |place| {
        let (come, go) = (place.busy * one.calls, ids(place.busy) * calls);
        (come * Quantity::known(SECONDS_AN_HOUR) / (go - come)).duration()
    });
    table.text
}

fn limits(figures: &Figures, places: &[Place], one: &Referral) -> String {
    let get = |name: &str| figures.get(name);
    let kilo = Quantity::known(1_000.0);
    // One processor-second of the measured run is one A011; further calls are taken to cost as much.
    let processor = get("end_to_end_processors") / get("end_to_end") * one.calls;
    let kb = one.plain_kb + one.letters_kb;
    let mut limits = vec![
        ("quota of e-RS, one client id", of_client_id(figures, one)),
        ("commands in hand, one gateway", get("hands") / (one.calls * get("call_seconds"))),
        ("waited-for commits, one PostgreSQL", get("pg_commits") / one.commits),
        ("the publisher of events (one at a time), RabbitMQ", get("end_to_end") / one.events),
        ("two processors of one gateway, SQLite", Quantity::known(2.0) / processor),
        ("two processors of one gateway, PostgreSQL", Quantity::known(2.0) / (processor * get("pg_processor"))),
        ("slow disk, one SQLite", get("end_to_end_slow_disk") / one.calls),
        ("taking in letters, one gateway, SQLite", get("intake_letter") / one.messages),
        ("taking in messages without letters, SQLite", get("intake") / one.messages),
        ("network of one gateway", get("network_mb_second") * kilo / (kb * get("network_passes"))),
    ];
    limits.sort_by(|one, other| one.1.value.total_cmp(&other.1.value));
    let mut heads = vec!["The limits, the lowest first", "referrals/s"];
    let busiest: Vec<String> = places.iter().map(|place| format!("busiest minutes of {}", place.name)).collect();
    heads.extend(busiest.iter().map(String::as_str));
    let mut table = Table::new(&heads);
    for (what, limit) in limits {
        let mut cells = vec![what.to_owned(), limit.text()];
        cells.extend(places.iter().map(|place| match place.peak / limit {
            part if part.value > 1.0 => format!("**{:.1} times**{}", part.value, part.ground.mark()),
            part if part.value < 0.001 => format!("under 0.1 %{}", part.ground.mark()),
            part => format!("{:.1} %{}", part.value * 100.0, part.ground.mark()),
        }));
        table.row(&cells);
    }
    table.text
}

fn storage(figures: &Figures, places: &[Place], one: &Referral) -> String {
    let get = |name: &str| figures.get(name);
    let giga = Quantity::known(1e6);
    let days = get("retention_days") * get("working_days") / Quantity::known(365.0);
    let plain = |place: &Place| place.day * one.plain_kb / giga;
    let letters = |place: &Place| place.day * one.letters_kb / giga;
    let postgres = |place: &Place| plain(place) * get("pg_size") + letters(place);
    let mut table = of_places(places, "The store");
    table.places(places, "a day, SQLite, without letters", |place| plain(place).bytes());
    table.places(places, "a day, letters", |place| letters(place).bytes());
    table.places(places, "a day, PostgreSQL, all", |place| postgres(place).bytes());
    table.places(places, "WAL a day, PostgreSQL", |place| (postgres(place) * get("pg_wal")).bytes());
    table.places(places, "SQLite after 400 days", |place| ((plain(place) + letters(place)) * days).bytes());
    table.places(places, "PostgreSQL after 400 days", |place| (postgres(place) * days).bytes());
    table.places(places, "a month more or less of it, PostgreSQL", |place| {
        (postgres(place) * get("working_days") / Quantity::known(12.0)).bytes()
    });
    table.places(places, "a year of what stays for ever, SQLite", |place| {
        (place.day * get("store_kb_kept") * get("working_days") / giga).bytes()
    });
    table.text
}

fn machines(figures: &Figures, places: &[Place], one: &Referral) -> String {
    let get = |name: &str| figures.get(name);
    let processor = get("end_to_end_processors") / get("end_to_end") * one.calls * get("pg_processor");
    let hands = |place: &Place| place.peak * one.calls * get("call_seconds");
    // Two, so that one can stop; more only where processors or hands ask for it.
    let gateways = |place: &Place| {
        let (by_processor, by_hands) = (place.peak * processor, hands(place) / get("hands"));
        by_processor.with(by_hands, by_processor.value.max(by_hands.value)).up().at_least(1.0) + Quantity::known(1.0)
    };
    let memory = (get("memory_waiting_mb") + get("hands") * get("memory_letter_mb")) * get("pg_memory");
    let mut table = of_places(places, "In one store");
    table.places(places, "processors that all gateways use together, busiest", |place| (place.peak * processor).text());
    let database = get("end_to_end_processors") / get("end_to_end") * one.calls * get("pg_database");
    table.places(places, "processors that the database uses, busiest", |place| (place.peak * database).text());
    table.places(places, "calls under way at once, busiest", |place| hands(place).text());
    table.places(places, "gateways, one of them spare", |place| gateways(place).text());
    table.places(places, "– connections to PostgreSQL", |place| (gateways(place) * get("connections")).text());
    table.places(places, "– MB of memory each, at worst (64 letters of 5 MB at once)", |_| memory.text());
    table.text
}

fn unmeasured(figures: &Figures) -> String {
    let mut text = String::from("| Not measured | Value | Why this |\n|---|---:|---|\n");
    for (name, figure) in &figures.0 {
        let Quantity { value, ground } = figure.quantity;
        if ground != Ground::Known {
            let (what, source) = (name.replace('_', " "), &figure.source);
            writeln!(text, "| {what} | {} {} | {source} |", Quantity::known(value).text(), figure.unit)
                .expect("text takes text");
        }
    }
    text
}

/// Each under the name of its marker.
fn tables(figures: &Figures) -> [(&'static str, String); 7] {
    let (places, one) = (Place::all(figures), Referral::of(figures));
    [
        ("referral", one_referral(&one)),
        ("load", load(&places, &one)),
        ("quota", quota(figures, &places, &one)),
        ("limits", limits(figures, &places, &one)),
        ("machines", machines(figures, &places, &one)),
        ("storage", storage(figures, &places, &one)),
        ("unmeasured", unmeasured(figures)),
    ]
}

/// The page with these tables between its markers.
fn put_in(page: &str, tables: &[(&str, String)]) -> Result<String, String> {
    let mut page = page.to_owned();
    for (name, table) in tables {
        let (begin, end) = (format!("<!-- table {name} -->\n"), format!("<!-- end of {name} -->"));
        let from = page.find(&begin).ok_or_else(|| format!("{PAGE} has no {begin}"))? + begin.len();
        let to = page[from..].find(&end).ok_or_else(|| format!("{PAGE} has no {end}"))? + from;
        page.replace_range(from..to, &format!("\n{table}\n"));
    }
    Ok(page)
}

fn run(arguments: &[String]) -> Result<(), String> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let tables = tables(&Figures::parse(&read(FIGURES)?)?);
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    if !asked("--check") && !asked("--write") {
        for (name, table) in tables {
            println!("<!-- table {name} -->\n\n{table}\n<!-- end of {name} -->\n");
        }
        return Ok(());
    }
    let page = read(PAGE)?;
    let right = put_in(&page, &tables)?;
    if page == right {
        return Ok(());
    }
    if asked("--check") {
        let place = page.lines().zip(right.lines()).position(|(one, other)| one != other).unwrap_or(0);
        return Err(format!(
            "{PAGE}:{}: not what {FIGURES} makes of it: cargo bench --bench scaling -- --write",
            place + 1
        ));
    }
    std::fs::write(PAGE, right).map_err(|error| format!("{PAGE}: {error}"))
}

/// In the folder of the package. `cargo bench` adds `--bench`, which says nothing here.
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let known = ["--bench", "--check", "--write"];
    if let Some(unknown) = arguments.iter().find(|argument| !known.contains(&argument.as_str())) {
        eprintln!("scaling: unknown argument {unknown}; there are --check and --write");
        return ExitCode::from(2);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
