//! Memory and start, with an empty store and with many commands waiting for the quota of e-RS.

use std::time::Duration;

use super::super::exit::CliError;
use super::Scale;
use super::figure::Figure;
use super::frames::Frame;
use super::house::{House, Wishes};
use super::load::{Load, Until};

const CONNECTIONS: usize = 32;
/// Until what the start needed only for a moment is given back.
const SETTLES: Duration = Duration::from_secs(2);

pub(super) async fn measure(scale: &Scale) -> Result<Vec<Figure>, CliError> {
    // Live and paced as in production: e-RS takes 9.6 a second, the rest waits.
    let mut house = House::open(scale, Wishes::default()).await?;
    let start_empty = house.ready_after().as_secs_f64();
    tokio::time::sleep(SETTLES).await;
    let idle = house.gateway().resident_mb();

    let load = Load::new();
    load.run(&house.mllp()?, CONNECTIONS, &Frame::referral(), Until::Sent(scale.waiting_commands)).await?;
    tokio::time::sleep(SETTLES).await;
    let after_filling = house.gateway().resident_mb();
    house.kill_gateways();
    house.start_gateways()?;
    let start_waiting = house.ready_after().as_secs_f64();
    tokio::time::sleep(SETTLES).await;
    let after_start = house.gateway().resident_mb();

    let waiting = load.sent();
    Ok(vec![
        Figure::new("resident memory, idle", idle, "MB").less_than(60.0),
        Figure::new(format!("resident memory after taking in {waiting} commands that wait"), after_filling, "MB")
            .less_than(150.0)
            .limited_by("caches of SQLite and buffers of 32 connections; no queue is in memory"),
        Figure::new("resident memory after a start with them", after_start, "MB").less_than(150.0),
        Figure::new("start to ready, empty store", start_empty, "s").less_than(1.0),
        Figure::new("start to ready, with them waiting", start_waiting, "s")
            .less_than(3.0)
            .limited_by("after kill -9, so the write-ahead log is read as well"),
    ])
}
