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
    let house = House::open(&scale.folder, Wishes { pacing_off: true, amqp, ..Wishes::default() })?;
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
                    opened = Some((Instant::now(), now, Shares::from_now(house.gateway(), house.simulator())));
                }
                Some((since, before, shares)) if since.elapsed() >= measured => {
                    return ((now - before) / since.elapsed().as_secs_f64(), shares.told());
                }
                _ => {}
            }
        }
    };
    let (answers, (rate, shares)) = tokio::join!(load.run(house.mllp, CONNECTIONS, &frame, until), watch);
    let answers = answers?;
    let confirmed = if amqp.is_some() { "confirmed by RabbitMQ" } else { "in the feed; no broker given" };
    Ok(vec![
        Figure::new(format!("end to end, events {confirmed}"), rate, "/s").at_least(1_500.0).limited_by(shares),
        Figure::new("  p99 of the acknowledgement meanwhile", answers.milliseconds_at(0.99), "ms"),
    ])
}
