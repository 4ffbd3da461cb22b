//! Messages with letters in them: how many a second are durable, and what a large one costs in memory.

use std::time::{Duration, Instant};

use super::super::exit::CliError;
use super::Scale;
use super::figure::Figure;
use super::frames::Frame;
use super::house::{House, Wishes};
use super::load::{Load, Until};
use super::process::Shares;

const CONNECTIONS: usize = 32;
/// Makes a message of 200 kB.
const PDF_BYTES: usize = 150_000;
const LARGE_PDF_BYTES: usize = 5_000_000;
const DELIVERED_MAX: Duration = Duration::from_secs(30);

pub(super) async fn measure(scale: &Scale) -> Result<Vec<Figure>, CliError> {
    let mut figures = durable(scale).await?;
    figures.push(memory(scale).await?);
    Ok(figures)
}

async fn durable(scale: &Scale) -> Result<Vec<Figure>, CliError> {
    let house = House::open(scale, Wishes { paused: true, ..Wishes::default() }).await?;
    let until = Until::Time { from: scale.warm_up, to: scale.warm_up + scale.measured };
    let shares = Shares::from_now(&house, scale).await?;
    let answers = Load::new().run(&house.mllp()?, CONNECTIONS, &Frame::with_letter(PDF_BYTES), until).await?;
    let used = shares.used().await?;
    Ok(vec![
        Figure::new("200 kB with a PDF, 32 connections", answers.per_second(), "/s")
            .at_least(300.0)
            .limited_by(used.told(answers.per_second())),
        Figure::new("  p99", answers.milliseconds_at(0.99), "ms"),
    ])
}

/// The most that was resident while a large letter came in and was uploaded, over what is resident after a small
/// one did both.
async fn memory(scale: &Scale) -> Result<Figure, CliError> {
    let house = House::open(scale, Wishes { pacing_off: true, ..Wishes::default() }).await?;
    let load = Load::new();
    load.run(&house.mllp()?, 1, &Frame::with_letter(1_000), Until::Sent(1)).await?;
    delivered(&house, 1.0).await?;
    let gateway = house.gateway();
    gateway.forget_peak();
    let before = gateway.resident_mb();
    load.run(&house.mllp()?, 1, &Frame::with_letter(LARGE_PDF_BYTES), Until::Sent(2)).await?;
    delivered(&house, 2.0).await?;
    Ok(Figure::new("a 5 MB letter, in and uploaded: memory on top", gateway.peak_mb() - before, "MB")
        .less_than(30.0)
        .limited_by("6.7 MB of Base64 in one frame, held while it is mapped and stored; the upload is streamed"))
}

async fn delivered(house: &House<'_>, count: f64) -> Result<(), CliError> {
    let began = Instant::now();
    while house.metric("gateway_commands_settled_total", "outcome=\"completed\"") < count {
        if began.elapsed() > DELIVERED_MAX {
            return Err(CliError::No(format!("a letter was not delivered within {DELIVERED_MAX:?}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
