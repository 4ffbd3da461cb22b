//! Durable intake over MLLP: every AA means mapped, validated and on disk.
//!
//! The sources are `paused`: messages are stored and acknowledged, their commands wait, so that what is
//! measured is intake alone.

use std::time::Duration;

use super::super::exit::CliError;
use super::Scale;
use super::figure::Figure;
use super::frames::Frame;
use super::ground::Ground;
use super::house::{House, Wishes};
use super::load::{Answers, Load, Until};
use super::postgres::{self, Schema};
use super::process::{Shares, Used};
use super::sqlite;

/// How often two houses are measured in turns.
const TURNS: usize = 3;
/// Rows that a bare loop has at hand.
const ROWS_MAX: u32 = 60_000;

pub(super) async fn measure(scale: &Scale) -> Result<Vec<Figure>, CliError> {
    let mut house = House::open(scale, Wishes { paused: true, ..Wishes::default() }).await?;
    let load = Load::new();
    // A server can have more on their way, for it is farther away.
    let connections = if scale.server.is_some() { 64 } else { 32 };

    let alone = Measured::with(&house, &load, 1, scale).await?;
    let many = Measured::with(&house, &load, connections, scale).await?;
    let mut figures = many.figures(&format!("durable intake, {connections} connections"), 5_000.0);
    figures.extend(many.beside_clear(in_clear(scale, &load, connections).await?));
    figures.extend(with_certificates(scale, &load, connections).await?);
    match house.ground.clone() {
        Ground::Sqlite(file) => {
            house.kill_gateways();
            let broken = |error| CliError::unavailable("the bare loop", error);
            let rows = sqlite::bare_loop::Rows::read(&file, ROWS_MAX).map_err(broken)?;
            let bare = house.folder().join("bare.db");
            let bare = sqlite::bare_loop::write(&rows, &bare, many.group, scale.measured / 2).map_err(broken)?;
            figures.extend(many.beside(bare));
        }
        Ground::Postgres(schema) => {
            figures.extend(many.beside(bare_loop(scale, &schema, many.group, 1).await?));
            house.add_gateway()?;
            let two = Measured::with(&house, &load, connections, scale).await?;
            let what = format!("durable intake, {connections} connections to two gateways");
            figures.extend(two.figures(&what, 5_000.0));
            figures.extend(two.beside(bare_loop(scale, &schema, two.group, 1).await?));
            let both = bare_loop(scale, &schema, two.group, 2).await?;
            figures.push(Figure::new("  two bare loops at once", both, "/s"));
        }
    }
    figures.extend(alone.figures("durable intake, 1 connection, stop-and-wait", 800.0));
    Ok(figures)
}

/// The same on a store of its own in which nothing is encrypted: messages a second.
async fn in_clear(scale: &Scale, load: &Load, connections: usize) -> Result<f64, CliError> {
    let house = House::open(scale, Wishes { paused: true, in_clear: true, ..Wishes::default() }).await?;
    Ok(Measured::with(&house, load, connections, scale).await?.answers.per_second())
}

/// Nobody known and nothing encrypted, then certificates over TLS and an encrypted store: both on stores of their own, in turns, for
/// a machine is not equally fast all the time.
async fn with_certificates(scale: &Scale, load: &Load, connections: usize) -> Result<[Figure; 3], CliError> {
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        open.push(in_clear(scale, load, connections).await?);
        let house = House::open(scale, Wishes { paused: true, certificates: true, ..Wishes::default() }).await?;
        closed.push(Measured::with(&house, load, connections, scale).await?.answers.per_second());
    }
    let (open, closed) = (middle(open), middle(closed));
    Ok([
        Figure::new("  encrypted, over TLS, with certificates", closed, "/s")
            .limited_by(format!("the middle of {TURNS}")),
        Figure::new("  neither encrypted nor over TLS", open, "/s")
            .limited_by(format!("the middle of {TURNS}, in turns")),
        Figure::new("  the one as a share of the other", 100.0 * closed / open, "%").at_least(85.0),
    ])
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

async fn bare_loop(scale: &Scale, schema: &Schema, group: usize, connections: usize) -> Result<f64, CliError> {
    let rows = postgres::bare_loop::Rows::read(schema, i64::from(ROWS_MAX), group).await?;
    let Some(server) = &scale.server else { return Ok(f64::NAN) };
    let ground = Ground::Postgres(server.new_schema().await?);
    // Makes the tables.
    drop(ground.open().await?);
    let Ground::Postgres(schema) = ground else { return Ok(f64::NAN) };
    postgres::bare_loop::write(&rows, &schema, connections, scale.measured / 2).await
}

/// What came of a load.
struct Measured {
    answers: Answers,
    used: Used,
    /// Messages in one commit, on average.
    group: usize,
}

impl Measured {
    async fn with(house: &House<'_>, load: &Load, connections: usize, scale: &Scale) -> Result<Self, CliError> {
        let (from, to) = (scale.warm_up, scale.warm_up + scale.measured);
        let groups = Groups::of(house);
        let shares = Shares::from_now(house, scale).await?;
        let answers = load.run(&house.mllp()?, connections, &Frame::referral(), Until::Time { from, to }).await?;
        let (used, group) = (shares.used().await?, Groups::of(house).since(&groups));
        // What was gathered to be written later is written before anything else is measured.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(Self { answers, used, group })
    }

    fn figures(&self, what: &str, at_least: f64) -> Vec<Figure> {
        let rate = self.answers.per_second();
        let p99 = Figure::new("  p99", self.answers.milliseconds_at(0.99), "ms");
        vec![
            Figure::new(what, rate, "/s").at_least(at_least).limited_by(self.used.told(rate)),
            Figure::new("  p50", self.answers.milliseconds_at(0.5), "ms"),
            p99.less_than(30.0),
        ]
    }

    fn beside_clear(&self, clear: f64) -> [Figure; 2] {
        [
            Figure::new("  with store_encrypt: false", clear, "/s"),
            Figure::new("  encrypted intake as a share of that", 100.0 * self.answers.per_second() / clear, "%")
                .at_least(85.0),
        ]
    }

    fn beside(&self, bare: f64) -> [Figure; 2] {
        let share = 100.0 * self.answers.per_second() / bare;
        [
            Figure::new("  a bare loop that writes the same rows", bare, "/s")
                .limited_by(format!("one at a time, groups of {} messages as in the intake measured", self.group)),
            Figure::new("  intake as a share of the bare loop", share, "%").at_least(50.0),
        ]
    }
}

/// What has been committed.
struct Groups {
    commits: f64,
    messages: f64,
}

impl Groups {
    fn of(house: &House<'_>) -> Self {
        Self {
            commits: house.metric("gateway_store_commits_total", ""),
            messages: house.metric("gateway_messages_total", "verdict=\"accepted\""),
        }
    }

    /// Messages in one commit, on average.
    fn since(&self, before: &Self) -> usize {
        let commits = (self.commits - before.commits).max(1.0);
        ((self.messages - before.messages) / commits).round().max(1.0) as usize
    }
}
