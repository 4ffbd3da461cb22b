//! From MLLP to e-RS to the event: how much is sustained with the pacing off.
//!
//! The generator keeps a bounded number of referrals on their way, so nothing heaps up: what is counted is what
//! comes out at the end, over a window in the middle.

use std::time::{Duration, Instant};

use super::super::exit::CliError;
use super::Scale;
use super::figure::Figure;
use super::frames::Frame;
use super::house::{House, Wishes};
use super::load::{Load, Until};
use super::process::Shares;

const CONNECTIONS: usize = 32;
/// Referrals taken in whose event is not out yet.
const ON_THE_WAY_MAX: u64 = 2_000;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(super) async fn measure(scale: &Scale, amqp: Option<&str>) -> Result<Vec<Figure>, CliError> {
    let house = House::open(scale, Wishes { pacing_off: true, amqp, ..Wishes::default() }).await?;
    let to = house.mllp()?;
    let (load, frame) = (Load::new(), Frame::referral());
    let done = || match amqp {
        Some(_) => house.metric("gateway_events_published_total", "ReferralCreated"),
        // Without a broker an event is out when it is in the feed: with the commit that completes its command.
        None => house.metric("gateway_commands_settled_total", "outcome=\"completed\""),
    };
    load.allowed.set(ON_THE_WAY_MAX);
    let measured = scale.measured * 2;
    let until = Until::Time { from: scale.warm_up, to: scale.warm_up + measured + LOOK_AGAIN };
    let watch = async {
        let began = Instant::now();
        let mut opened = None;
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let now = done();
            load.allowed.set(now as u64 + ON_THE_WAY_MAX);
            match &opened {
                None if began.elapsed() >= scale.warm_up => {
                    let shares = Shares::from_now(&house, scale).await?;
                    opened = Some((Instant::now(), now, shares, house.ground.written().await?));
                }
                Some((since, before, shares, written)) if since.elapsed() >= measured => {
                    let rate = (now - before) / since.elapsed().as_secs_f64();
                    let written = house.ground.written().await?.zip(*written).map(|(now, before)| now - before);
                    return Ok::<_, CliError>((
                        rate,
                        shares.used().await?,
                        written.map(|bytes| bytes / (now - before)),
                    ));
                }
                _ => {}
            }
        }
    };
    let (answers, watched) = tokio::join!(load.run(&to, CONNECTIONS, &frame, until), watch);
    let (answers, (rate, used, written)) = (answers?, watched?);
    let confirmed = if amqp.is_some() { "confirmed by RabbitMQ" } else { "in the feed; no broker given" };
    let mut figures = vec![
        Figure::new(format!("end to end, events {confirmed}"), rate, "/s")
            .at_least(1_500.0)
            .limited_by(used.told(rate)),
        Figure::new("  p99 of the acknowledgement meanwhile", answers.milliseconds_at(0.99), "ms"),
    ];
    figures.extend(written.map(|bytes| Figure::new("  write-ahead log of the database, each", bytes / 1e3, "kB")));
    Ok(figures)
}
