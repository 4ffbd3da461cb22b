//! Durable intake over MLLP: every AA means mapped, validated and on disk.
//!
//! The sources are `paused`: messages are stored and acknowledged, their commands wait, so that what is
//! measured is intake alone.

use super::super::exit::CliError;
use super::Scale;
use super::bare_loop;
use super::figure::Figure;
use super::frames::Frame;
use super::house::{House, Wishes};
use super::load::{Answers, Load, Until};
use super::process::Shares;

const CONNECTIONS: usize = 32;

pub(super) async fn measure(scale: &Scale) -> Result<Vec<Figure>, CliError> {
    let mut house = House::open(&scale.folder, Wishes { paused: true, ..Wishes::default() })?;
    let (load, frame) = (Load::new(), Frame::referral());
    let until = Until::Time { from: scale.warm_up, to: scale.warm_up + scale.measured };

    let alone_shares = Shares::from_now(house.gateway(), house.simulator());
    let alone = load.run(house.mllp, 1, &frame, until).await?;
    let alone_shares = alone_shares.told();

    let groups_before = Groups::of(&house);
    let shares = Shares::from_now(house.gateway(), house.simulator());
    let many = load.run(house.mllp, CONNECTIONS, &frame, until).await?;
    let shares = shares.told();
    let group = Groups::of(&house).since(&groups_before);
    house.kill_gateway();

    let rows =
        bare_loop::Rows::read(&house.store(), ROWS_MAX).map_err(|error| CliError::unavailable("the store", error))?;
    let bare = bare_loop::write(&rows, &house.folder().join("bare.db"), group, scale.measured / 2)
        .map_err(|error| CliError::unavailable("the bare loop", error))?;
    Ok(figures(&many, &shares, &alone, &alone_shares, bare, group))
}

/// Rows that the bare loop has at hand.
const ROWS_MAX: u32 = 60_000;

fn figures(many: &Answers, shares: &str, alone: &Answers, alone_shares: &str, bare: f64, group: usize) -> Vec<Figure> {
    let rate = many.per_second();
    vec![
        Figure::new("durable intake, 32 connections", rate, "/s").at_least(5_000.0).limited_by(shares),
        Figure::new("  p50", many.milliseconds_at(0.5), "ms"),
        Figure::new("  p99", many.milliseconds_at(0.99), "ms").less_than(30.0),
        Figure::new("  a bare loop that writes the same rows", bare, "/s")
            .limited_by(format!("one thread, groups of {group} messages as in the intake measured")),
        Figure::new("  intake as a share of the bare loop", 100.0 * rate / bare, "%").at_least(50.0),
        Figure::new("durable intake, 1 connection, stop-and-wait", alone.per_second(), "/s")
            .at_least(800.0)
            .limited_by(alone_shares),
        Figure::new("  p50", alone.milliseconds_at(0.5), "ms"),
        Figure::new("  p99", alone.milliseconds_at(0.99), "ms"),
    ]
}

/// What the writer has committed.
struct Groups {
    commits: f64,
    messages: f64,
}

impl Groups {
    fn of(house: &House) -> Self {
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
